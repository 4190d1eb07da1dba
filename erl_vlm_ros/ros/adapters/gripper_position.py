# SPDX-License-Identifier: Apache-2.0
"""A gripper behind a ros2_control forward_command_controller: one number in a Float64MultiArray."""

from __future__ import annotations

from typing import Any

from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos


class PositionGripper:
    """Publishes the opening as a position command: offset + scale x opening."""

    def __init__(self, node: Any, p: Any) -> None:
        self._p = p
        self._publisher = node.create_publisher(Float64MultiArray, names.ARM_GRIPPER, qos.command())

    def prepare(self) -> None:
        """Nothing to check."""

    def send(self, width_m: float, stamp_ns: int) -> None:
        """Publish the opening."""
        command = self._p.gripper_offset + self._p.gripper_scale * width_m
        self._publisher.publish(convert.width_message(command, stamp_ns))
