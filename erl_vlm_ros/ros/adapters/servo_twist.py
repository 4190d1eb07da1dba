# SPDX-License-Identifier: Apache-2.0
"""MoveIt Servo, and every driver that takes a stamped Cartesian velocity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.adapters.base import ArmAdapter, Gripper, Vector, finite
from erl_vlm_ros.ros.adapters.packages import message
from erl_vlm_ros.ros.adapters.robot_model import watch_for_kinematics
from erl_vlm_ros.ros.adapters.servo_mode import ServoMode

_STILL = (0.0, 0.0, 0.0)


class ServoTwist(ArmAdapter):
    """Publishes a TwistStamped in the base frame; works without a URDF, except for homing."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(TwistStamped, names.ARM_TWIST, qos.command())
        self._mode: ServoMode | None = None
        if p.servo_command_type:
            kind = message("moveit_msgs.srv", "ServoCommandType", "servo_command_type", True)
            self._mode = ServoMode(node, kind, kind.Request(command_type=kind.Request.TWIST))

    def prepare(self) -> None:
        """Reads urdf_file; without one, listens for robot_description, which may come at any time."""
        super().prepare()
        if not self.p.lock_step or self.p.urdf_file:
            watch_for_kinematics(self.node, self.p, self.described)

    def send(self, linear: Vector, angular: Vector, stamp_ns: int) -> str:
        """Publish the twist."""
        if self._mode is not None and not self._mode.ready:
            return self._mode.problem
        finite((*linear, *angular), "the twist")
        self._publisher.publish(convert.twist_message(linear, stamp_ns, self.p.base_frame, angular))
        return ""

    def send_joints(self, velocity: Mapping[str, float], stamp_ns: int) -> str:
        """The tool's velocity under these joint velocities. An arm of 7 joints reaches the tool pose of home only."""
        arm = self.kinematics
        if arm is None:
            return "joint motion needs the arm's URDF: set urdf_file or publish robot_description"
        missing = arm.missing(self._positions)
        if missing:
            return f"joint_states has not shown {', '.join(missing)}"
        wanted = np.array([velocity.get(name, 0.0) for name in arm.joint_names])
        twist = (arm.jacobian(arm.vector(self._positions)) @ wanted).tolist()
        return self.send(tuple(twist[:3]), tuple(twist[3:]), stamp_ns)

    def stop(self, stamp_ns: int) -> None:
        """Zero velocity, whether Servo has agreed to take twists or not."""
        self._publisher.publish(convert.twist_message(_STILL, stamp_ns, self.p.base_frame))

    def last_resort(self) -> None:
        """Zero velocity, stamped now."""
        self.stop(self.stamp())
