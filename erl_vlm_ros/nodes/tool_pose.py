# SPDX-License-Identifier: Apache-2.0
"""tool_pose: publishes ee_pose from joint_states and the arm's URDF, for drivers that publish no tool pose."""

from __future__ import annotations

import sys

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from erl_vlm_ros.common import names
from erl_vlm_ros.robot.rotation import quaternion
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.adapters.robot_model import wait_for_kinematics
from erl_vlm_ros.ros.node_base import BaseNode, run


class ToolPose(BaseNode):
    """Forward kinematics of each joint state, under its stamp."""

    NAME = "tool_pose"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        self.arm = wait_for_kinematics(self, p, self.NAME)
        self._least_gap_ns = round(1e9 / p.max_rate_hz)
        self._last_ns = 0
        self._publisher = self.create_publisher(PoseStamped, names.EE_POSE, qos.sensor(p.reliable_poses))
        for topic in p.joint_state_topics:
            self.create_subscription(JointState, topic, self._on_joints, qos.sensor(p.reliable_sensors))
        self.get_logger().info(f"{self.arm.tool_frame} in {self.arm.base_frame} from {', '.join(self.arm.joint_names)}")

    def _on_joints(self, message: JointState) -> None:
        stamp = convert.header_ns(message)
        if 0 <= stamp - self._last_ns < self._least_gap_ns:
            return
        try:
            q = convert.joints_by_name(message, self.arm.joint_names)
        except ValueError as reason:  # some drivers send the gripper's joints in messages of their own
            self.get_logger().warning(f"no ee_pose: {reason}", throttle_duration_sec=5.0)
            return
        self._last_ns = stamp
        position, rotation = self.arm.forward(q)
        self._publisher.publish(convert.pose_message(position, quaternion(rotation), stamp, self.arm.base_frame))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(ToolPose, args)


if __name__ == "__main__":
    sys.exit(main())
