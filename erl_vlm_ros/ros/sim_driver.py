# SPDX-License-Identifier: Apache-2.0
"""The command topics of an imitated arm driver: each driver listens on exactly its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.drivers import Refused
from erl_vlm_ros.sim.realtime import RealTime


class DriverTopics:
    """Hands commands to the driver of ``live`` at the moment they come; tells why one is refused."""

    def __init__(self, node: Any, live: RealTime, driver: str, base_frame: str, now: Callable[[], int]) -> None:
        self._node, self._live, self._base_frame, self._now = node, live, base_frame, now
        kind, topic, obey = {
            "servo_twist": (TwistStamped, names.ARM_TWIST, self._twist),
            "joint_velocity": (Float64MultiArray, names.ARM_JOINT_COMMANDS, self._joints),
            "joint_position": (Float64MultiArray, names.ARM_JOINT_COMMANDS, self._joints),
            "joint_trajectory": (JointTrajectory, names.ARM_TRAJECTORY, self._trajectory),
        }[driver]
        node.create_subscription(kind, topic, lambda message: self._take(obey, message), qos.command())

    def _take(self, obey: Callable[[Any, int], None], message: Any) -> None:
        now = self._now()
        self._live.advance(now)  # what was commanded before held until now
        try:
            obey(message, now)
        except Refused as reason:
            self._node.get_logger().warning(f"command refused: {reason}", throttle_duration_sec=5.0)

    def _twist(self, message: TwistStamped, now: int) -> None:
        if message.header.frame_id != self._base_frame:
            text = f"twist in frame '{message.header.frame_id}', expected '{self._base_frame}'"
            raise Refused(text, field="frame_id")
        self._live.driver.command(convert.linear_of(message), convert.angular_of(message), convert.header_ns(message))

    def _joints(self, message: Float64MultiArray, now: int) -> None:
        self._live.driver.command(message.data, now)

    def _trajectory(self, message: JointTrajectory, now: int) -> None:
        times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        self._live.driver.command(message.joint_names, [p.positions for p in message.points], times, now)
