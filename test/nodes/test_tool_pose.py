# SPDX-License-Identifier: Apache-2.0
"""tool_pose as a process, over real DDS."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import JOINT_NAMES, SimArm
from erl_vlm_ros.sim.urdf import arm_urdf

SENSOR = qos.sensor(True, 100)


def test_the_pose_is_where_the_simulation_has_it(ros):
    description = ros.node.create_publisher(String, names.ROBOT_DESCRIPTION, qos.latched())
    description.publish(String(data=arm_urdf()))
    poses = ros.collect(PoseStamped, names.EE_POSE, SENSOR)
    process = ros.start("tool_pose", urdf_wait_s=30.0)
    states = ros.publisher(JointState, names.JOINT_STATES, SENSOR)
    arm = SimArm("drawer_open")
    q = dict(zip(JOINT_NAMES, arm.joint_positions))
    fingers = convert.joint_message(["finger_left"], [0.01], [0.0], 5_000_000_000)
    shuffled = sorted(q, reverse=True)
    for message in (fingers, convert.joint_message(shuffled, [q[n] for n in shuffled], [0.0] * 6, 7_000_000_000)):
        states.publish(message)
    ros.until(lambda: poses, "a pose")
    assert (convert.header_ns(poses[0]), poses[0].header.frame_id) == (7_000_000_000, "base_link")
    assert np.allclose(convert.position_of(poses[0]), arm.ee_position, atol=1e-3)
    turn = poses[0].pose.orientation
    told = np.array([turn.x, turn.y, turn.z, turn.w])
    assert abs(told @ arm.ee_quaternion) > 1 - 1e-6
    assert process.poll() is None and "joint state lacks joint1" in ros.log("tool_pose")


def test_it_does_not_start_without_a_urdf(ros):
    process = ros.start("tool_pose", urdf_wait_s=0.2)
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2
    assert "tool_pose needs the arm's URDF: parameter 'urdf_file' is empty" in ros.log("tool_pose")
