# SPDX-License-Identifier: Apache-2.0
"""How to make an arm stand still without knowing anything about it: zeros on its velocity command topic."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.drivers import NEED_ZEROS
from erl_vlm_ros.ros import convert, qos

_STILL = (0.0, 0.0, 0.0)


class Standstill:
    """A publisher beside the guard's own, matched long before it is needed."""

    def __init__(self, node: Any, adapter: str, base_frame: str) -> None:
        """Raises ConfigError for an ``adapter`` whose driver needs no zeros."""
        if adapter not in NEED_ZEROS:
            text = (
                f"parameter 'adapter' is '{adapter}', whose driver holds the arm by itself: it needs no "
                f"guard_watchdog; those that do: {', '.join(NEED_ZEROS)}"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.adapter")
        self._node, self._frame, self.adapter = node, base_frame, adapter
        self._joints = NEED_ZEROS[adapter] == "joints"
        kind, topic = (Float64MultiArray, names.ARM_JOINT_COMMANDS) if self._joints else (TwistStamped, names.ARM_TWIST)
        self._publisher = node.create_publisher(kind, topic, qos.command())

    @property
    def topic(self) -> str:
        """The arm's command topic, resolved."""
        return self._publisher.topic_name

    def matched(self) -> int:
        """How many subscribers would hear it."""
        return self._publisher.get_subscription_count()

    def send(self, joints: int) -> None:
        """Zeros; ``joints``: how many the controller has."""
        if self._joints:
            self._publisher.publish(Float64MultiArray(data=[0.0] * joints))
            return
        stamp = self._node.get_clock().now().nanoseconds
        self._publisher.publish(convert.twist_message(_STILL, stamp, self._frame))
