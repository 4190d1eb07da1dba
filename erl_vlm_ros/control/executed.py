# SPDX-License-Identifier: Apache-2.0
"""What the arm was commanded between two frames, as an action: in real time the time-weighted mean velocity."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

_MOST = 1000  # velocities of one step; at 50 Hz that is 20 s


class StepVelocity:
    """Velocities of one control step, each in force until the next. Times: monotonic seconds; m/s, base frame.

    ``mean=False``: the last one counts alone, because in lock-step the wall clock tells nothing.
    """

    def __init__(self, mean: bool = True) -> None:
        self._mean = mean
        # Bounded: between two episodes it is not read.
        self._sent: deque[tuple[float, np.ndarray]] = deque(maxlen=_MOST)
        self._fresh = False  # something came since the last take

    def add(self, velocity: Sequence[float], now: float) -> None:
        """A velocity, of as many numbers as every other, that is in force from ``now`` on."""
        self._sent.append((now, np.array(velocity, np.float64)))
        self._fresh = True

    def take(self, now: float) -> np.ndarray | None:
        """The mean up to ``now``, float64 [n], and a clean start that remembers what is still in force.

        None when nothing was added since the last ``take``.
        """
        if not self._fresh:
            if self._sent:
                self._restart(now)
            return None
        times = np.array([at for at, _ in self._sent] + [now])
        weights = np.maximum(np.diff(times), 0.0)
        values = np.stack([velocity for _, velocity in self._sent])
        mean = weights @ values / weights.sum() if self._mean and weights.sum() > 0 else values[-1]
        self._restart(now)
        return mean

    def _restart(self, now: float) -> None:
        last = self._sent[-1][1]
        self._sent.clear()
        self._sent.append((now, last))
        self._fresh = False

    def clear(self) -> None:
        """Forget everything."""
        self._sent.clear()
        self._fresh = False
