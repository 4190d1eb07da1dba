# SPDX-License-Identifier: Apache-2.0
"""Drives the joints to a home position on a straight line in joint space, slowly enough for every joint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.kinematics import Kinematics

_FURTHEST = 8.0 * math.pi  # rad: a continuous joint is not wound up further than that


@dataclass(frozen=True)
class HomingLimits:
    """tool_speed m/s of the tool point; speed_fraction of the URDF's joint velocity limits; acceleration rad/s^2 of
    the joint that has the longest way; tolerance rad: arrived when every joint is that near."""

    tool_speed: float = 0.15
    speed_fraction: float = 0.3
    acceleration: float = 1.0
    tolerance: float = 0.01


class Homing:
    """One motion to a joint position. All joints start and arrive together."""

    def __init__(self, kinematics: Kinematics, target: Mapping[str, float], limits: HomingLimits | None = None) -> None:
        """``target``: rad (m) by joint name, for every joint of the chain.

        Raises:
            ConfigError: a joint is missing or unknown, a number is not finite or lies outside the joint's limits.
        """
        self.kinematics, self.limits = kinematics, limits or HomingLimits()
        self.target = _checked(kinematics, target)
        self._speed = 0.0  # rad/s of the joint with the longest way, at the last step

    def moved(self, speed: float) -> None:
        """The joint with the longest way was commanded to move with ``speed`` rad/s, which may be less than the last
        step asked for: the next one goes on from there."""
        self._speed = speed

    def step(self, q: Mapping[str, float], dt: float) -> dict[str, float] | None:
        """Joint velocities by name (rad/s) for the next ``dt`` seconds from measured ``q``; None when there.

        KeyError when ``q`` lacks a joint.
        """
        s, arm = self.limits, self.kinematics
        at = arm.vector(q)
        error = self.target - at
        longest = float(np.max(np.abs(error)))
        if longest <= s.tolerance:
            self._speed = 0.0
            return None
        direction = error / longest  # the joint with the longest way moves at 1
        speed = min(self._speed + s.acceleration * dt, float(np.sqrt(2.0 * s.acceleration * longest)))
        speed = min(speed, longest / max(dt, 1e-3))  # not past the target within the step
        speed = min(speed, float(np.min(arm.velocity * s.speed_fraction / np.maximum(np.abs(direction), 1e-9))))
        tool = float(np.linalg.norm(arm.jacobian(at)[:3] @ direction))
        self._speed = min(speed, s.tool_speed / max(tool, 1e-9))
        return arm.by_name(direction * self._speed)


def _checked(arm: Kinematics, target: Mapping[str, float]) -> np.ndarray:
    missing = arm.missing(target)
    unknown = [name for name in target if name not in arm.joint_names]
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] if missing else []
        told += [f"names {', '.join(unknown)}, which the arm has not"] if unknown else []
        text = f"home position {' and '.join(told)}; the arm's joints are {', '.join(arm.joint_names)}"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="home")
    out = arm.vector(target)
    for name, value, low, high in zip(arm.joint_names, out, arm.lower, arm.upper):
        if not (math.isfinite(value) and low <= value <= high and abs(value) <= _FURTHEST):
            raise ConfigError(
                f"home position: {name} = {value:g} is outside its limits {low:g} to {high:g}", parameter=f"home.{name}"
            )
    return out
