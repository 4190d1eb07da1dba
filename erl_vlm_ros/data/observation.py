# SPDX-License-Identifier: Apache-2.0
"""The policy's observation vector, the same for simulation, the Gymnasium tasks and a real arm."""

from __future__ import annotations

import numpy as np

N_JOINTS = 6
PROPRIO_DIM = N_JOINTS + 3 + 1
OBSERVATION_DIM = PROPRIO_DIM + 9
EE_SLICE = slice(N_JOINTS, N_JOINTS + 3)
OBJECT_SLICE = slice(PROPRIO_DIM, PROPRIO_DIM + 3)


def build_observation(
    joint_positions: np.ndarray,
    ee_position: np.ndarray,
    gripper_width: float,
    object_position: np.ndarray,
    goal: np.ndarray,
) -> np.ndarray:
    """Proprioception (joints rad [6], end effector m [3], gripper width m [1]), then the object's position,
    object minus end effector, goal minus object (m, base frame). Returns float32 [19].

    Raises:
        ValueError: a wrong length or a non-finite number.
    """
    parts = [np.asarray(p, dtype=np.float64).reshape(-1) for p in (joint_positions, ee_position, object_position, goal)]
    joints, ee, obj, target = parts
    if joints.size != N_JOINTS or ee.size != 3 or obj.size != 3 or target.size != 3:
        raise ValueError(f"expected {N_JOINTS} joints and 3-vectors, got sizes {[p.size for p in parts]}")
    out = np.concatenate([joints, ee, [gripper_width], obj, obj - ee, target - obj]).astype(np.float32)
    if not np.isfinite(out).all():
        raise ValueError("non-finite value in joint, end-effector, gripper or object state")
    return out
