# SPDX-License-Identifier: Apache-2.0
"""From the answers of a rater check to a noise model: which errors belong to view clusters, and which do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.feedback.check.stats import histograms
from erl_vlm_ros.feedback.noise_model import SHARING

_ROUNDS = 60
_PRIOR_CLUSTERS = (
    2.0  # weight of the prior on the misjudged share, in clusters; its mean is the share of wrong answers / 2
)
_PRIOR_VIEWS = 0.5  # views a class by which the other answers are smoothed


@dataclass(frozen=True)
class ErrorSplit:
    """Estimated errors. ``misjudged``: cluster -> chance that it is misjudged; ``low``/``high``: 90% interval of share.

    independent, becomes: float [n, n] as in NoiseModel; share: of the view clusters, misjudged in the same way always.
    """

    independent: np.ndarray
    becomes: np.ndarray
    share: float
    low: float
    high: float
    misjudged: dict[tuple[int, int], float]
    taken_for: dict[tuple[int, int], int]


def split_errors(
    answers: np.ndarray, reference: np.ndarray, clusters: np.ndarray, n: int, rng: np.random.Generator, draws: int = 100
) -> ErrorSplit:
    """Fit the two-step error model of ``noise_model`` by expectation-maximisation.

    The views of one cluster and one reference class share what they are taken for; each view then brings one answer
    (the mean over its repeats, so that repeats do not count as further views). A cluster of one view says little: it is
    split by the prior. The interval comes from drawing clusters anew (bootstrap).

    Args:
        answers: int64 [R, N]; reference, clusters: int64 [N].

    Raises:
        ValueError: no view has both an answer and a reference class.
    """
    shares = histograms(answers, n)
    rows = np.flatnonzero((reference >= 0) & (shares.sum(1) > 0))
    if not len(rows):
        raise DataError("no view has both a valid answer and a reference class", field="reference")
    keys, group = np.unique(np.stack([clusters[rows], reference[rows]], 1), axis=0, return_inverse=True)
    group = group.ravel()
    evidence = np.zeros((len(keys), n))  # answers of the group's views, by class
    np.add.at(evidence, group, shares[rows])
    true = keys[:, 1]
    wrong = float(1.0 - shares[rows, reference[rows]].mean())
    independent, becomes, share, judged = _fit(evidence, true, n, wrong)
    boots = []
    for _ in range(draws):
        pick = rng.integers(len(keys), size=len(keys))
        boots.append(_fit(evidence[pick], true[pick], n, wrong)[2])
    low, high = np.quantile(boots, [0.05, 0.95]) if boots else (share, share)
    names = [(int(k), int(c)) for k, c in keys]
    return ErrorSplit(
        independent, becomes, share, float(low), float(high),
        {key: float(1.0 - judged[i, key[1]]) for i, key in enumerate(names)},
        {key: int(judged[i].argmax()) for i, key in enumerate(names)},
    )  # fmt: skip


def _fit(
    evidence: np.ndarray, true: np.ndarray, n: int, wrong: float
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """(independent, becomes, share, P(judged as j) [G, n]) of groups with answer counts ``evidence`` [G, n]."""
    others = (1.0 - np.eye(n)) / (n - 1)
    share = max(wrong / 2, 0.01)
    rate = max(wrong / 2, 0.01)
    independent, becomes = (1 - rate) * np.eye(n) + rate * others, others.copy()
    judged = np.eye(n)[true]
    for _ in range(_ROUNDS):
        prior = (1 - share) * np.eye(n)[true] + share * becomes[true]
        log = np.log(np.maximum(prior, 1e-12)) + evidence @ np.log(np.maximum(independent, 1e-6)).T
        judged = np.exp(log - log.max(1, keepdims=True))
        judged /= judged.sum(1, keepdims=True)
        off = 1.0 - judged[np.arange(len(true)), true]
        share = float((off.sum() + _PRIOR_CLUSTERS * wrong / 2) / (len(true) + _PRIOR_CLUSTERS))
        moved = np.zeros((n, n))
        np.add.at(moved, true, judged * (1 - np.eye(n)[true]))
        becomes = moved + others
        becomes /= becomes.sum(1, keepdims=True)
        given = judged.T @ evidence
        smooth = _PRIOR_VIEWS * ((1 - rate) * np.eye(n) + rate * others)
        independent = given + smooth
        independent /= independent.sum(1, keepdims=True)
    return independent, becomes, share, judged


def shared_errors(a: ErrorSplit, b: ErrorSplit, n: int) -> tuple[float, int]:
    """(share of systematic errors that two raters have in common, clusters it was estimated from).

    Of the clusters that ``a`` misjudges, the share that ``b`` takes for the same class, less what chance would give.
    SHARING and 0 when ``a`` misjudges none.
    """
    mine = [key for key, chance in a.misjudged.items() if chance > 0.5 and key in b.misjudged]
    if not mine:
        return SHARING, 0
    alike = np.mean([b.misjudged[key] > 0.5 and b.taken_for[key] == a.taken_for[key] for key in mine])
    by_chance = b.share / (n - 1)
    return float(np.clip((alike - by_chance) / (1 - by_chance), 0.0, 1.0)), len(mine)
