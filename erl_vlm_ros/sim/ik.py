# SPDX-License-Identifier: Apache-2.0
"""Damped least-squares inverse kinematics with the tool kept pointing down."""

from __future__ import annotations

import mujoco
import numpy as np

_DAMPING = 1e-3  # lambda^2 of the damped least squares, in (m, rad) units of the 6-d error
_MAX_STEP = 0.35  # rad per iteration and joint
_ROTATION_WEIGHT = 0.5  # a radian of tilt counts like half a metre
TOOL_DOWN = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # tool axes in the base frame


class DifferentialIK:
    """Joint positions whose tool point is at a position, tool down, found by a few damped Newton steps.

    dq = J^T (J J^T + lambda^2 I)^-1 e (Nakamura and Hanafusa 1986), on a scratch copy of the simulation
    state, so the simulated arm itself is never touched. The forearm roll is pulled weakly to zero, which
    settles the wrist singularity (forearm vertical), where it and the wrist roll do the same thing.
    """

    def __init__(self, model: mujoco.MjModel, site: int, joint_dofs: np.ndarray) -> None:
        self._model, self._site, self._dofs = model, site, joint_dofs
        self._data = mujoco.MjData(model)
        self._qpos = model.jnt_qposadr[model.dof_jntid[joint_dofs]]
        limits = model.jnt_range[model.dof_jntid[joint_dofs]]
        self._low, self._high = limits[:, 0] + 1e-3, limits[:, 1] - 1e-3
        self._jacobian = np.zeros((6, model.nv))
        self._error = np.zeros(6)

    def solve(
        self, joints: np.ndarray, position: np.ndarray, iterations: int = 2, tolerance: float = 2e-4
    ) -> np.ndarray:
        """From ``joints`` [6] rad towards ``position`` [3] m, base frame. Returns joints [6] in their limits.

        Stops early when the error is below ``tolerance`` (m and weighted rad).
        """
        model, data, error = self._model, self._data, self._error
        q = np.array(joints, dtype=np.float64)
        for _ in range(iterations):
            data.qpos[self._qpos] = q
            mujoco.mj_kinematics(model, data)
            error[:3] = position - data.site_xpos[self._site]
            error[3:] = _ROTATION_WEIGHT * rotation_error(data.site_xmat[self._site].reshape(3, 3))
            if np.abs(error).max() < tolerance:
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, self._dofs].copy()
            jacobian[3:] *= _ROTATION_WEIGHT
            rest = np.array([0.0, 0.0, 0.0, -0.2 * q[3], 0.0, 0.0])
            gram = jacobian @ jacobian.T
            gram.flat[::7] += _DAMPING
            step = rest + jacobian.T @ np.linalg.solve(gram, error - jacobian @ rest)
            q = np.minimum(np.maximum(q + np.clip(step, -_MAX_STEP, _MAX_STEP), self._low), self._high)
        return q


def rotation_error(current: np.ndarray, target: np.ndarray = TOOL_DOWN) -> np.ndarray:
    """Rotation vector [3] (rad, base frame, small angles) that turns ``current`` [3, 3] into ``target``."""
    difference = target @ current.T
    return 0.5 * np.array(
        [
            difference[2, 1] - difference[1, 2],
            difference[0, 2] - difference[2, 0],
            difference[1, 0] - difference[0, 1],
        ]
    )
