# SPDX-License-Identifier: Apache-2.0
"""Pairs of frames that show the tracked object in one and the same place, wherever the end effector is.

A manipulation task is done to an object, so its level of progress hangs on where the object is. A teacher that
misjudges views in which the end effector is somewhere breaks that: the end effector moves, nothing else does, and the
rating changes.
"""

from __future__ import annotations

import numpy as np

_CELL_M = 0.02  # places of the object that are drawn alike often
_PARTNERS = 3000  # frames among which partners are looked for


def same_object_pairs(
    objects: np.ndarray, count: int, within: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """At most ``count`` pairs of frames (indices int64) whose ``objects`` [N, 3] m lie within ``within`` m.

    Every place of the object is drawn alike often: most frames show it where the episodes begin.
    """
    if len(objects) < 2 or count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, place = np.unique(np.floor(objects / _CELL_M), axis=0, return_inverse=True)
    chance = 1.0 / np.bincount(place.ravel())[place.ravel()]
    chance /= chance.sum()
    one, many = rng.choice(len(objects), count, p=chance), rng.choice(len(objects), _PARTNERS, p=chance)
    squares = ((objects[one, None].astype(np.float64) - objects[many][None]) ** 2).sum(-1)
    near = (squares < within**2) & (one[:, None] != many[None])
    other = many[(near * rng.random(near.shape)).argmax(1)]
    found = near.any(1)
    return one[found].astype(np.int64), other[found].astype(np.int64)
