# SPDX-License-Identifier: Apache-2.0
"""When the arm may move at all: armed, no latched e-stop, nothing needed is silent. No clock of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from erl_vlm_ros.safety.faults import Fault, Halt, Refusal, Unready

DISARMED, ARMED, ESTOPPED = "disarmed", "armed", "e-stop"


@dataclass(frozen=True)
class Verdict:
    """Whether commands may pass now, and if not, why: in words, as a Halt, and which source is to blame, if one is."""

    moving: bool
    reason: str = ""
    halt: Halt | None = None
    source: str = ""


class Watchdog:
    """Starts disarmed. An e-stop latches; clearing it leads to disarmed: moving again takes two calls.

    Times are seconds of one monotonic clock, given by the caller. Silence stops the arm but does not disarm
    it: when the messages are back, motion goes on.
    """

    def __init__(self, timeouts: dict[str, float], locking: Collection[str] = ()):
        """``timeouts``: source -> longest silence in s, for instance {"policy command": 0.15}. The silence of a
        source in ``locking`` latches the e-stop while armed.
        """
        self.state = DISARMED
        self.estop_reason = ""
        self.fault: Fault | None = None  # why the e-stop is latched
        self.disarm_reason = ""  # why it was disarmed, when that was not asked for
        self._timeouts = dict(timeouts)
        self._locking = frozenset(locking)
        self._seen: dict[str, float] = {}
        self._held: dict[str, str] = {}

    def arm(self, on: bool, why: str = "") -> Refusal | None:
        """Arm or disarm; None: done. Refused while the e-stop is latched. ``why``: of an unasked disarming."""
        if on and self.state == ESTOPPED:
            return Refusal(Unready.LATCHED, f"e-stop is latched ({self.estop_reason}); clear it first")
        if self.state != ESTOPPED:
            self.state = ARMED if on else DISARMED
            self.disarm_reason = why
        return None

    def estop(self, reason: str, fault: Fault = Fault.REQUESTED) -> None:
        """Latch the e-stop; the first reason is kept."""
        if self.state != ESTOPPED:
            self.state, self.estop_reason, self.fault = ESTOPPED, reason, fault

    def clear_estop(self) -> bool:
        """Unlatch; the result is disarmed. False: none was latched."""
        if self.state != ESTOPPED:
            return False
        self.state, self.estop_reason, self.fault = DISARMED, "", None
        return True

    def saw(self, source: str, now: float) -> None:
        """A message of ``source`` arrived. KeyError for a source without a time limit."""
        if source not in self._timeouts:
            raise KeyError(source)
        self._seen[source] = now

    def hold(self, source: str, reason: str) -> None:
        """Stop for ``reason``, without latching, until it is empty: a dead-man button that is not pressed."""
        if reason:
            self._held[source] = reason
        else:
            self._held.pop(source, None)

    def silence(self, source: str, now: float) -> str:
        """Why ``source`` does not count as alive; empty when it does, or when it has no limit."""
        limit = self._timeouts.get(source)
        if limit is None:
            return ""
        seen = self._seen.get(source)
        if seen is None:
            return f"no {source} yet"
        return f"no {source} for {limit:g} s" if now - seen > limit else ""

    def ages(self, now: float) -> dict[str, float]:
        """Seconds since the last message of each source that has come at all."""
        return {source: now - seen for source, seen in self._seen.items()}

    def verdict(self, now: float, without: Collection[str] = ()) -> Verdict:
        """Whether commands may pass at ``now``; the silence of sources in ``without`` does not matter."""
        if self.state == ARMED:
            for source in self._locking:
                problem = self.silence(source, now)
                if problem:
                    self.estop(problem, Fault.HEARTBEAT)
        if self.state == ESTOPPED:
            return Verdict(False, f"e-stop: {self.estop_reason}", Halt.LATCHED)
        if self.state == DISARMED:
            reason = f"disarmed: {self.disarm_reason}" if self.disarm_reason else "disarmed"
            return Verdict(False, reason, Halt.DISARMED)
        for source in self._timeouts:
            problem = "" if source in without else self.silence(source, now)
            if problem:
                return Verdict(False, problem, Halt.SILENT, source)
        for source, reason in self._held.items():
            return Verdict(False, reason, Halt.HELD, source)
        return Verdict(True)
