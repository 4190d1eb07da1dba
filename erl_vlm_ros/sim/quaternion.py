# SPDX-License-Identifier: Apache-2.0
"""Between MuJoCo's quaternions (w first), rotation matrices, and quaternions as messages have them (w last)."""

from __future__ import annotations

import mujoco
import numpy as np


def matrix_of(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix [3, 3] of w x y z."""
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, np.asarray(quaternion, dtype=np.float64))
    return out.reshape(3, 3)


def xyzw_of(matrix: np.ndarray) -> np.ndarray:
    """x y z w of a rotation matrix, [3, 3] or [9]."""
    out = np.zeros(4)
    mujoco.mju_mat2Quat(out, np.ascontiguousarray(matrix, dtype=np.float64).reshape(9))
    return out[[1, 2, 3, 0]]
