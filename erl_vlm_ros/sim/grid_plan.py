# SPDX-License-Identifier: Apache-2.0
"""Fewest steps of an agent that turns and walks on a grid to each of its poses, backwards from where it shall be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # of one cell, by direction: right, down, left, up
Pose = tuple[int, int, int]  # x, y, direction


def ends_before(target: tuple[int, int], facing: bool) -> list[Pose]:
    """The poses next to a cell; ``facing``: only those that look at it."""
    x, y = target
    beside = [((x - dx, y - dy), d) for d, (dx, dy) in enumerate(STEPS)]
    return [(*cell, d) for cell, toward in beside for d in ((toward,) if facing else range(4))]


def distances(ends: Iterable[Pose], free: Callable[[int, int], bool]) -> dict[Pose, int]:
    """Steps (a turn left or right, one cell forward) from each pose to the nearest of ``ends``; a pose that is not in
    it has no way there. ``free``: whether the agent may stand on a cell."""
    found = {end: 0 for end in ends if free(end[0], end[1])}
    waiting = deque(found)
    while waiting:
        pose = waiting.popleft()
        x, y, d = pose
        dx, dy = STEPS[d]
        before = [(x, y, (d + 1) % 4), (x, y, (d - 1) % 4)]
        if free(x - dx, y - dy):
            before.append((x - dx, y - dy, d))
        for other in before:
            if other not in found:
                found[other] = found[pose] + 1
                waiting.append(other)
    return found
