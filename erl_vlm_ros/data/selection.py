# SPDX-License-Identifier: Apache-2.0
"""Which frames to have rated next. Uniform choice starves the rare classes; see docs/learning.md for what lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.errors import ConfigError


@dataclass(frozen=True)
class SelectionConfig:
    """Shares of a round; what is left over is drawn uniformly. Shares must sum to at most 1."""

    bins_share: float = 0.4  # equal numbers from each level of predicted reward
    novelty_share: float = 0.25  # far from everything rated so far
    top_share: float = 0.1  # most probably the top class, or most uncertain about it
    disagreement_share: float = 0.0  # widest spread of the ensemble
    recent_frames: int = 5000  # candidates of the shares by predicted reward
    bins: int = 6
    novelty_power: float = 4.0
    novelty_clip: float = 12.0  # standard deviations

    def __post_init__(self) -> None:
        shares = (self.bins_share, self.novelty_share, self.top_share, self.disagreement_share)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ConfigError(f"selection shares {shares} must be >= 0 and sum to at most 1")


@dataclass(frozen=True)
class Candidates:
    """Frames that may be rated, oldest first: observation [N, O], and predictions or None before the first model."""

    observations: np.ndarray
    rated: np.ndarray  # bool [N]
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    top: np.ndarray | None = None


def select(candidates: Candidates, count: int, config: SelectionConfig, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``count`` different unrated frames (fewer when there are fewer), int64."""
    free = ~candidates.rated
    count = min(count, int(free.sum()))
    if count == 0:
        return np.zeros(0, np.int64)
    chosen: list[int] = []
    taken = candidates.rated.copy()

    def take(indices: np.ndarray) -> None:
        for i in indices:
            if len(chosen) < count and not taken[i]:
                chosen.append(int(i))
                taken[i] = True

    if candidates.mean is None:
        take(novel(candidates.observations, candidates.rated, count, config, rng))
    else:
        recent = np.zeros(len(taken), bool)
        recent[-config.recent_frames :] = True
        take(by_bins(candidates.mean, recent & ~taken, round(config.bins_share * count), config.bins, rng))
        take(by_score(candidates.top + candidates.std, recent & ~taken, round(config.top_share * count), rng))
        take(by_score(candidates.std, recent & ~taken, round(config.disagreement_share * count), rng))
        take(novel(candidates.observations, taken, round(config.novelty_share * count), config, rng))
    take(rng.permutation(np.flatnonzero(~taken)))
    return np.array(chosen, np.int64)


def by_bins(mean: np.ndarray, allowed: np.ndarray, count: int, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Frames spread evenly over the levels of predicted reward between its extremes."""
    index = rng.permutation(np.flatnonzero(allowed))
    if len(index) == 0 or count <= 0:
        return np.zeros(0, np.int64)
    low, high = mean[index].min(), mean[index].max()
    level = np.minimum(((mean[index] - low) / max(high - low, 1e-6) * bins).astype(int), bins - 1)
    queues = [list(index[level == b]) for b in rng.permutation(bins)]
    out: list[int] = []
    while len(out) < count and any(queues):
        out += [q.pop() for q in queues if q]
    return np.array(out[:count], np.int64)


def by_score(score: np.ndarray, allowed: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` frames drawn from the 4 x count with the highest score, so that neighbours don't crowd a round."""
    index = np.flatnonzero(allowed)
    if len(index) == 0 or count <= 0:
        return np.zeros(0, np.int64)
    best = index[np.argsort(-score[index], kind="stable")[: 4 * count]]
    return rng.permutation(best)[:count]


def novel(
    observations: np.ndarray, rated: np.ndarray, count: int, config: SelectionConfig, rng: np.random.Generator
) -> np.ndarray:
    """k-means++ style: each next frame is drawn with p ~ (squared distance to the nearest rated or drawn one)^power."""
    if count <= 0:
        return np.zeros(0, np.int64)
    scale = observations.std(0)
    x = (observations - observations.mean(0)) / np.maximum(scale, 1e-3)
    x = np.clip(x, -config.novelty_clip, config.novelty_clip).astype(np.float32)
    norms = (x**2).sum(1)
    distance = np.full(len(x), np.inf, np.float32)
    for centre in np.flatnonzero(rated):
        np.minimum(distance, norms - 2 * (x @ x[centre]) + norms[centre], out=distance)
    out: list[int] = []
    for _ in range(count):
        if np.isinf(distance).all():
            pick = int(rng.integers(len(x)))
        else:
            weight = np.maximum(distance, 0).astype(np.float64)
            weight[rated] = 0
            weight[out] = 0
            weight = (weight / max(weight.max(), 1e-12)) ** config.novelty_power
            if weight.sum() <= 0:
                break
            pick = int(rng.choice(len(x), p=weight / weight.sum()))
        out.append(pick)
        np.minimum(distance, norms - 2 * (x @ x[pick]) + norms[pick], out=distance)
    return np.array(out, np.int64)
