# SPDX-License-Identifier: Apache-2.0
"""The way of the tool through an episode, and what the learned reward says along it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CLOSE_S, CLOSE_M = 0.05, 0.002  # points of a running episode that are nearer than both of these are left out
MOST_POINTS = 2000


class Trace:
    """Either as it happens (``position``, ``reward``) or of a finished episode (``whole``). Times in s."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A new episode begins."""
        self._times: list[float] = []
        self._positions: list[np.ndarray] = []
        self._judged: list[tuple[float, float]] = []
        self._steps: np.ndarray | None = None  # rewards of a whole episode

    def whole(self, positions: np.ndarray, rewards: np.ndarray | None) -> None:
        """A finished episode: positions [T+1, 3] m, rewards [T] of frames 1..T, or None while they are unknown."""
        self.clear()
        self._times = list(map(float, range(len(positions))))
        self._positions = list(positions)
        if rewards is not None:
            self.rate(rewards)

    def rate(self, rewards: np.ndarray) -> None:
        """The rewards [T] of a finished episode; ignored when they do not fit it."""
        if len(rewards) == len(self._positions) - 1:
            self._steps = np.asarray(rewards, float)
            self._judged = [(i + 1.0, float(r)) for i, r in enumerate(rewards)]

    def position(self, at: float, where: Sequence[float]) -> None:
        """Where the tool is now, m in the base frame."""
        point = np.asarray(where, float)
        if self._times and at - self._times[-1] < CLOSE_S:
            return
        if self._positions and np.linalg.norm(point - self._positions[-1]) < CLOSE_M:
            return
        self._times.append(at)
        self._positions.append(point)
        if len(self._positions) > MOST_POINTS:
            del self._times[0], self._positions[0]

    def reward(self, at: float, value: float) -> None:
        """What the learned reward says of the image of that time."""
        self._judged.append((at, value))

    @property
    def points(self) -> np.ndarray:
        """Positions float64 [n, 3]."""
        return np.array(self._positions, float).reshape(-1, 3)

    @property
    def colours(self) -> np.ndarray | None:
        """Reward at each of ``points`` [n], between those that are known; None when none is."""
        if not self._judged:
            return None
        times, values = np.array(self._judged, float).T
        return np.interp(np.array(self._times), times, values)

    @property
    def rewards(self) -> np.ndarray | None:
        """Rewards so far, in order; None when none is known."""
        if self._steps is not None:
            return self._steps
        return np.array([value for _, value in self._judged]) if self._judged else None
