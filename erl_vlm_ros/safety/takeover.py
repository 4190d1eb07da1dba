# SPDX-License-Identifier: Apache-2.0
"""When guard_watchdog stands in for the guard, and when it hands back. Pure; times are s of one monotonic clock.

The guard beats at every tick and says with each beat whether it sends commands to the arm, and which takeover it
knows of. The watchdog takes over when a guard that was sending dies or falls silent; it ends when a guard beats that
knows of this takeover: a guard that was only hung learns of it before it sends anything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DIED, SILENT, LEFT_BEHIND = "died", "silent", "left behind"
_TEXTS = {
    DIED: "the guard's process ended without stopping the arm",
    SILENT: "no sign of life from the guard for {:g} s",
    LEFT_BEHIND: "guard and watchdog died while the arm was commanded",
}


@dataclass
class Takeover:
    """``sending``: whether the watchdog sends zeros now. ``number``: takeovers so far; ``reason`` of the last one."""

    silence_s: float
    number: int = 0
    sending: bool = False
    reason: str = ""
    _beat_at: float = math.inf
    _guard_sends: bool = False

    @property
    def text(self) -> str:
        """The reason in words; empty before the first takeover."""
        return _TEXTS[self.reason].format(self.silence_s) if self.reason else ""

    @property
    def guard_sends(self) -> bool:
        """Whether the guard, as far as it is known, has commanded the arm last."""
        return self._guard_sends

    def beat(self, number: int, sends: bool, now: float) -> None:
        """A guard's sign of life: it knows of takeover ``number`` and ``sends`` commands."""
        self._beat_at = now
        if self.sending and number != self.number:
            return  # from before the guard learned of it
        self.sending = False
        self._guard_sends = sends

    def left(self) -> None:
        """The guard said that it has stopped the arm and leaves."""
        self._beat_at, self._guard_sends, self.sending = math.inf, False, False

    def lost(self) -> None:
        """The connection ended without that."""
        if self._guard_sends and not self.sending:
            self._take(DIED)
        self._beat_at = math.inf

    def left_behind(self) -> None:
        """At start: a guard and a watchdog before this one died while the guard was sending."""
        if not self.sending:
            self._take(LEFT_BEHIND)

    def wait_s(self, now: float) -> float:
        """How long a sign of life may still take, s; infinite when none is expected."""
        if self.sending or not self._guard_sends:
            return math.inf
        return max(0.0, self._beat_at + self.silence_s - now)

    def check(self, now: float) -> None:
        """Take over if the guard has been silent too long. Call it with nothing left to be read."""
        if not self.sending and self._guard_sends and now - self._beat_at >= self.silence_s:
            self._take(SILENT)

    def _take(self, reason: str) -> None:
        self.number += 1
        self.sending, self.reason = True, reason
