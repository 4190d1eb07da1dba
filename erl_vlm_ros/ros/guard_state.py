# SPDX-License-Identifier: Apache-2.0
"""The guard's announcements: armed, e-stop, why it intervenes, and its figures on /diagnostics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Bool, String

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.safety.watchdog import ARMED, ESTOPPED

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode
    from erl_vlm_ros.safety.core import GuardCore


class GuardState:
    """Publishes a state or a reason when it has changed, and the figures once a second."""

    def __init__(self, node: BaseNode, core: GuardCore, figures: Any) -> None:
        """``figures()`` returns further figures for /diagnostics, name -> number."""
        self._node, self._core, self._figures = node, core, figures
        self._state = self._reason = ""
        self._pub_armed = node.create_publisher(Bool, names.ARMED, qos.latched())
        self._pub_estop = node.create_publisher(Bool, names.ESTOP_STATE, qos.latched())
        self._pub_reason = node.create_publisher(String, names.REASON, qos.latched())
        self._pub_diagnostics = node.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        node.wall_timer(1.0, self._diagnose)

    def explain(self, reason: str) -> None:
        """Why the guard intervenes now; empty: it does not."""
        if reason != self._reason:
            self._reason = reason
            self._pub_reason.publish(String(data=reason))

    def announce(self) -> None:
        """Say what state the guard is in."""
        dog = self._core.watchdog
        self._state = dog.state
        self._node.get_logger().info(f"{dog.state} {dog.estop_reason}".rstrip())
        self._pub_armed.publish(Bool(data=dog.state == ARMED))
        self._pub_estop.publish(Bool(data=dog.state == ESTOPPED))
        self.explain(dog.verdict(time.monotonic()).reason)

    def announce_change(self) -> None:
        """Say it if it has changed since it was said."""
        if self._core.watchdog.state != self._state:
            self.announce()

    def _diagnose(self) -> None:
        state = self._core.watchdog.state
        level = b"\x02" if state == ESTOPPED else b"\x00" if state == ARMED else b"\x01"
        text = state + (f": {self._reason}" if self._reason else "")
        values = dict(self._core.counts) | {f"limited by {k}": n for k, n in self._core.reasons.items()}
        values |= self._figures()
        stamp = self._node.get_clock().now().nanoseconds
        self._pub_diagnostics.publish(convert.metrics_message(self._node.get_name(), values, stamp, level, text))
