# SPDX-License-Identifier: Apache-2.0
"""Which frames to have rated next. Uniform choice starves the rare classes; docs/records/learning.md has what lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.spaces import EE_POSITION, FEATURES, ObservationSpec

_COMPONENTS = 8  # of image features


@config("selection")
class SelectionConfig:
    """Shares of a round; what is left over is drawn uniformly. Shares must sum to at most 1."""

    bins_share: float = setting(
        0.4, "Share of a round spread evenly over the levels of predicted reward.", low=0.0, high=1.0
    )
    novelty_share: float = setting(0.25, "Share of a round far from everything rated so far.", low=0.0, high=1.0)
    top_share: float = setting(0.1, "Share of a round most probably of the top class.", low=0.0, high=1.0)
    disagreement_share: float = setting(0.0, "Share of a round where the ensemble disagrees most.", low=0.0, high=1.0)
    recent_frames: int = setting(
        5000, "Frames among which the shares by predicted reward choose.", low=1, high=1_000_000_000
    )
    bins: int = setting(6, "Levels of predicted reward.", low=1, high=1000)
    novelty_power: float = setting(4.0, "Sharpness of the choice by novelty.", low=0.0, high=100.0)
    novelty_clip: float = setting(
        12.0, "Standard deviations beyond which an observation is not more novel.", low=0.1, high=1000.0
    )

    pairs: Literal["frames", "uniform", "disagreement", "difference"] = setting(
        "frames",
        "How comparisons are paired. frames: those that would be rated, at random; uniform: any two (the papers'); "
        "disagreement: where the ensemble's members differ most; difference: all predicted differences alike.",
    )

    def __post_init__(self) -> None:
        shares = (self.bins_share, self.novelty_share, self.top_share, self.disagreement_share)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            text = f"selection shares {shares} must be >= 0 and sum to at most 1"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="learner.selection")


@dataclass(frozen=True)
class Candidates:
    """Frames that may be rated, oldest first: observation [N, O], and predictions or None before the first model;
    ``members``: of each member of the ensemble, [E, N], where the model tells them."""

    observations: np.ndarray
    rated: np.ndarray  # bool [N]
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    top: np.ndarray | None = None
    members: np.ndarray | None = None


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


def novelty_view(observations: np.ndarray, spec: ObservationSpec | None) -> np.ndarray:
    """What distances of novelty are taken in: the observation [N, O]; of one with image features, the end effector's
    position and their first principal components, whitened, for 64 features would drown everything else."""
    if spec is None or FEATURES not in spec or len(observations) < 2:
        return observations
    features = observations[:, spec.slice(FEATURES)].astype(np.float64)
    centred = features - features.mean(0)
    _, scale, axes = np.linalg.svd(centred.T @ centred / len(centred), hermitian=True)
    kept = scale[:_COMPONENTS] > 1e-6 * max(float(scale[0]), 1e-12)
    axes, scale = axes[:_COMPONENTS][kept], scale[:_COMPONENTS][kept]
    return np.hstack([observations[:, spec.slice(EE_POSITION)], centred @ axes.T / np.sqrt(scale)]).astype(np.float32)


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
