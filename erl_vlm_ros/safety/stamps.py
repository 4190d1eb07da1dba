# SPDX-License-Identifier: Apache-2.0
"""Whether a message's stamp makes sense at the time it arrives. Pure; nanoseconds of the ROS clock."""

from __future__ import annotations

_NS = 1e9


class StampGate:
    """Refuses stamps that are old, lie in the future, or go back behind one that was accepted."""

    def __init__(self, max_age_s: float, future_s: float) -> None:
        """``max_age_s``: oldest message that is obeyed. ``future_s``: how far the sender's clock may be ahead."""
        self._age, self._future = max_age_s * _NS, future_s * _NS
        self._last: int | None = None

    def problem(self, stamp_ns: int, clock_ns: int) -> str:
        """Why not, or empty: accepted, and later stamps are compared with this one."""
        if self._last is not None and self._last > clock_ns + self._future:
            self._last = None  # our own clock was set back: what it said before means nothing now
        problem = self.age_problem(stamp_ns, clock_ns)
        if problem:
            return problem
        if self._last is not None and stamp_ns < self._last:
            return f"stamp goes back by {(self._last - stamp_ns) / _NS:.3f} s"
        self._last = stamp_ns
        return ""

    def age_problem(self, stamp_ns: int, clock_ns: int) -> str:
        """Why the stamp is too old or lies in the future, or empty; nothing is remembered."""
        ahead = stamp_ns - clock_ns
        if ahead > self._future:
            return f"stamp is {ahead / _NS:.3f} s in the future"
        return f"stamp is {-ahead / _NS:.3f} s old" if -ahead > self._age else ""
