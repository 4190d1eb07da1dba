# SPDX-License-Identifier: Apache-2.0
"""MoveIt Servo, and every driver that takes a stamped Cartesian velocity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped

from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.adapters.base import ArmAdapter, Gripper, Vector

_STILL = (0.0, 0.0, 0.0)


class ServoTwist(ArmAdapter):
    """Publishes a TwistStamped in the base frame; works without a URDF, except for homing."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(TwistStamped, names.ARM_TWIST, qos.command())

    def send(self, linear: Vector, angular: Vector, stamp_ns: int) -> str:
        """Publish the twist."""
        self._publisher.publish(convert.twist_message(linear, stamp_ns, self.p.base_frame, angular))
        return ""

    def send_joints(self, velocity: Mapping[str, float], stamp_ns: int) -> str:
        """The tool's velocity under these joint velocities. An arm of 7 joints reaches the tool pose of home only."""
        arm = self.kinematics
        if arm is None:
            return "joint motion needs the arm's URDF: set urdf_file or publish robot_description"
        missing = [name for name in arm.joint_names if name not in self._positions]
        if missing:
            return f"joint_states has not shown {', '.join(missing)}"
        q = np.array([self._positions[name] for name in arm.joint_names])
        twist = arm.jacobian(q) @ np.array([velocity.get(name, 0.0) for name in arm.joint_names])
        return self.send(tuple(twist[:3].tolist()), tuple(twist[3:].tolist()), stamp_ns)

    def stop(self, stamp_ns: int) -> None:
        """Zero velocity."""
        self.send(_STILL, _STILL, stamp_ns)
