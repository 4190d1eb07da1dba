# SPDX-License-Identifier: Apache-2.0
"""The guard's side of guard_watchdog: beats at each tick, no arming without a watchdog where one is required."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erl_vlm_ros.common.local import local_name
from erl_vlm_ros.robot.drivers import watchdog_use
from erl_vlm_ros.safety.faults import Refusal, Unready
from erl_vlm_ros.safety.lifeline import GuardEnd
from erl_vlm_ros.safety.watchdog import ARMED

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode
    from erl_vlm_ros.safety.core import GuardCore

_SILENCE_S = 1.0  # s without a word from the watchdog until it is taken for hung; it speaks every 0.1 s


class WatchdogLink:
    """Does nothing in lock-step, and where no watchdog is wanted."""

    def __init__(self, node: BaseNode, core: GuardCore, p: Any, joints: int) -> None:
        """``joints``: how many zeros the arm's controller takes. ConfigError: see `watchdog_use`."""
        self._node, self._core = node, core
        use = watchdog_use(p.watchdog_use, p.adapter, p.lock_step)
        self._required = use == "required"
        self._end: GuardEnd | None = None
        self._said = ""
        self._patience_s, self._read_at = p.watchdog_disarm_after_s, -math.inf
        if use != "off":
            name = node.get_fully_qualified_name()
            path = Path(p.watchdog_socket or local_name("watchdog", node.context.get_domain_id(), name))
            self._end = GuardEnd(path, {"adapter": p.adapter, "joints": joints}, _SILENCE_S)

    def read(self, now: float) -> None:
        """Before a tick sends anything: has the watchdog taken over, or is it gone?"""
        if self._end is None:
            return
        taken, gap = self._end.read(now), now - self._read_at
        self._read_at = now
        if taken:
            self._core.not_sent(now)  # the arm stands still: the next motion starts from zero
            self._node.get_logger().warning(f"guard_watchdog stopped the arm: {taken}; this guard was away {gap:.2f} s")
            if gap > self._patience_s:
                self._core.disarm(f"guard_watchdog stopped the arm: {taken}", now)
        elif self._core.watchdog.state == ARMED:
            problem = self._end.problem(now)
            if problem and self._required:
                self._core.disarm(problem, now)
            self._say(problem)

    def beat(self, sends: bool) -> None:
        """Just before a tick sends to the arm, or decides not to."""
        if self._end is not None:
            self._end.beat(sends)

    def refusal(self) -> Refusal | None:
        """Why the guard must not be armed; None: it may."""
        problem = self._end.problem(time.monotonic()) if self._end is not None and self._required else ""
        text = f"{problem} (watchdog.use is required: docs/safety.md)"
        return Refusal(Unready.NO_WATCHDOG, text) if problem else None

    def leave(self) -> None:
        """The arm has been stopped, and this guard ends."""
        if self._end is not None:
            self._end.leave()

    def abandon(self) -> None:
        """This guard cannot stop the arm: the watchdog is to take over for good."""
        if self._end is not None:
            self._end.abandon()

    def _say(self, problem: str) -> None:
        """A watchdog that is only wanted: say it once, not at each tick."""
        if problem != self._said:
            self._said = problem
            if problem:
                self._node.get_logger().warning(problem)
