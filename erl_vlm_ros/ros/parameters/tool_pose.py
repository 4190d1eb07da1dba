# SPDX-License-Identifier: Apache-2.0
"""Parameters of tool_pose."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

PARAMETERS = (
    Param("urdf_file", "", "URDF of the arm, xacro expanded; empty: from the topic robot_description."),
    Param("urdf_wait_s", 10.0, "How long to wait for robot_description at start, s.", low=0.1, high=600.0),
    Param("base_frame", "base_link", "Frame in which the pose is given; the same as safety_guard's."),
    Param("tool_frame", "tool0", "Link of the URDF whose pose is published: the tool point."),
    Param("max_rate_hz", 100.0, "Joint states that come faster are passed over.", low=1.0, high=1000.0),
    Param("reliable_sensors", True, "Ask for reliable joint_states; false also accepts best effort."),
    Param("reliable_poses", True, "Publish ee_pose reliably; a best-effort pose does not reach a reliable reader."),
)
