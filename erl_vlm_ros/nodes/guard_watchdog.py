# SPDX-License-Identifier: Apache-2.0
"""guard_watchdog: makes the arm stand still when the guard dies or hangs. A process of its own beside safety_guard.

A forward_command_controller for velocities obeys its last command for ever. This process publishes nothing on the
arm's command topic while the guard lives; its publisher is matched from the start all the same, so that nothing has to
be discovered when it is needed. The guard's sign of life comes over a Unix socket at each tick: death ends the
connection at once, silence is a time-out. While it stands in for the guard it sends zeros, until a guard is back that
knows of it (`erl_vlm_ros.safety.takeover`).
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rclpy.duration import Duration

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.local import OnlyOne, local_name
from erl_vlm_ros.ros import realtime
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.standstill import Standstill
from erl_vlm_ros.safety import lifeline
from erl_vlm_ros.safety.lifeline import Line, Listener, number_of, readable
from erl_vlm_ros.safety.takeover import Takeover

_STATE_EVERY_S = 0.1  # s: how often the guard hears that its watchdog lives
_GRACE_S = 0.5  # s that a guard which is alive has for connecting to a new watchdog
_LINGER_S = 3.0  # s that a guard which is being stopped, too, has for its own last zeros
_LAST_ZEROS_S = 0.5
_MOST_JOINTS = 64


class GuardWatchdog(BaseNode):
    """Wiring of Takeover: a thread reads the guard's signs of life and sends zeros; the executor serves ROS."""

    NAME = "guard_watchdog"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        guard = p.guard if p.guard.startswith("/") else f"{self.get_namespace().rstrip('/')}/{p.guard}"
        domain = self.context.get_domain_id()
        path = Path(p.socket) if p.socket else local_name("watchdog", domain, guard)
        try:
            self._lock = OnlyOne(path.with_name(path.name + ".lock"))
        except BlockingIOError as holder:
            raise ConfigError(
                f"{guard} has a guard_watchdog already, process {holder}: end that one first", code=Code.IN_USE
            ) from None
        self._arm = Standstill(self, p.adapter, p.base_frame)
        self._listener = Listener(path)
        self._left = LeftBehind(path.with_name(path.name + ".armed"))
        self.takeover = Takeover(p.silence_s)
        self._joints = self._left.joints()
        self._line: Line | None = None
        self._told: tuple = ()
        self._stopping = threading.Event()
        self.get_logger().info(realtime.prefer(p.realtime_priority))
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)  # inherits the priority
        self._thread.start()
        self.get_logger().info(f"watching over {guard}: zeros on {self._arm.topic} when it dies or hangs")

    # -- the watching thread

    def _watch(self) -> None:
        """Everything between the guard's beats and the arm; on an error of our own the whole process ends at once."""
        try:
            started, told_at, sent_at = time.monotonic(), -math.inf, -math.inf
            while not self._stopping.is_set():
                now = time.monotonic()
                self._serve(readable(self._ends(), self._wait_s(now, told_at, sent_at)))
                now = time.monotonic()
                self.takeover.check(now)
                if self._left.exists and self._line is None and now - started > _GRACE_S:
                    self.takeover.left_behind()
                if self.takeover.sending and now - sent_at >= 0.5 / self.p.rate_hz:
                    sent_at = now
                    self._arm.send(self._joints)
                if now - told_at >= _STATE_EVERY_S or self._news() != self._told:
                    told_at = now
                    self._tell()
        except BaseException:
            self.get_logger().error("the watching thread failed: ending, so that the guard notices")
            sys.excepthook(*sys.exc_info())
            os._exit(1)

    def _ends(self) -> list[Any]:
        return [self._listener, *([self._line] if self._line is not None else [])]

    def _wait_s(self, now: float, told_at: float, sent_at: float) -> float:
        """How long nothing but the guard can matter, s."""
        due = [told_at + _STATE_EVERY_S - now, self.takeover.wait_s(now)]
        if self.takeover.sending:
            due.append(sent_at + 1.0 / self.p.rate_hz - now)
        return max(0.0, min(due))

    def _serve(self, ends: list[Any]) -> None:
        if self._line in ends:
            self._read(self._line)
        if self._listener in ends:
            self._take_in(self._listener.accept())

    def _take_in(self, line: Line | None) -> None:
        if line is None:
            return
        if self._line is not None:
            line.send(lifeline.REFUSED, why="guard_watchdog has another guard already")
            line.close()
            return
        self._line = line
        self._tell()
        self._read(line)

    def _read(self, line: Line) -> None:
        now = time.monotonic()
        for message in line.read():
            if message["kind"] == lifeline.HELLO:
                self._meet(line, message)
            elif message["kind"] == lifeline.BEAT:
                self.takeover.beat(number_of(message, "number"), bool(message.get("sends")), now)
                self._left.note(self.takeover.guard_sends, self._joints)
            elif message["kind"] == lifeline.BYE:
                self.takeover.left()
                self._left.note(False, self._joints)
        if not line.open:
            self._line = None
            self.takeover.lost()

    def _meet(self, line: Line, hello: dict[str, Any]) -> None:
        """Refuse a guard that this process could not stand in for."""
        joints = number_of(hello, "joints")
        if hello.get("version") != lifeline.VERSION:
            why = "guard and guard_watchdog are of different versions of this package"
        elif hello.get("adapter") != self._arm.adapter:
            why = f"guard_watchdog has adapter '{self._arm.adapter}', the guard '{hello.get('adapter')}'"
        elif not 0 <= joints <= _MOST_JOINTS:
            why = f"{joints} joints"
        else:
            self._joints = joints
            return
        line.send(lifeline.REFUSED, why=why)
        line.close()
        self.get_logger().error(f"guard refused: {why}", throttle_duration_sec=5.0)

    def _news(self) -> tuple:
        return (self.takeover.number, self.takeover.sending)

    def _tell(self) -> None:
        """Tell the guard, and the log when something has happened."""
        state, news = self.takeover, self._news()
        if self._line is not None:
            self._line.send(
                lifeline.STATE, number=state.number, sending=state.sending, why=state.text, matched=self._arm.matched()
            )
        if news != self._told and state.sending:
            self.get_logger().error(f"standing in for the guard: {state.text}")
        elif news != self._told and self._told:
            self.get_logger().info("the guard is back: silent again")
        self._told = news

    # -- the end

    def on_stop(self) -> None:
        """Do not go before a guard that is being stopped as well; leave the arm standing still."""
        deadline = time.monotonic() + _LINGER_S
        while self.takeover.guard_sends and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.takeover.sending:
            time.sleep(_LAST_ZEROS_S)  # the thread still sends
        self._stopping.set()
        self._thread.join(timeout=1.0)
        for publisher in self.publishers:
            publisher.wait_for_all_acked(Duration(seconds=0.1))
        self._listener.close()
        self._lock.close()


class LeftBehind:
    """A file that stands while the guard commands the arm: what a guard and a watchdog that die together leave."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.exists = path.exists()

    def joints(self) -> int:
        """How many joints the arm had; 0: not known."""
        try:
            return min(max(int(self._path.read_text()), 0), _MOST_JOINTS)
        except (OSError, ValueError):
            return 0

    def note(self, sends: bool, joints: int) -> None:
        """Whether the guard commands an arm of so many ``joints`` now."""
        if sends and not self.exists:
            self._path.write_text(str(joints))
        elif not sends and self.exists:
            self._path.unlink(missing_ok=True)
        self.exists = sends


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(GuardWatchdog, args)


if __name__ == "__main__":
    sys.exit(main())
