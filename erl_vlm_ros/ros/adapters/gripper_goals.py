# SPDX-License-Identifier: Apache-2.0
"""When an opening width becomes a new goal of an action: each goal ends the one before. No ROS."""

from __future__ import annotations

_SAME_M = 0.002  # openings that differ by less are one goal
_PERIOD_S = 0.2  # a goal is given this long before another replaces it


class GripperGoals:
    """Thins a stream of widths out to goals."""

    def __init__(self) -> None:
        self._width: float | None = None
        self._at = -1.0e9

    def due(self, width: float, now: float) -> bool:
        """Whether ``width`` (m) should be sent at ``now`` (s); counts it as sent then."""
        if self._width is not None and abs(width - self._width) < _SAME_M:
            return False
        if now - self._at < _PERIOD_S:
            return False  # the policy repeats its command at the next tick
        self._width, self._at = width, now
        return True

    def lost(self) -> None:
        """The last goal did not arrive: the next width is sent whatever it is."""
        self._width = None
