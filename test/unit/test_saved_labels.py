# SPDX-License-Identifier: Apache-2.0
"""Labels in checkpoints: each segment once, in bundles of bounded size, and as earlier versions wrote them."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_segment

from erl_vlm_ros.data import saved_labels
from erl_vlm_ros.data.bundle import BundleError, encode
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.query import Label, LabelBatch, Query
from erl_vlm_ros.data.saved_labels import LabelStore, load_labels, save_labels


def fresh(i):
    """A segment as it comes out of a message: equal ones are not the same object."""
    return make_segment(f"e{i}_t9_h2")


def pairs(count=30, of=5):
    rng = np.random.default_rng(0)
    drawn = [rng.choice(of, 2, replace=False) for _ in range(count)]
    return [Label(Query(fresh(a), fresh(b)), int(rng.integers(2)), audited=bool(a == 0)) for a, b in drawn]


def same(found, expected):
    assert [(x.query.id, x.value, x.audited) for x in found] == [(y.query.id, y.value, y.audited) for y in expected]
    for x, y in zip(found, expected):
        assert x.query.jpegs == y.query.jpegs
        np.testing.assert_array_equal(x.query[0].actions, y.query[0].actions)


@pytest.mark.parametrize("most", [10**9, 1])  # all in one bundle; one segment in each
def test_segments_are_saved_once_and_come_back(tmp_path, monkeypatch, most):
    monkeypatch.setattr(saved_labels, "MOST_BYTES", most)
    labels = pairs()
    labels[3] = Label(labels[3].query, 1, probabilities=np.array([0.25, 0.75], np.float32))
    state = save_labels(labels)
    assert len(state["segments"]) == (1 if most > 1 else 5)
    save_state(tmp_path / "x.safetensors", {"labels": state}, "test")
    found = load_labels(load_state(tmp_path / "x.safetensors", "test")["labels"])
    same(found, labels)
    np.testing.assert_array_equal(found[3].probabilities, [0.25, 0.75])
    assert len({id(segment) for label in found for segment in label.query}) == 5
    assert save_labels([]) is None and load_labels(None) == []


def test_in_memory_equal_segments_are_one():
    store = LabelStore()
    store.extend(pairs())
    store.extend(pairs())
    assert len(store) == 60 and len({id(segment) for label in store for segment in label.query}) == 5
    same(store[:30], pairs())


def test_the_one_bundle_of_earlier_checkpoints_is_read():
    labels = pairs(4)
    same(load_labels(encode(LabelBatch(0, 2, 4, labels).to_bundle())), labels)


def test_queries_of_segments_that_are_not_there_are_refused():
    state = save_labels(pairs(4))
    with pytest.raises(BundleError):
        load_labels({**state, "queries": state["queries"] + 5})
    with pytest.raises(BundleError):
        load_labels({**state, "queries": state["queries"][:2]})
