# SPDX-License-Identifier: Apache-2.0
"""Parameters of tool_pose."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._shared import FRAMES, JOINT_STATE_TOPICS

PARAMETERS = (
    *FRAMES,
    JOINT_STATE_TOPICS,
    Param("max_rate_hz", 100.0, "Joint states that come faster are passed over.", low=1.0, high=1000.0),
    Param("reliable_sensors", True, "Ask for reliable joint_states; false also accepts best effort."),
    Param("reliable_poses", True, "Publish ee_pose reliably; a best-effort pose does not reach a reliable reader."),
)
