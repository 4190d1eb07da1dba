# SPDX-License-Identifier: Apache-2.0
"""A node whose callbacks may not fail quietly: an exception in any of them stops the arm, and the fault latches."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.ros.adapters.base import ArmAdapter
from erl_vlm_ros.ros.guard_state import GuardState
from erl_vlm_ros.ros.node_base import BaseNode
from erl_vlm_ros.ros.watchdog_link import WatchdogLink
from erl_vlm_ros.safety.core import GuardCore
from erl_vlm_ros.safety.faults import Fault


class GuardedNode(BaseNode):
    """What is given to rclpy as a callback is guarded. ``core``, ``adapter``, ``state``, ``watchdog``: its heir's."""

    FORGIVING = False  # a fault in a callback stops the arm, whatever caused it

    core: GuardCore
    adapter: ArmAdapter
    state: GuardState
    watchdog: WatchdogLink

    def guarded(self, callback: Callable[..., Any], what: str) -> Callable[..., Any]:
        """``callback``, whose exceptions stop the arm instead of ending the node."""

        def guarded(*args: Any) -> Any:
            try:
                return callback(*args)
            except Exception as error:
                self._last_resort(error, what)
                if len(args) == 2:  # a service's request and response
                    args[1].success, args[1].message = False, f"{type(error).__name__}: {error}"
                    return args[1]
                return None

        return guarded

    def _last_resort(self, error: Exception, what: str) -> None:
        """Stop the arm first, then latch, then tell; nothing here may keep the next from being tried."""
        text = f"{what}: {type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
        for attempt in (
            self._stop_or_hand_over,
            lambda: self.core.fault(Fault.INTERNAL, text),
            lambda: self.core.not_sent(time.monotonic()),
            lambda: self.state.announce_change(),
            lambda: self.get_logger().error(f"{text}; the arm was stopped\n{details}", throttle_duration_sec=1.0),
        ):
            try:
                attempt()
            except Exception as another:
                print(f"safety_guard: {type(another).__name__}: {another}, after {text}", file=sys.stderr, flush=True)

    def _stop_or_hand_over(self) -> None:
        """What cannot even stop the arm leaves that to the watchdog."""
        try:
            self.adapter.last_resort()
        except Exception:
            self.watchdog.abandon()
            raise

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, *args: Any, **kw: Any) -> Any:
        """As BaseNode's, guarded."""
        return super().create_subscription(
            msg_type, topic, self.guarded(callback, f"a message on {topic}"), *args, **kw
        )

    def create_service(self, srv_type: Any, name: str, callback: Any, *args: Any, **kw: Any) -> Any:
        """As rclpy's, guarded; rclpy's own parameter services are left as they are."""
        if srv_type in (SetBool, Trigger):
            callback = self.guarded(callback, f"a call of {name}")
        return super().create_service(srv_type, name, callback, *args, **kw)

    def when_done(self, future: Any, callback: Any) -> None:
        """As BaseNode's, guarded."""
        super().when_done(future, self.guarded(callback, "an answer"))

    def wall_timer(self, period_s: float, callback: Any) -> Any:
        """As BaseNode's, guarded."""
        return super().wall_timer(period_s, self.guarded(callback, getattr(callback, "__name__", "a timer")))
