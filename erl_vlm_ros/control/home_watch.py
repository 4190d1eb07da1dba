# SPDX-License-Identifier: Apache-2.0
"""Tells whether an arm has come home: every joint near its target, for long enough, before the time is up. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping


class HomeWatch:
    """``target``: joint name -> rad. Times: monotonic seconds."""

    def __init__(self, target: Mapping[str, float], tolerance: float, settle_s: float, timeout_s: float):
        self.target = dict(target)
        self._tolerance, self._settle, self._timeout = tolerance, settle_s, timeout_s
        self._positions: dict[str, float] = {}
        self._began = 0.0
        self._near_since: float | None = None

    def begin(self, now: float) -> None:
        """The arm has been asked to go home; what was seen before does not count."""
        self._began, self._near_since = now, None
        self._positions = {}

    def see(self, positions: Mapping[str, float], now: float) -> None:
        """Newest joint positions; joints that are not among the target's do not matter."""
        self._positions |= {name: positions[name] for name in self.target if name in positions}
        near = len(self._positions) == len(self.target) and self._worst()[1] <= self._tolerance
        if not near:
            self._near_since = None
        elif self._near_since is None:
            self._near_since = now

    def _worst(self) -> tuple[str, float]:
        """Joint that is farthest from its target, and how far; one that reports nonsense is infinitely far."""
        away = {name: abs(q - self.target[name]) for name, q in self._positions.items()}
        return max(
            ((name, d if math.isfinite(d) else math.inf) for name, d in away.items()), key=lambda entry: entry[1]
        )

    def there(self, now: float) -> bool:
        """Whether the arm stands at home."""
        return self._near_since is not None and now - self._near_since >= self._settle

    def too_late(self, now: float) -> str:
        """Why home was not reached in time, or an empty text while there is time left."""
        if now - self._began <= self._timeout:
            return ""
        if not self._positions:
            return f"no joint state within {self._timeout:g} s"
        name, distance = self._worst()
        return f"home was not reached within {self._timeout:g} s: {name} is {distance:.2f} rad away"
