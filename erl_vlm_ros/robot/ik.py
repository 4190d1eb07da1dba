# SPDX-License-Identifier: Apache-2.0
"""From the velocity that the tool should have to the velocities of the joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.robot.kinematics import Kinematics

_LOOK_AHEAD = 0.02  # rad along the wanted motion, to see whether it leads into the singularity
_ROTATION_DAMPING = 0.01  # lambda where the rotation comes second; below it that rotation is given up
_NEEDED = 0.1  # share of the wanted motion in the lost direction from which the full slow-down holds


@dataclass(frozen=True)
class IkSettings:
    """How near to a singularity is near; singular values are of the Jacobian with rotation rows times ``lever``.

    lever: m; a radian of the tool's rotation counts as this much way. slow_below: where damping and slowing-down
    begin; stop_below: where a motion further in is stopped. damping: lambda of the damped least squares at the
    singularity itself, in the singular values' unit.
    """

    damping: float = 0.05
    lever: float = 0.3
    slow_below: float = 0.06
    stop_below: float = 0.01


@dataclass(frozen=True)
class JointMotion:
    """velocity [J] rad/s. scale: what share of the wanted speed is left. reason: what held it back, or empty."""

    velocity: np.ndarray
    scale: float
    reason: str


def twist_to_joint_velocity(
    kinematics: Kinematics,
    q: np.ndarray,
    twist: np.ndarray,
    velocity_limits: np.ndarray,
    settings: IkSettings | None = None,
) -> JointMotion:
    """Joint velocities [J] that move the tool with ``twist`` [6] (m/s, rad/s, base frame) at ``q`` [J].

    dq = J^T (J J^T + lambda^2 I)^-1 v, damped least squares (Nakamura and Hanafusa 1986); lambda grows from zero
    as the smallest singular value falls below ``slow_below`` (Chiaverini 1997), so that far from singularities the
    tool moves exactly as told. There a motion that needs the direction that gets lost, and leads further in, is
    slowed down as well, to a stop at ``stop_below``; other motions pass at full speed. Then all joints are scaled
    alike until none exceeds ``velocity_limits`` [J]: the tool's direction is kept. With more than six joints the
    motion is the one of least joint speed. With fewer the position comes first, singularities are the position's, and
    of the rotation there is as much as leaves the position alone (task priority, Nakamura et al. 1987).

    Raises:
        ValueError: wrong shapes or numbers that are not finite; nothing should move then.
    """
    s = settings or IkSettings()
    q, twist = np.asarray(q, dtype=np.float64), np.asarray(twist, dtype=np.float64)
    if twist.shape != (6,) or not (np.isfinite(twist).all() and np.isfinite(q).all()):
        raise DataError(
            f"expected 6 finite velocities and finite joint positions, got {twist} at {q}", field="velocities"
        )
    if np.abs(twist).max() < 1e-9:
        return JointMotion(np.zeros(len(q)), 1.0, "")
    wanted = twist.copy()
    wanted[3:] *= s.lever
    jacobian = _weighted(kinematics, q, s)
    rows = _first_rows(q)
    angular, wanted = wanted[rows:], wanted[:rows]
    left, values, right = np.linalg.svd(jacobian[:rows], full_matrices=False)
    smallest = float(values[-1])
    nearness = min(max(1.0 - smallest / s.slow_below, 0.0), 1.0)
    damping = nearness * s.damping
    velocity = right.T @ ((left.T @ wanted) * values / (values**2 + max(damping**2, 1e-12)))
    scale, reason = 1.0, ""
    lost = values < s.slow_below
    needed = float(np.linalg.norm(left.T[lost] @ wanted) / max(float(np.linalg.norm(wanted)), 1e-9))
    if needed > 1e-3 and _leads_in(kinematics, q, velocity, smallest, s):
        left_over = min(max((smallest - s.stop_below) / (s.slow_below - s.stop_below), 0.0), 1.0)
        scale = 1.0 - min(needed / _NEEDED, 1.0) * (1.0 - left_over)
        reason = f"near a singularity: {100 * scale:.0f} % speed"
    if rows < 6:
        velocity = velocity + _rotation_beside(jacobian[rows:], right, velocity, angular)
    excess = float(np.max(np.abs(velocity) * scale / velocity_limits, initial=0.0))
    if excess > 1.0:
        scale /= excess
        reason = reason or f"{kinematics.joint_names[_fastest(velocity, velocity_limits)]} at its velocity limit"
    return JointMotion(velocity * scale, scale, reason)


def manipulability(kinematics: Kinematics, q: np.ndarray, settings: IkSettings | None = None) -> float:
    """Smallest singular value of the weighted Jacobian: 0 in a singularity."""
    jacobian = _weighted(kinematics, q, settings or IkSettings())
    return float(np.linalg.svd(jacobian[: _first_rows(q)], compute_uv=False)[-1])


def _first_rows(q: np.ndarray) -> int:
    """How much of the twist an arm of so many joints is held to: all six rows, or the position's three."""
    return 6 if len(q) >= 6 else 3


def _rotation_beside(jacobian: np.ndarray, right: np.ndarray, velocity: np.ndarray, angular: np.ndarray) -> np.ndarray:
    """Joint velocities [J] that turn the tool and leave its point; ``right``: what moves it, ``velocity`` so far."""
    free = np.eye(len(velocity)) - right.T @ right
    turning = jacobian @ free
    missing = angular - jacobian @ velocity
    return free @ turning.T @ np.linalg.solve(turning @ turning.T + _ROTATION_DAMPING**2 * np.eye(3), missing)


def _weighted(kinematics: Kinematics, q: np.ndarray, settings: IkSettings) -> np.ndarray:
    jacobian = kinematics.jacobian(q)
    jacobian[3:] *= settings.lever
    return jacobian


def _leads_in(
    kinematics: Kinematics, q: np.ndarray, velocity: np.ndarray, smallest: float, settings: IkSettings
) -> bool:
    largest = float(np.max(np.abs(velocity), initial=0.0))
    if largest <= 0.0:
        return False
    return manipulability(kinematics, q + velocity * (_LOOK_AHEAD / largest), settings) < smallest


def _fastest(velocity: np.ndarray, limits: np.ndarray) -> int:
    return int(np.argmax(np.abs(velocity) / limits))
