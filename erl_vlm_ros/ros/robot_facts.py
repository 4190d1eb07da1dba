# SPDX-License-Identifier: Apache-2.0
"""What a node knows of its arm: joint names from the parameter, else from the URDF; the opening from joint states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.spaces import Spaces, run_spaces
from erl_vlm_ros.ros.adapters.robot_model import wait_for_kinematics

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode


def node_spaces(node: BaseNode, task: Task) -> Spaces:
    """What the policy sees and does. Where joint_names is not set, waits for the URDF; the node need not spin.

    Raises:
        ConfigError: no URDF came, or it does not fit base_frame and tool_frame.
    """
    joints = node.p.joint_names
    if joints is None:
        who = f"{node.get_name()}, whose parameter 'joint_names' is not set,"
        joints = wait_for_kinematics(node, node.p, who).joint_names
        node.get_logger().info(f"joints from the URDF: {', '.join(joints)}")
    return run_spaces({**node.values, "joint_names": joints}, task)


def measured_width(p: Any, positions: np.ndarray) -> float:
    """The gripper's opening in m from its joints' ``positions``."""
    return float(p.gripper_measured_offset + p.gripper_measured_scale * positions.sum())
