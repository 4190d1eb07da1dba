# SPDX-License-Identifier: Apache-2.0
"""Segments and ratings: bundle round trips and what is refused."""

import numpy as np
import pytest
from factories import make_segment
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode, encode
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch, read_pending, soft_label
from erl_vlm_ros.data.segment import Segment


def assert_same(a, b):
    assert a.id == b.id and a.jpegs == b.jpegs
    for name in ("proprio", "actions", "stamps"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("length", [1, 3])
def test_segment_batch_round_trip(length):
    batch = QueryBatch.of(4, [make_segment("a", length), make_segment("bb", length)])
    copy = QueryBatch.from_bundle(decode(encode(batch.to_bundle()), "queries"))
    assert copy.round == 4 and len(copy.segments) == 2
    for a, b in zip(copy.segments, batch.segments):
        assert_same(a, b)


def test_rating_batch_round_trip_keeps_refusals_apart():
    rated = [Label.of(make_segment("a"), 2), Label.of(make_segment("b"), NO_LABEL, "timeout")]
    batch = LabelBatch(round=1, n_classes=3, requested=2, labels=rated)
    copy = LabelBatch.from_bundle(decode(encode(batch.to_bundle()), "labels"))
    assert (copy.round, copy.n_classes, copy.requested) == (1, 3, 2)
    assert [(r.value, r.reason) for r in copy.labels] == [(2, ""), (-1, "timeout")]
    assert [r.segment.id for r in copy.valid] == ["a"]
    assert_same(copy.labels[1].segment, rated[1].segment)


def with_extras(name, values, names=("wrench_fz", "effort_elbow")):
    base = make_segment(name)
    return Segment(base.id, base.jpegs, base.proprio, base.actions, base.stamps, np.array(values), names)


def test_extras_travel_with_their_names():
    batch = QueryBatch.of(0, [with_extras("a", [[1, 2], [3, 4]]), with_extras("b", [[5, 6], [7, 8]])])
    copy = QueryBatch.from_bundle(decode(encode(batch.to_bundle()), "queries"))
    assert [s.extra_names for s in copy.segments] == [("wrench_fz", "effort_elbow")] * 2
    np.testing.assert_array_equal(copy.segments[1].extras, np.float32([[5, 6], [7, 8]]))
    assert make_segment().extras.shape == (2, 0)
    with refused(DataError, field="segments"):
        QueryBatch.of(0, [with_extras("a", [[1, 2], [3, 4]]), make_segment("b")]).to_bundle()
    for values in ([[1, 2]], [[1, 2], [3, np.inf]], [[1], [2]]):
        with refused(DataError, field="extras"):
            with_extras("a", values)
    bundle = batch.to_bundle()
    del bundle.meta["extra_names"]
    with refused(BundleError, field="queries.meta.extra_names"):
        QueryBatch.from_bundle(bundle)


def test_soft_labels_and_the_teachers_name_travel():
    rated = [
        Label.of(make_segment("a"), 2, "", np.array([0.1, 0.2, 0.7])),
        Label.of(make_segment("b"), NO_LABEL, "tie"),
        Label.of(make_segment("c"), 1),
    ]
    batch = LabelBatch(0, 3, 3, rated, teacher="ensemble")
    copy = LabelBatch.from_bundle(decode(encode(batch.to_bundle()), "labels"))
    assert copy.teacher == "ensemble"
    np.testing.assert_allclose(copy.labels[0].probabilities, [0.1, 0.2, 0.7], atol=1e-6)
    assert copy.labels[1].probabilities is None and copy.labels[2].probabilities is None
    np.testing.assert_array_equal(soft_label(copy.labels[2], 3), [0, 1, 0])
    for bad in ([0.5, 0.2, 0.2], [1.5, -0.5, 0.0], [np.nan, 0.5, 0.5]):
        rated[0].probabilities = np.array(bad)
        with refused(BundleError, field="labels.probabilities"):
            LabelBatch.from_bundle(batch.to_bundle())
    rated[0].probabilities = np.array([0.5, 0.5])
    with refused(DataError, field="probabilities"):
        batch.to_bundle()


def test_empty_batches():
    assert QueryBatch.from_bundle(decode(encode(QueryBatch(0).to_bundle()), "queries")).segments == []
    assert LabelBatch.from_bundle(decode(encode(LabelBatch(0, 3, 5).to_bundle()), "labels")).labels == []


def test_refusals():
    with refused(DataError, field="segments"):
        QueryBatch.of(0, [make_segment(length=1), make_segment(length=2)]).to_bundle()
    with refused(DataError, field="length"):
        Segment("x", [b""], np.zeros((2, 10)), np.zeros((2, 3)), np.zeros(2))
    with refused(DataError, field="values"):
        Segment("x", [b""], np.full((1, 10), np.nan), np.zeros((1, 3)), np.zeros(1))
    for rating in (3, -2):
        with refused(BundleError, field="labels.labels"):
            LabelBatch.from_bundle(LabelBatch(0, 3, 1, [Label.of(make_segment(), rating)]).to_bundle())


@pytest.mark.parametrize(
    "key, value",
    [("round", "1"), ("round", -1), ("ids", ["a"]), ("ids", None), ("ids", [1, 2]), ("reasons", [])],
)
def test_bad_meta(key, value):
    bundle = LabelBatch(0, 3, 2, [Label.of(make_segment(), 1)] * 2).to_bundle()
    bundle.meta[key] = value
    with refused(BundleError, field=f"labels.meta.{key}"):
        LabelBatch.from_bundle(bundle)


def test_queries_of_two_segments_keep_their_order_and_their_kind():
    pairs = [Query(make_segment("a"), make_segment("b")), Query(make_segment("c"), make_segment("a"))]
    copy = QueryBatch.from_bundle(decode(encode(QueryBatch(3, pairs, "preference").to_bundle()), "queries"))
    assert [query.id for query in copy.queries] == ["a|b", "c|a"] and copy.kind == "preference"
    labels = LabelBatch(3, 3, 2, [Label(pairs[0], 2), Label(pairs[1], NO_LABEL, "timeout")], "vlm", "preference")
    back = LabelBatch.from_bundle(decode(encode(labels.to_bundle()), "labels"))
    assert [(label.query.id, label.value) for label in back.labels] == [("a|b", 2), ("c|a", -1)]
    assert back.kind == "preference" and len(back.labels[0].query) == 2
    with pytest.raises(ValueError):
        _ = back.labels[0].segment  # it has two
    with pytest.raises(ValueError):
        Query(make_segment("a", length=1), make_segment("b", length=2))


@pytest.mark.parametrize("size", [0, 2, -1, "1", None])
def test_a_wrong_number_of_segments_a_query_is_refused(size):
    bundle = QueryBatch.of(0, [make_segment("a"), make_segment("b"), make_segment("c")]).to_bundle()
    bundle.meta["segments"] = size
    with pytest.raises(BundleError):
        QueryBatch.from_bundle(bundle)


def test_the_queries_of_an_old_checkpoint_are_read():
    bundle = QueryBatch.of(5, [make_segment("a")]).to_bundle()
    old = Bundle("segments", bundle.arrays, {"round": 5, "ids": ["a"]})  # as version 0.1 wrote it
    assert read_pending(encode(old)).queries[0].id == "a"
    with pytest.raises(BundleError):
        read_pending(b"no bundle at all")
