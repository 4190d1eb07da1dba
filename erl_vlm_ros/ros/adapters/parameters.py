# SPDX-License-Identifier: Apache-2.0
"""Parameters of the arm adapters: part of safety_guard's table. No rclpy."""

from __future__ import annotations

from erl_vlm_ros.ros.adapters import ADAPTERS, GRIPPERS
from erl_vlm_ros.ros.params import Param

ADAPTER_PARAMETERS = (
    Param("adapter", "servo_twist", "What the arm's driver understands; see docs/robots.md.", choices=tuple(ADAPTERS)),
    Param(
        "gripper",
        "position",
        "What the gripper's driver understands: position (Float64MultiArray), or none.",
        choices=tuple(GRIPPERS),
    ),
)
