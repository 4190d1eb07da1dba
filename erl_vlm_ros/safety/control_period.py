# SPDX-License-Identifier: Apache-2.0
"""A fixed grid of time: which period a tick belongs to, how many were missed, and how late ticks are."""

from __future__ import annotations

from collections import deque

_EARLY = 0.25  # of a period before it begins a tick still counts for the next


class ControlPeriods:
    """Times are seconds of one monotonic clock."""

    def __init__(self, period_s: float, memory: int = 1000) -> None:
        """``memory``: how many ticks the figures look back."""
        self.period = period_s
        self._origin: float | None = None
        self._last = 0
        self._gaps: deque[float] = deque(maxlen=memory)  # |time between two ticks - period|, s
        self._before = 0.0
        self.overruns = 0

    def tick(self, now: float) -> int:
        """Periods since the last tick: 1 when all is well, more when some were missed, 0 for a second tick in one."""
        if self._origin is None:
            self._origin = self._before = now
            return 1
        period = int((now - self._origin) / self.period + _EARLY)
        periods = max(0, period - self._last)
        if periods:
            self._gaps.append(abs(now - self._before - self.period))
            self._before, self._last = now, period
            self.overruns += periods - 1
        return periods

    def jitter_s(self, quantile: float = 0.99) -> float:
        """How far the time between two ticks was from the period, by quantile; 0 before there are any."""
        ordered = sorted(self._gaps)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0
