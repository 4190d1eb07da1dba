# SPDX-License-Identifier: Apache-2.0
"""Where the frames of the simulated arm's URDF are, straight from the simulation."""

from __future__ import annotations

import mujoco
import numpy as np

from erl_vlm_ros.sim.arm import FINGER_NAMES, SimArm
from erl_vlm_ros.sim.urdf import CAMERA_FRAME, CAMERA_LINK, OPTICAL_IN_CAMERA_LINK, TOOL_FRAME

_LINKS = (*(f"link{i}" for i in range(1, 7)), *FINGER_NAMES)


def link_poses(arm: SimArm) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Frame -> position [3] m and quaternion [4] x y z w in the base frame."""
    out = {name: (arm.data.body(name).xpos.copy(), _quaternion(arm.data.body(name).xmat)) for name in _LINKS}
    out[TOOL_FRAME] = (arm.ee_position, arm.ee_quaternion)
    camera = arm.camera_pose()
    out[CAMERA_LINK] = (camera[:3, 3], _quaternion(camera[:3, :3] @ OPTICAL_IN_CAMERA_LINK.T))
    out[CAMERA_FRAME] = (camera[:3, 3], _quaternion(camera[:3, :3]))
    return out


def _quaternion(matrix: np.ndarray) -> np.ndarray:
    out = np.zeros(4)
    mujoco.mju_mat2Quat(out, np.ascontiguousarray(matrix, dtype=np.float64).reshape(9))
    return out[[1, 2, 3, 0]]
