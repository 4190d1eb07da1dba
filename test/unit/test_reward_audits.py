# SPDX-License-Identifier: Apache-2.0
"""What audited ratings do to the fit of the reward heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from erl_vlm_ros.reward.audits import audited_weights
from erl_vlm_ros.reward.configs import HeadConfig
from erl_vlm_ros.reward.heads import fit_heads


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_contradicted_ratings_count_little_confirmed_ones_as_before():
    x = np.repeat(np.array([[0.0, 0.0], [3.0, 3.0], [-3.0, 3.0]], np.float32), 4, axis=0)
    ratings = np.array([4, 4, 4, 0, 2, 2, 2, 2, 1, 1, 1, 1])
    audited = np.zeros(12, bool)
    audited[[3, 7]] = True  # says 0 of what the others call 4, and 2 of what they call 2
    weight = audited_weights(x, 1, ratings, audited, 10.0)
    assert weight[audited].tolist() == [10.0, 10.0]
    assert weight[:3] == pytest.approx([1 / 11] * 3, rel=0.01)
    assert weight[4:7] == pytest.approx([1.0] * 3) and weight[8:] == pytest.approx([1.0] * 4)


def misjudged(rng, count=300):
    """Frames on a line of progress; those of one stretch are always taken for the top class."""
    at = rng.uniform(0, 1, count)
    truth = np.minimum((at * 5).astype(int), 4)
    told = np.where((at > 0.1) & (at < 0.25), 4, truth)
    inputs = np.stack([np.sin(6 * at), np.cos(6 * at), at], 1).astype(np.float32)
    return inputs + rng.normal(0, 0.02, inputs.shape).astype(np.float32), at, truth, told


def test_a_few_audits_put_right_a_view_cluster_that_is_always_misjudged():
    rng = np.random.default_rng(3)
    inputs, at, truth, told = misjudged(rng)
    wrong = told != truth
    audited = np.zeros(len(at), bool)
    audited[rng.choice(np.flatnonzero(wrong), 3, replace=False)] = True
    audited[rng.choice(np.flatnonzero(~wrong), 9, replace=False)] = True
    ratings = np.where(audited, truth, told)
    assert wrong.sum() > 30

    def error(**audits):
        heads, _ = fit_heads(inputs, ratings, 5, HeadConfig(), 0, prop_dim=1, **audits)
        level = (heads.probabilities(inputs) @ np.arange(5)).mean(0)
        return np.abs(level - truth)[wrong].mean()

    assert error() > 2.0 and error(audited=audited) < 1.0


def test_without_audits_the_fit_is_as_before():
    inputs, _, truth, _ = misjudged(np.random.default_rng(1))
    plain, report = fit_heads(inputs, truth, 5, HeadConfig(), 0, prop_dim=1)
    same, same_report = fit_heads(inputs, truth, 5, HeadConfig(), 0, prop_dim=1, audited=np.zeros(len(truth), bool))
    assert report == same_report
    assert all(torch.equal(a, b) for a, b in zip(plain.weights, same.weights))


def test_soft_labels_and_audits_go_together():
    inputs, _, truth, _ = misjudged(np.random.default_rng(2))
    soft = np.eye(5, dtype=np.float32)[truth]
    audited = np.arange(len(truth)) % 10 == 0
    heads, _ = fit_heads(inputs, truth, 5, HeadConfig(), 0, soft=soft, prop_dim=1, audited=audited)
    level = (heads.probabilities(inputs) @ np.arange(5)).mean(0)
    assert np.abs(level - truth).mean() < 0.5
