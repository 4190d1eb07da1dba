# SPDX-License-Identifier: Apache-2.0
"""Batches of one pass: every index once, classes in proportion, no skewed last batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erl_vlm_ros.reward.samplers import stratified_batches, uniform_batches

SAMPLERS = [stratified_batches, uniform_batches]


def labels_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def class_counts(batches, labels):
    return [np.bincount(labels[batch], minlength=labels.max() + 1).tolist() for batch in batches]


def test_the_batches_that_the_released_code_skews():
    # 600 samples, 2 batches: half of 500, 80 and 20 each, not [462, 40, 10] and [38, 40, 10].
    labels = labels_of(500, 80, 20)
    batches = stratified_batches(labels, 512, np.random.default_rng(0))
    assert class_counts(batches, labels) == [[250, 40, 10], [250, 40, 10]]


def test_remainders_are_spread():
    # 10 samples, at most 4 a batch: 3 batches of 4, 3, 3; class 0 has 7 = 3 + 2 + 2, class 1 has 3 = 1 each.
    labels = labels_of(7, 3)
    counts = class_counts(stratified_batches(labels, 4, np.random.default_rng(0)), labels)
    assert sorted(counts) == [[2, 1], [2, 1], [3, 1]]


def test_a_class_rarer_than_the_batches_is_absent_from_some():
    labels = labels_of(3, 4000, 4000)
    counts = class_counts(stratified_batches(labels, 512, np.random.default_rng(0)), labels)
    assert len(counts) == 16
    assert sum(count[0] == 0 for count in counts) == 13


def test_a_set_smaller_than_a_batch_is_one_batch():
    batches = stratified_batches(labels_of(5, 2), 512, np.random.default_rng(0))
    assert len(batches) == 1 and sorted(batches[0]) == list(range(7))


def test_uniform_batches_have_no_tiny_remainder():
    # 513 samples would leave a batch of one, whose min-max scaling says nothing.
    sizes = [len(b) for b in uniform_batches(labels_of(513), 512, np.random.default_rng(0))]
    assert sorted(sizes) == [256, 257]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seeded(sampler):
    labels = labels_of(40, 30, 20)
    one, two, other = (sampler(labels, 16, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_to_draw(sampler):
    assert sampler(np.zeros(0, np.int64), 512, np.random.default_rng(0)) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.integers(1, 40), st.integers(0, 9))
def test_any_labels(labels, batch_size, seed):
    labels = np.array(labels)
    for sampler in SAMPLERS:
        batches = sampler(labels, batch_size, np.random.default_rng(seed))
        sizes = [len(batch) for batch in batches]
        assert len(batches) == -(-labels.size // batch_size)
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
        assert sorted(np.concatenate(batches).tolist()) == list(range(labels.size))
    counts = np.array(class_counts(stratified_batches(labels, batch_size, np.random.default_rng(seed)), labels))
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
