# SPDX-License-Identifier: Apache-2.0
"""When the arm may move at all: armed, no latched e-stop, nothing needed is silent. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

DISARMED, ARMED, ESTOPPED = "disarmed", "armed", "e-stop"


@dataclass(frozen=True)
class Verdict:
    """Whether commands may pass now, and the reason if not (empty when they may)."""

    moving: bool
    reason: str = ""


class Watchdog:
    """Starts disarmed. An e-stop latches; clearing it leads to disarmed: moving again takes two calls.

    Times are seconds of one monotonic clock, given by the caller. Silence stops the arm but does not disarm
    it: when the messages are back, motion goes on.
    """

    def __init__(self, timeouts: dict[str, float]):
        """``timeouts``: source -> longest silence in s, for instance {"policy command": 0.15}."""
        self.state = DISARMED
        self.estop_reason = ""
        self._timeouts = dict(timeouts)
        self._seen: dict[str, float] = {}

    def arm(self, on: bool) -> tuple[bool, str]:
        """Arm or disarm. (done, message); refused while the e-stop is latched."""
        if on and self.state == ESTOPPED:
            return False, f"e-stop is latched ({self.estop_reason}); clear it first"
        if self.state != ESTOPPED:
            self.state = ARMED if on else DISARMED
        return True, self.state

    def estop(self, reason: str) -> None:
        """Latch the e-stop; the first reason is kept."""
        if self.state != ESTOPPED:
            self.state, self.estop_reason = ESTOPPED, reason

    def clear_estop(self) -> tuple[bool, str]:
        """Unlatch; the result is disarmed. (False, message) when there was none."""
        if self.state != ESTOPPED:
            return False, "no e-stop is latched"
        self.state, self.estop_reason = DISARMED, ""
        return True, "cleared; disarmed until armed again"

    def saw(self, source: str, now: float) -> None:
        """A message of ``source`` arrived. KeyError for a source without a time limit."""
        if source not in self._timeouts:
            raise KeyError(source)
        self._seen[source] = now

    def verdict(self, now: float) -> Verdict:
        """Whether commands may pass at ``now``."""
        if self.state == ESTOPPED:
            return Verdict(False, f"e-stop: {self.estop_reason}")
        if self.state == DISARMED:
            return Verdict(False, "disarmed")
        for source, limit in self._timeouts.items():
            seen = self._seen.get(source)
            if seen is None:
                return Verdict(False, f"no {source} yet")
            if now - seen > limit:
                return Verdict(False, f"no {source} for {limit:g} s")
        return Verdict(True)
