# SPDX-License-Identifier: Apache-2.0
"""Parameters of safety_guard."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

PARAMETERS = (
    Param(
        "task",
        "drawer_open",
        "Name or path of the task file; its workspace is the box, and it says whether there is a gripper.",
    ),
    Param(
        "lock_step",
        True,
        "Answer each command at once and only then (simulation); false: republish at rate_hz.",
    ),
    Param("max_speed", 0.9, "Largest speed of the tool point, m/s.", low=0.001, high=2.0),
    Param(
        "horizon_s",
        0.1,
        "The tool must stay in the box if the command is obeyed this long, s.",
        low=0.01,
        high=1.0,
    ),
    Param(
        "gripper_max",
        0.08,
        "Widest gripper opening, m; commands are clipped to 0..gripper_max.",
        low=0.0,
        high=0.5,
    ),
    Param("rate_hz", 50.0, "Real time: rate at which commands are republished.", low=10.0, high=500.0),
    Param(
        "command_timeout_s",
        0.15,
        "Real time: without a policy command for this long, zeros are sent, s.",
        low=0.02,
        high=5.0,
    ),
    Param(
        "state_timeout_s",
        0.3,
        "Real time: without joint_states or ee_pose for this long, zeros are sent, s.",
        low=0.02,
        high=5.0,
    ),
    Param("base_frame", "base_link", "The only frame in which commands and ee_pose are accepted."),
    Param(
        "reliable_sensors", True, "Ask for reliable ee_pose and joint_states; false also accepts best effort."
    ),
)
