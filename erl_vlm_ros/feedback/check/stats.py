# SPDX-License-Identifier: Apache-2.0
"""Figures of a rater check: agreement between repeats, accuracy, and errors that belong to a view cluster.

Answers are int64 [R, N]: R repeats of N views, -1 where there is no rating.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from erl_vlm_ros.data.images import decode_image

_SIDE = 16  # px of the thumbnails that views are compared by
_COMPONENTS = 12


def histograms(answers: np.ndarray, n: int) -> np.ndarray:
    """Share of each class among a view's valid answers, float [N, n]; a row of zeros where there is none."""
    counts = np.stack([(answers == c).sum(0) for c in range(n)], axis=1).astype(float)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1.0)


def majority(answers: np.ndarray, n: int) -> np.ndarray:
    """Most frequent class of each view, the lower one of a tie; -1 without any valid answer. int64 [N]."""
    shares = histograms(answers, n)
    return np.where(shares.sum(1) > 0, shares.argmax(1), -1)


def repeat_agreement(answers: np.ndarray, n: int) -> float:
    """Chance that two valid answers to the same view are equal; NaN when no view has two."""
    counts = np.stack([(answers == c).sum(0) for c in range(n)], axis=1).astype(float)
    total = counts.sum(1)
    pairs = (total * (total - 1)).sum()
    return float((counts * (counts - 1)).sum() / pairs) if pairs else float("nan")


def kappa(answers: np.ndarray, n: int) -> float:
    """Fleiss' kappa of the repeats: agreement beyond what the mix of answers alone would give; NaN when undefined."""
    agreement = repeat_agreement(answers, n)
    valid = answers[answers >= 0]
    if not len(valid) or np.isnan(agreement):
        return float("nan")
    by_chance = float(((np.bincount(valid, minlength=n) / len(valid)) ** 2).sum())
    return (agreement - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def confusion(reference: np.ndarray, answers: np.ndarray, n: int) -> np.ndarray:
    """Counts int64 [n, n] over all repeats: rows the reference class, columns the answer."""
    true, given = np.broadcast_to(reference, answers.shape).ravel(), answers.ravel()
    keep = (true >= 0) & (given >= 0)
    return np.bincount(n * true[keep] + given[keep], minlength=n * n).reshape(n, n)


def accuracy(matrix: np.ndarray) -> float:
    """Share of right answers in a confusion matrix; NaN for an empty one."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation with mean ranks for ties; NaN when one of them is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def progress_correlation(answers: np.ndarray, trajectory: np.ndarray, n: int) -> float:
    """How far the mean rating rises with time: Spearman's correlation, mean over the trajectories; NaN if undefined."""
    shares = histograms(answers, n)
    valid, mean = shares.sum(1) > 0, shares @ np.arange(n)
    out = []
    for number in np.unique(trajectory):
        rows = np.flatnonzero((trajectory == number) & valid)
        out.append(rank_correlation(mean[rows], rows.astype(float)))
    out = [value for value in out if not np.isnan(value)]
    return float(np.mean(out)) if out else float("nan")


def view_clusters(jpegs: list[bytes], per_cluster: int = 8) -> np.ndarray:
    """Groups of views that look alike, about ``per_cluster`` views each; int64 [N], the group's number.

    Views are compared as thumbnails in which every pixel counts by how much it changes; groups are those of Ward's
    agglomeration, so that they are compact.
    """
    images = [decode_image(jpeg) for jpeg in jpegs]
    small = np.stack([cv2.resize(p, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel() for p in images])
    x = small.astype(float) / 255.0
    x = (x - x.mean(0)) / np.maximum(x.std(0), 0.02)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    keep = min(_COMPONENTS, len(s))
    return ward(u[:, :keep] * s[:keep], max(2, round(len(x) / per_cluster)))


def ward(points: np.ndarray, groups: int) -> np.ndarray:
    """Ward's agglomerative clustering of points [N, D] into ``groups`` (fewer when N is smaller). int64 [N]."""
    count = len(points)
    centres, sizes = points.astype(float).copy(), np.ones(count)
    label, alive = np.arange(count), np.ones(count, bool)
    cost = _ward_cost(centres, sizes, centres, sizes)
    np.fill_diagonal(cost, np.inf)
    for _ in range(count - min(groups, count)):
        i, j = divmod(int(cost.argmin()), count)
        centres[i] = (sizes[i] * centres[i] + sizes[j] * centres[j]) / (sizes[i] + sizes[j])
        sizes[i] += sizes[j]
        alive[j] = False
        label[label == j] = i
        row = _ward_cost(centres[[i]], sizes[[i]], centres, sizes)[0]
        row[~alive] = np.inf
        row[i] = np.inf
        cost[i], cost[:, i] = row, row
        cost[j], cost[:, j] = np.inf, np.inf
    return np.unique(label, return_inverse=True)[1]


def _ward_cost(a: np.ndarray, size_a: np.ndarray, b: np.ndarray, size_b: np.ndarray) -> np.ndarray:
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return square * (size_a[:, None] * size_b[None]) / (size_a[:, None] + size_b[None])


@dataclass(frozen=True)
class SystematicTest:
    """``pairs`` of like views with the same wrong answer; how many to expect were errors spread at random; p-value."""

    pairs: int
    expected: float
    p_value: float
    like_pairs: int


def systematic_test(
    answers: np.ndarray,
    reference: np.ndarray,
    clusters: np.ndarray,
    n: int,
    rng: np.random.Generator,
    shuffles: int = 2000,
) -> SystematicTest:
    """Do views of the same cluster get the same wrong answer more often than views of the same class do?

    A permutation test on each view's majority answer: answers are shuffled among the views of equal reference class,
    which keeps how often each class is taken for each other and breaks only the tie to the view cluster. One answer a
    view, so that a model that repeats itself word for word does not count ten times.
    """
    given = majority(answers, n)
    rows = np.flatnonzero((given >= 0) & (reference >= 0))
    given, true, cluster = given[rows], reference[rows], clusters[rows]
    alike = np.triu((cluster[:, None] == cluster[None]) & (true[:, None] == true[None]), 1)
    first, second = np.nonzero(alike)
    classes = [np.flatnonzero(true == c) for c in np.unique(true)]

    def count(labels: np.ndarray) -> int:
        return int(((labels[first] == labels[second]) & (labels[first] != true[first])).sum())

    observed, shuffled = count(given), np.empty(shuffles)
    for i in range(shuffles):
        labels = given.copy()
        for members in classes:
            labels[members] = labels[rng.permutation(members)]
        shuffled[i] = count(labels)
    p_value = (1 + int((shuffled >= observed).sum())) / (1 + shuffles)
    return SystematicTest(observed, float(shuffled.mean()), p_value, len(first))
