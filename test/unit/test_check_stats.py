# SPDX-License-Identifier: Apache-2.0
"""Figures of a rater check, and which errors it takes for systematic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.feedback.check import stats
from erl_vlm_ros.feedback.check.noise import shared_errors, split_errors
from erl_vlm_ros.feedback.noise_model import SHARING, NoiseModel

KINDS = np.repeat(np.arange(40), 5)
TRUE = np.random.default_rng(3).integers(0, 5, 40)[KINDS]


def answers(independent, systematic, seed, repeats=3, variation="", sharing=SHARING, model_seed=None):
    """Answers [R, N] of a rater with such errors about 200 views of 40 clusters, and the clusters it misjudges."""
    model, rng = NoiseModel.uniform(5, independent, systematic, sharing), np.random.default_rng(seed)
    chosen = seed if model_seed is None else model_seed
    judged = np.array([model.judged(t, str(k), chosen, variation) for t, k in zip(TRUE, KINDS)])
    out = np.array([[model.answered(j, rng.random(), rng.random()) for j in judged] for _ in range(repeats)])
    return out, float(np.mean((judged != TRUE)[::5]))


def test_agreement_and_kappa():
    same = np.tile([0, 1, 2, 1], (5, 1))
    assert stats.repeat_agreement(same, 3) == 1.0
    assert stats.kappa(same, 3) == 1.0
    split = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert stats.repeat_agreement(split, 2) == pytest.approx(1 / 3)
    assert stats.kappa(split, 2) < 0.0
    with_gaps = np.array([[0, -1], [0, 1], [-1, 1]])
    assert stats.repeat_agreement(with_gaps, 2) == 1.0
    assert np.isnan(stats.repeat_agreement(np.array([[0, 1]]), 2))


def test_majority_and_histograms():
    given = np.array([[0, 2, -1, 1], [1, 2, -1, 0], [1, 1, -1, -1]])
    assert stats.majority(given, 3).tolist() == [1, 2, -1, 0]
    np.testing.assert_allclose(stats.histograms(given, 3)[1], [0, 1 / 3, 2 / 3])


def test_confusion_and_accuracy():
    matrix = stats.confusion(np.array([0, 1, -1]), np.array([[0, 0, 1], [0, -1, 1]]), 2)
    assert matrix.tolist() == [[2, 0], [1, 0]]
    assert stats.accuracy(matrix) == pytest.approx(2 / 3)
    assert np.isnan(stats.accuracy(np.zeros((2, 2))))


def test_rank_correlation_is_spearmans_with_mean_ranks_for_ties():
    a, b = np.array([1.0, 2.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    assert stats.rank_correlation(a, b) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))  # ranks 1 2.5 2.5 4 and 1 3 2 4
    assert stats.rank_correlation(a, np.exp(b)) == pytest.approx(stats.rank_correlation(a, b))
    assert np.isnan(stats.rank_correlation(np.ones(5), np.arange(5.0)))


def test_ratings_that_rise_along_each_trajectory():
    trajectory = np.repeat([0, 1], 20)
    rising = np.tile(np.arange(20) // 5, 2)[None]
    assert stats.progress_correlation(rising, trajectory, 4) > 0.95
    assert stats.progress_correlation(rising[:, ::-1], trajectory, 4) < -0.95


def test_ward_finds_groups():
    rng = np.random.default_rng(1)
    label = np.repeat(np.arange(7), 9)
    points = rng.normal(0, 10, (7, 3))[label] + rng.normal(0, 0.1, (63, 3))
    found = stats.ward(points, 7)
    assert all(len(np.unique(found[label == g])) == 1 for g in range(7))
    assert len(np.unique(found)) == 7
    assert len(np.unique(stats.ward(points[:3], 7))) == 3


def test_view_clusters_are_images_that_look_alike():
    rng = np.random.default_rng(2)
    jpegs = []
    for group in range(6):
        base = np.full((64, 64, 3), 90, np.uint8)
        cv2.circle(base, (10 + 8 * group, 20 + 5 * group), 9, (0, 0, 255), -1)
        for _ in range(8):
            noisy = np.clip(base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)
            jpegs.append(cv2.imencode(".jpg", noisy)[1].tobytes())
    clusters = stats.view_clusters(jpegs)
    assert all(len(np.unique(clusters[8 * g : 8 * g + 8])) == 1 for g in range(6))
    assert len(np.unique(clusters)) == 6


@pytest.mark.parametrize("seed", range(4))
def test_independent_errors_are_not_called_systematic(seed):
    given, _ = answers(0.3, 0.0, seed)
    rng = np.random.default_rng(seed)
    assert stats.systematic_test(given, TRUE, KINDS, 5, rng, 400).p_value > 0.02
    split = split_errors(given, TRUE, KINDS, 5, rng, 20)
    assert split.share < 0.07
    assert 1 - split.independent.diagonal().mean() == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("repeats", [1, 10])
def test_a_model_that_repeats_itself_is_no_more_suspicious(repeats):
    """Ten equal answers about a view are one answer, not ten views of a cluster."""
    once, _ = answers(0.3, 0.0, 5, repeats=1)
    given = np.tile(once, (repeats, 1))
    rng = np.random.default_rng(0)
    assert stats.systematic_test(given, TRUE, KINDS, 5, rng, 400).p_value > 0.02
    assert split_errors(given, TRUE, KINDS, 5, rng, 0).share < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("independent", "systematic"), [(0.0, 0.2), (0.2, 0.2), (0.1, 0.3)])
def test_systematic_errors_are_found_and_measured(independent, systematic):
    shares, real, low, high = [], [], [], []
    for seed in range(4):
        given, share = answers(independent, systematic, seed)
        rng = np.random.default_rng(seed)
        assert stats.systematic_test(given, TRUE, KINDS, 5, rng, 400).p_value < 0.01
        split = split_errors(given, TRUE, KINDS, 5, rng, 40)
        shares, real = [*shares, split.share], [*real, share]
        low, high = [*low, split.low], [*high, split.high]
        assert 1 - split.independent.diagonal().mean() == pytest.approx(independent, abs=0.08)
    assert np.mean(shares) == pytest.approx(np.mean(real), abs=0.05)
    assert np.corrcoef(shares, real)[0, 1] > 0.7
    assert sum(a <= r <= b for a, r, b in zip(low, real, high)) >= 3


def test_the_split_names_what_a_cluster_is_taken_for():
    given = np.tile(TRUE, (2, 1))
    given[:, KINDS == 7] = (TRUE[KINDS == 7][0] + 2) % 5
    split = split_errors(given, TRUE, KINDS, 5, np.random.default_rng(0), 0)
    key = (7, int(TRUE[KINDS == 7][0]))
    assert split.misjudged[key] > 0.9
    assert split.taken_for[key] == (key[1] + 2) % 5
    assert sum(chance > 0.5 for chance in split.misjudged.values()) == 1
    NoiseModel(split.independent, split.share, split.becomes)  # makes a valid model


@pytest.mark.parametrize(("sharing", "low", "high"), [(0.0, 0.0, 0.3), (1.0, 0.8, 1.0)])
def test_what_two_raters_have_in_common(sharing, low, high):
    found = []
    for seed in range(4):
        a, _ = answers(0.0, 0.3, seed, sharing=sharing)
        b, _ = answers(0.0, 0.3, seed + 100, variation="mirrored", sharing=sharing, model_seed=seed)
        rng = np.random.default_rng(seed)
        splits = [split_errors(x, TRUE, KINDS, 5, rng, 0) for x in (a, b)]
        share, clusters = shared_errors(*splits, 5)
        assert clusters > 3
        found.append(share)
    assert low <= np.mean(found) <= high
    clean = split_errors(np.tile(TRUE, (2, 1)), TRUE, KINDS, 5, np.random.default_rng(0), 0)
    assert shared_errors(clean, splits[1], 5) == (SHARING, 0)


def test_nothing_to_compare_with_is_told():
    with refused(DataError, field="reference"):
        split_errors(np.zeros((1, 3), int), np.full(3, -1), np.zeros(3, int), 5, np.random.default_rng(0))
