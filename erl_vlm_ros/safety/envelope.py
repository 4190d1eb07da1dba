# SPDX-License-Identifier: Apache-2.0
"""What a velocity or gripper command may be. Pure functions; metres, seconds, base frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from erl_vlm_ros.common.errors import ConfigError, DataError
from erl_vlm_ros.safety.boxes import Box, Vector


class Rejected(DataError):
    """A command that must not be obeyed in any form; the message says why."""


@dataclass(frozen=True)
class Envelope:
    """Box of the tool point (m), largest speed (m/s), and how long (s) a command may be obeyed.

    Raises:
        ConfigError: an empty box, or a limit that is not a positive finite number.
    """

    box_min: Vector
    box_max: Vector
    max_speed: float
    horizon_s: float
    frame: str
    gripper_max: float = 0.08
    max_step: float = 0.0  # m that one command may lead to; 0: not limited
    max_angular_speed: float = 0.0  # rad/s; 0: rotation is not allowed

    def __post_init__(self) -> None:
        self.box()
        for name in ("max_speed", "horizon_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}; it must be a positive number", parameter=f"safety_guard.{name}")
        for name in ("max_step", "max_angular_speed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; it must be a number >= 0", parameter=f"safety_guard.{name}")

    def box(self) -> Box:
        """The workspace as a Box."""
        return Box(self.box_min, self.box_max, "workspace box")

    @property
    def top_speed(self) -> float:
        """m/s that both the speed and the step allow."""
        return min(self.max_speed, self.max_step / self.horizon_s) if self.max_step > 0 else self.max_speed

    def contains(self, position: Sequence[float]) -> bool:
        """Whether a point lies in the box, its faces included."""
        return all(a <= p <= b for a, p, b in zip(self.box_min, position, self.box_max, strict=True))


@dataclass(frozen=True)
class Limited:
    """A velocity that may be sent, and what was changed: any of "speed", "step", "box"."""

    velocity: Vector
    changed: tuple[str, ...] = ()


def limit_velocity(velocity: Sequence[float], position: Sequence[float], frame: str, envelope: Envelope) -> Limited:
    """The nearest velocity that keeps the limits of speed and step, and the box.

    Speed is scaled, which keeps the direction. Then each axis is cut so that position + velocity * horizon
    stays in the box; from outside, that axis may only stand still or move back, never beyond the far face.

    Raises:
        Rejected: a number is not finite, or the frame is not the envelope's.
    """
    if frame != envelope.frame:
        raise Rejected(f"command in frame '{frame}', expected '{envelope.frame}'", field="frame")
    if not all(map(math.isfinite, velocity)):
        raise Rejected("velocity is not finite", field="velocity")
    if not all(map(math.isfinite, position)):
        raise Rejected("end-effector position is not finite", field="position")
    changed = []
    scaled = _limit_speed(velocity, envelope.max_speed)
    if scaled != tuple(velocity):
        changed.append("speed")
    if envelope.top_speed < envelope.max_speed:
        short = _limit_speed(scaled, envelope.top_speed)
        if short != scaled:
            scaled = short
            changed.append("step")
    x, y, z = (
        limit_axis(v, p, low, high, envelope.horizon_s)
        for v, p, low, high in zip(scaled, position, envelope.box_min, envelope.box_max, strict=True)
    )
    if (x, y, z) != scaled:
        changed.append("box")
    return Limited((x, y, z), tuple(changed))


def limit_rotation(angular: Sequence[float], envelope: Envelope) -> Limited:
    """The angular velocity (rad/s), scaled down to the limit.

    Raises:
        Rejected: a number is not finite, or rotation is not allowed at all.
    """
    if not all(map(math.isfinite, angular)):
        raise Rejected("angular velocity is not finite", field="angular_velocity")
    if any(angular) and envelope.max_angular_speed == 0.0:
        raise Rejected("rotation is not allowed (max_angular_speed is 0)", field="max_angular_speed")
    scaled = _limit_speed(angular, envelope.max_angular_speed)
    return Limited(scaled, () if scaled == tuple(angular) else ("angular speed",))


def _limit_speed(velocity: Sequence[float], most: float) -> Vector:
    x, y, z = velocity
    largest = max(abs(x), abs(y), abs(z))
    if largest == 0.0:
        return (x, y, z)
    if largest <= most and math.hypot(x, y, z) <= most:
        return (x, y, z)
    # Divided by the largest part first: the plain norm of huge numbers overflows.
    unit = math.hypot(x / largest, y / largest, z / largest)
    scale = most / unit * (1.0 - 1e-12)  # a hair below, so that rounding never exceeds the limit
    return (x / largest * scale, y / largest * scale, z / largest * scale)


def limit_axis(velocity: float, position: float, low: float, high: float, horizon: float) -> float:
    """The velocity of one axis, cut so that the position stays between ``low`` and ``high`` for ``horizon`` s.

    From outside only standing still and the way back are allowed, never beyond the far face.
    """
    floor, ceiling = min(low, position), max(high, position)  # from outside: not further out than it is now
    if velocity > 0.0:
        if position >= high:
            return 0.0
        most = (ceiling - position) / horizon
        if velocity > most:
            velocity = most
            while velocity > 0.0 and position + velocity * horizon > ceiling:
                velocity = math.nextafter(velocity, 0.0)
    elif velocity < 0.0:
        if position <= low:
            return 0.0
        most = (floor - position) / horizon
        if velocity < most:
            velocity = most
            while velocity < 0.0 and position + velocity * horizon < floor:
                velocity = math.nextafter(velocity, 0.0)
    return velocity


def limit_width(width: float, envelope: Envelope) -> float:
    """Gripper opening clipped to 0..gripper_max. Rejected when it is not finite."""
    if not math.isfinite(width):
        raise Rejected("gripper width is not finite", field="gripper")
    return min(max(width, 0.0), envelope.gripper_max)
