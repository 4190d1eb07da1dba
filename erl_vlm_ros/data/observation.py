# SPDX-License-Identifier: Apache-2.0
"""The policy's observation vector, the same for simulation, the Gymnasium tasks and a real arm."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.spaces import (
    EE_POSITION,
    EE_ROTATION,
    GOAL_FROM_OBJECT,
    GRIPPER,
    JOINTS,
    OBJECT,
    OBJECT_FROM_EE,
    ObservationSpec,
)


def build_observation(
    spec: ObservationSpec,
    joint_positions: np.ndarray,
    ee_position: np.ndarray,
    gripper_width: float | None = None,
    object_position: np.ndarray | None = None,
    goal: np.ndarray | None = None,
    ee_rotation: np.ndarray | None = None,
) -> np.ndarray:
    """The numbers that ``spec`` asks for, float32 [O], from joints rad [J], positions m [3] and rotation [3, 3] in the
    base frame and the opening in m. What the spec does not ask for may be None.

    Raises:
        ValueError: a part is missing, of a wrong length, or not finite.
    """
    known = {JOINTS: joint_positions, EE_POSITION: ee_position, GRIPPER: gripper_width, OBJECT: object_position}
    parts = []
    for part in spec.vector:
        if part.name == EE_ROTATION:
            value = None if ee_rotation is None else _rotation(ee_rotation, part.size)
        elif part.name == OBJECT_FROM_EE:
            value = None if object_position is None else _array(object_position) - _array(ee_position)
        elif part.name == GOAL_FROM_OBJECT:
            value = None if object_position is None or goal is None else _array(goal) - _array(object_position)
        else:
            value = known.get(part.name)
        if value is None:
            raise DataError(f"the observation asks for '{part.name}', which is not known", field=part.name)
        array = _array(value)
        if array.size != part.size:
            raise DataError(f"{array.size} numbers for the observation's part {part}", field=str(part))
        parts.append(array)
    out = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(out).all():
        raise DataError("non-finite value in joint, end-effector, gripper or object state", field="values")
    return out


def build_proprioception(
    spec: ObservationSpec,
    joint_positions: np.ndarray,
    ee_position: np.ndarray,
    gripper_width: float | None = None,
    ee_rotation: np.ndarray | None = None,
) -> np.ndarray:
    """The first part of the vector alone, float32 [P]; arguments and errors as of build_observation."""
    own = ObservationSpec(tuple(part for part in spec.parts if part.proprioception))
    return build_observation(own, joint_positions, ee_position, gripper_width, ee_rotation=ee_rotation)


def _array(value: np.ndarray | float) -> np.ndarray:
    return np.asarray(value, dtype=np.float64).reshape(-1)


def _rotation(matrix: np.ndarray, size: int) -> np.ndarray:
    """Sine and cosine of the tool's turn about the base's z axis [2], or the matrix's first two columns [6].

    Two columns are continuous in the rotation, as no three or four numbers are (Zhou et al. 2019). The yaw is that of
    the tool's x axis, or of its y axis where x stands upright.
    """
    m = np.asarray(matrix, dtype=np.float64).reshape(3, 3)
    if size == 6:
        return m[:, :2].T.reshape(-1)
    x, y = m[:2, 0], m[:2, 1]
    direction = x if np.linalg.norm(x) > 0.5 else np.array([y[1], -y[0]])
    return np.array([direction[1], direction[0]]) / np.linalg.norm(direction)
