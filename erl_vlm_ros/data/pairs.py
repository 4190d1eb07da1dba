# SPDX-License-Identifier: Apache-2.0
"""Which frames to compare next. What is compared decides more than how it is learned from: see docs/preferences.md."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.data.selection import Candidates, SelectionConfig, select

_DRAWN = 20  # pairs to choose from, for each that is chosen
_BEST = 4  # of those with the highest score that one is drawn from, for each that is chosen
_BINS = 6  # levels of predicted difference


def select_pairs(
    candidates: Candidates, count: int, config: SelectionConfig, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """``count`` pairs of different frames (fewer when there are fewer), each in a random order.

    ``config.pairs`` says how; what needs a prediction is uniform before the first model.
    """
    how = config.pairs
    if how == "frames":
        frames = rng.permutation(select(candidates, 2 * count, config, rng))
        half = len(frames) // 2
        return [(int(a), int(b)) for a, b in zip(frames[:half], frames[half : 2 * half])]
    if how == "uniform" or candidates.mean is None:
        return _as_tuples(_any(len(candidates.rated), count, rng))
    pairs = _any(len(candidates.rated), _DRAWN * count, rng)
    if not len(pairs):
        return []
    if how == "difference":
        return _as_tuples(pairs[_spread(np.abs(np.diff(candidates.mean[pairs], axis=1)[:, 0]), count, rng)])
    score = disagreement(candidates, pairs)
    best = np.argsort(-score, kind="stable")[: _BEST * count]
    return _as_tuples(pairs[rng.permutation(best)[:count]])


def disagreement(candidates: Candidates, pairs: np.ndarray) -> np.ndarray:
    """Deviation over the members of the probability that the second frame of each pair is preferred, float [K].

    Where a model does not tell its members' words, theirs are taken to vary independently.
    """
    if candidates.members is not None:
        difference = candidates.members[:, pairs[:, 1]] - candidates.members[:, pairs[:, 0]]
        return (1 / (1 + np.exp(-difference))).std(0)
    return np.sqrt((candidates.std[pairs] ** 2).sum(1))


def _any(frames: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [count, 2]: pairs of different frames, uniform, with replacement."""
    if frames < 2:
        return np.zeros((0, 2), np.int64)
    first = rng.integers(0, frames, count)
    return np.stack([first, (first + rng.integers(1, frames, count)) % frames], axis=1)


def _spread(value: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` indices, as many from each level of ``value`` between its extremes as there are."""
    order = rng.permutation(len(value))
    low, high = value.min(), value.max()
    level = np.minimum(((value[order] - low) / max(high - low, 1e-6) * _BINS).astype(int), _BINS - 1)
    queues = [list(order[level == b]) for b in range(_BINS)]
    out: list[int] = []
    while len(out) < count and any(queues):
        out += [queue.pop() for queue in queues if queue]
    return np.array(out[:count], np.int64)


def _as_tuples(pairs: np.ndarray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairs]
