# SPDX-License-Identifier: Apache-2.0
"""Damped least-squares inverse kinematics; the tool points down unless it is turned."""

from __future__ import annotations

import mujoco
import numpy as np

from erl_vlm_ros.sim.layout import TOOL_DOWN, joint_limits

_DAMPING = 1e-3  # lambda^2 of the damped least squares, in (m, rad) units of the 6-d error
_MAX_STEP = 0.35  # rad per iteration and joint
_ROTATION_WEIGHT = 0.5  # a radian of tilt counts like half a metre


class DifferentialIK:
    """Joint positions whose tool point is at a position, tool down, found by a few damped Newton steps.

    dq = J^T (J J^T + lambda^2 I)^-1 e (Nakamura and Hanafusa 1986), on a scratch copy of the simulation
    state, so the simulated arm itself is never touched. Joints are pulled weakly towards ``rest`` [J] where that moves
    the tool least: it settles singular wrists, and what an arm with joints to spare does with them. An arm with fewer
    than six joints takes the position first, and of the rotation what it can without leaving it.
    """

    def __init__(
        self, model: mujoco.MjModel, site: int, joint_dofs: np.ndarray, rest: np.ndarray, pull: np.ndarray
    ) -> None:
        self._model, self._site, self._dofs = model, site, joint_dofs
        self._rest, self._pull = rest, pull
        self._data = mujoco.MjData(model)
        self._qpos = model.jnt_qposadr[model.dof_jntid[joint_dofs]]
        low, high = joint_limits(model, model.dof_jntid[joint_dofs])
        self._low, self._high = low + 1e-3, high - 1e-3
        self._jacobian = np.zeros((6, model.nv))
        self._error = np.zeros(6)

    def solve(
        self,
        joints: np.ndarray,
        position: np.ndarray,
        iterations: int = 2,
        tolerance: float = 2e-4,
        rotation: np.ndarray = TOOL_DOWN,
    ) -> np.ndarray:
        """From ``joints`` [J] rad towards ``position`` [3] m and ``rotation`` [3, 3] of the tool, base frame.

        Returns joints [J] in their limits.

        Stops early when the error is below ``tolerance`` (m and weighted rad).
        """
        model, data, error = self._model, self._data, self._error
        q = np.array(joints, dtype=np.float64)
        for _ in range(iterations):
            data.qpos[self._qpos] = q
            mujoco.mj_kinematics(model, data)
            error[:3] = position - data.site_xpos[self._site]
            error[3:] = _ROTATION_WEIGHT * rotation_error(data.site_xmat[self._site].reshape(3, 3), rotation)
            if np.abs(error).max() < tolerance:
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, self._dofs].copy()
            jacobian[3:] *= _ROTATION_WEIGHT
            rest = self._pull * (self._rest - q)
            step = _step(jacobian, error, rest) if len(q) >= 6 else _position_first(jacobian, error)
            q = np.minimum(np.maximum(q + np.clip(step, -_MAX_STEP, _MAX_STEP), self._low), self._high)
        return q

    def pose(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] m and rotation [3, 3] of the tool at ``joints`` [J]."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def lowest_link(self) -> float:
        """Height, m, of the lowest of the arm's moving bodies but the first two and the last, at the last pose."""
        bodies = self._model.dof_bodyid[self._dofs][2:-1]
        return float(self._data.xpos[bodies, 2].min()) if len(bodies) else 0.0


def _step(jacobian: np.ndarray, error: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """``rest`` [J], and what makes up for it in ``error``'s directions."""
    gram = jacobian @ jacobian.T
    gram.flat[:: len(error) + 1] += _DAMPING
    return rest + jacobian.T @ np.linalg.solve(gram, error - jacobian @ rest)


def _position_first(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The rotation's rows act only where they leave the position alone (task priority, Nakamura et al. 1987)."""
    place, turn = jacobian[:3], jacobian[3:]
    first = _step(place, error[:3], np.zeros(jacobian.shape[1]))
    free = np.eye(jacobian.shape[1]) - np.linalg.pinv(place, rcond=1e-3) @ place
    return first + free @ _step(turn @ free, error[3:] - turn @ first, np.zeros(jacobian.shape[1]))


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
