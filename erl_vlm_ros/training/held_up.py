# SPDX-License-Identifier: Apache-2.0
"""Where the arm was held up: it moved otherwise than its commands say, so it touched something there.

A hint of where something can be done that needs neither a tracker nor a force sensor, and no rating.
"""

from __future__ import annotations

import numpy as np

_PAST = 3  # commands that still have a say in a motion: those of a step and of the two before it
_SHARE = 0.2  # of a full step's way: so far off it is held up; motions in free space are predicted to a hundredth
_FEWEST, _FREE = 100, 1500  # steps; of those that tell how it moves where nothing is in the way
_USUAL = 3.0  # times as far off as usual, at least
_ROUNDS = 5  # of reweighting: least absolute deviations, which a few touches do not bend


def held_up(before: np.ndarray, after: np.ndarray, commands: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Which of T steps were held up, bool [T]; none of fewer than a hundred.

    How the arm follows its commands is learned from the first steps, of exploration, in which it mostly moves freely: a
    policy that has come to something and stays with it touches it in most of its steps.

    Args:
        before: the end effector's position ahead of each step, m [T, 3].
        after: behind it.
        commands: linear velocities, in any unit, [T, 3].
        first: bool [T], steps with which an episode begins; all steps are in the order in which they were made.
    """
    if len(commands) < _FEWEST:
        return np.zeros(len(commands), bool)
    inputs, moved = _with_past(commands.astype(np.float64), first), (after - before).astype(np.float64)
    free, way = inputs[:_FREE], moved[:_FREE]
    weight = np.ones(len(free))
    for _ in range(_ROUNDS):
        weighted = free * weight[:, None]
        gains = np.linalg.solve(weighted.T @ free + 1e-6 * np.eye(free.shape[1]), weighted.T @ way)
        off = np.linalg.norm(way - free @ gains, axis=1)
        weight = 1.0 / np.maximum(off, max(float(np.median(off)), 1e-9))
    full = np.abs(gains.reshape(_PAST, 3, 3).sum(0)).max(0)  # the way of a step at a command of 1, each axis
    fastest = np.linalg.norm(np.abs(commands).max(0) * full)
    # An arm that is slower than its commands is off all the time.
    least = max(_SHARE * fastest / np.sqrt(3.0), _USUAL * float(np.median(off)))
    return np.linalg.norm(moved - inputs @ gains, axis=1) > least


def _with_past(commands: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Commands beside those before them in their episode (0 ahead of its beginning), [T, 3 * _PAST]."""
    start = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
    at = np.arange(len(commands))
    columns = []
    for back in range(_PAST):
        shifted = commands[np.maximum(at - back, 0)].copy()
        shifted[at - back < start] = 0.0
        columns.append(shifted)
    return np.hstack(columns)
