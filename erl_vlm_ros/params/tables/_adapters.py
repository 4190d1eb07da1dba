# SPDX-License-Identifier: Apache-2.0
"""Parameters of the arm adapters: part of safety_guard's table. No rclpy."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._shared import DRIVER, FRAMES
from erl_vlm_ros.robot.drivers import GRIPPERS

ADAPTER_PARAMETERS = (
    *DRIVER,
    *FRAMES,
    Param(
        "servo_command_type",
        False,
        "Adapter servo_twist: tell MoveIt Servo to take twists (needs moveit_msgs). Nothing moves before it agrees.",
    ),
    Param(
        "joint_speed_fraction",
        0.5,
        "Share of the URDF's joint velocity limits that the joint_ adapters use.",
        low=0.01,
        high=1.0,
    ),
    Param(
        "orientation_gain",
        1.0,
        "The joint_ adapters turn the tool back to where it pointed when the motion began, 1/s; 0: not.",
        low=0.0,
        high=5.0,
    ),
    Param(
        "max_joint_error_rad",
        0.1,
        "How far a commanded joint position may be ahead of the measured one, rad.",
        low=0.005,
        high=0.5,
    ),
    Param(
        "trajectory_time_s",
        0.06,
        "Adapter joint_trajectory: time_from_start of the one point that is sent. The arm stops by itself after it.",
        low=0.02,
        high=1.0,
    ),
    Param(
        "gripper",
        "position",
        "What the gripper's driver understands: position (Float64MultiArray), one of two actions, or none.",
        choices=tuple(GRIPPERS),
    ),
    Param("gripper_scale", 1.0, "Gripper command per metre of opening; Robotiq 2F-85: -9.41.", low=-1e3, high=1e3),
    Param("gripper_offset", 0.0, "Gripper command of the shut gripper; Robotiq 2F-85: 0.8.", low=-1e3, high=1e3),
    Param("gripper_max_effort", 20.0, "Effort limit of the gripper actions, N.", low=0.0, high=1000.0),
    Param(
        "gripper_joint",
        "",
        "Gripper parallel_gripper_command: name of the joint that its controller commands.",
    ),
)
