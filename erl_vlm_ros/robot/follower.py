# SPDX-License-Identifier: Apache-2.0
"""Turns a stream of tool velocities into what a joint controller takes: velocities, or a moving reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.robot.ik import IkSettings, JointMotion, twist_to_joint_velocity
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import rotation_vector

_LIMIT_HORIZON_S = 0.15  # a joint may move towards its limit only as fast as would take it there in this time
_LARGEST_TILT = 0.3  # rad: beyond it the arm was turned by something else, and the new orientation is held
_LARGEST_CORRECTION = 0.3  # rad/s
_STOPPED = 1e-3  # share of the wanted speed that counts as standing still


@dataclass(frozen=True)
class FollowerSettings:
    """speed_fraction: share of the URDF's joint velocity limits that may be used. orientation_gain: 1/s, how fast the
    tool turns back to the orientation it had when a motion without rotation began; 0: not at all. max_error: rad (m),
    how far the reference may run ahead of the measured joints."""

    speed_fraction: float = 0.5
    orientation_gain: float = 1.0
    max_error: float = 0.1
    ik: IkSettings = IkSettings()


class JointFollower:
    """Joint velocities for tool velocities, and the joint reference that comes of them.

    The reference starts at the measured joints with the first command after ``stop()`` and is integrated from there,
    not from measurements: an arm that sags or lags would creep. It never runs further ahead than ``max_error``.
    """

    def __init__(self, kinematics: Kinematics, settings: FollowerSettings | None = None) -> None:
        self.kinematics, self.settings = kinematics, settings or FollowerSettings()
        self.limits = kinematics.velocity * self.settings.speed_fraction
        self.reference: np.ndarray | None = None  # [J]; None while nothing has moved since the stop
        self._orientation: np.ndarray | None = None

    def stop(self) -> None:
        """Forget the reference and the orientation: the next command starts from the measured joints."""
        self.reference = self._orientation = None

    def tool(self, q: np.ndarray, linear: np.ndarray, angular: np.ndarray) -> JointMotion:
        """Joint velocities for a tool velocity (m/s, rad/s, base frame) at measured ``q`` [J]."""
        at = q if self.reference is None else self.reference
        twist = np.concatenate([linear, angular]).astype(np.float64)
        if np.any(twist[3:]):
            self._orientation = None
        elif self.settings.orientation_gain > 0.0 and np.any(twist[:3]):
            twist[3:] = self._hold_orientation(at)
        motion = twist_to_joint_velocity(self.kinematics, at, twist, self.limits, self.settings.ik)
        return self._inside(at, motion)

    def joints(self, q: np.ndarray, velocity: np.ndarray) -> JointMotion:
        """The same for joint velocities [J] that are asked for directly (homing): limited, direction kept."""
        self._orientation = None
        excess = float(np.max(np.abs(velocity) / self.limits, initial=0.0))
        scale = 1.0 / excess if excess > 1.0 else 1.0
        at = q if self.reference is None else self.reference
        return self._inside(at, JointMotion(np.asarray(velocity, dtype=np.float64) * scale, scale, ""))

    def advance(self, q: np.ndarray, velocity: np.ndarray, seconds: float) -> np.ndarray:
        """Move the reference with ``velocity`` for ``seconds``; returns it [J]. ``q``: measured."""
        start = np.array(q, dtype=np.float64) if self.reference is None else self.reference
        max_error = self.settings.max_error
        reference = np.clip(start + velocity * seconds, q - max_error, q + max_error)
        self.reference = np.clip(reference, self.kinematics.lower, self.kinematics.upper)
        return self.reference

    def _hold_orientation(self, q: np.ndarray) -> np.ndarray:
        """Angular velocity [3] that turns the tool back to the held orientation."""
        _, rotation = self.kinematics.forward(q)
        if self._orientation is not None:
            tilt = rotation_vector(self._orientation @ rotation.T)
            if np.linalg.norm(tilt) < _LARGEST_TILT:
                wanted = self.settings.orientation_gain * tilt
                return wanted * min(1.0, _LARGEST_CORRECTION / max(float(np.linalg.norm(wanted)), 1e-9))
        self._orientation = rotation
        return np.zeros(3)

    def _inside(self, q: np.ndarray, motion: JointMotion) -> JointMotion:
        """Slow down, all joints alike, so that none runs past its position limit."""
        velocity, arm = motion.velocity, self.kinematics
        room = np.where(velocity > 0.0, arm.upper - q, q - arm.lower)
        allowed = np.maximum(room, 0.0) / _LIMIT_HORIZON_S
        speed = np.abs(velocity)
        share = np.where(speed > allowed, allowed / np.maximum(speed, 1e-12), 1.0)
        worst = int(np.argmin(share))
        if share[worst] >= 1.0:
            return motion
        scale = motion.scale * float(share[worst])
        return JointMotion(velocity * share[worst], scale, f"{arm.joint_names[worst]} is at its position limit")


def halted(motion: JointMotion) -> bool:
    """Whether next to nothing is left of the wanted motion."""
    return bool(motion.reason) and motion.scale < _STOPPED
