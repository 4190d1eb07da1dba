# SPDX-License-Identifier: Apache-2.0
"""Whether a message's stamp makes sense at the time it arrives. Pure; nanoseconds of the ROS clock."""

from __future__ import annotations

from collections.abc import Callable

_NS = 1e9
_TOGETHER_S = 1e-3  # between two looks at a clock that count as one moment
_TRIES = 5


def one_moment(ros_ns: Callable[[], int], monotonic: Callable[[], float]) -> tuple[int, float]:
    """Both clocks at one moment: ROS ns and monotonic s. A process that is held up between the two looks again.

    Without that the age of a message is wrong by as long as the process stood still.
    """
    clock, now = 0, monotonic()
    for _ in range(_TRIES):
        before, clock = now, ros_ns()
        now = monotonic()
        if now - before < _TOGETHER_S:
            break
    return clock, now


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
