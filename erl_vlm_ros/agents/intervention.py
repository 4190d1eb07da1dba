# SPDX-License-Identifier: Apache-2.0
"""A person at the controls: from a joystick's or a SpaceMouse's numbers to a velocity in the base frame. No ROS.

A joystick drives while its enabling (dead-man) button is held. A SpaceMouse has none: it drives from the first push
on, until it has rested for ``release_s``. Silence of the device ends either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.errors import ConfigError

JOY, TWIST, NOBODY = "joy", "twist", "none"
BASE, TOOL = "base", "tool"
CONTINUE, PAUSE, SUCCESS, FAILURE = "continue", "pause", "success", "failure"
_OFF = -1  # a button that is not used


@dataclass(frozen=True)
class HumanConfig:
    """``axes``: joystick axes for x, y, z, counted from 0; ``signs`` turn them. Buttons: counted from 0, -1 unused.

    ``speed``: m/s at full deflection. A SpaceMouse's Twist is multiplied by ``twist_scale`` and taken as a share
    of ``speed``, too.
    """

    input: str = NOBODY
    frame: str = BASE
    axes: tuple[int, int, int] = (1, 0, 3)
    signs: tuple[float, float, float] = (1.0, 1.0, 1.0)
    speed: float = 0.25
    twist_scale: float = 1.0
    deadband: float = 0.05  # share of full deflection that counts as rest
    timeout_s: float = 0.3
    release_s: float = 0.5
    enable_button: int = 4
    open_button: int = _OFF
    close_button: int = _OFF
    continue_button: int = _OFF
    pause_button: int = _OFF
    success_button: int = _OFF
    failure_button: int = _OFF

    def __post_init__(self) -> None:
        if self.input == JOY and self.enable_button < 0:
            raise ConfigError("human.enable_button is -1: a joystick needs a button that is held while a person drives")
        if len(set(self.axes)) < 3 or min(self.axes) < 0:
            raise ConfigError(f"human.axes is {list(self.axes)}: name three different axes, counted from 0")
        used = [button for button in self._buttons().values() if button != _OFF]
        if len(set(used)) < len(used):
            raise ConfigError(f"human.*_button: two of them are the same button ({sorted(used)})")

    def _buttons(self) -> dict[str, int]:
        names = ("enable", "open", "close", CONTINUE, PAUSE, SUCCESS, FAILURE)
        return {name: getattr(self, f"{name}_button") for name in names}

    @property
    def highest_button(self) -> int:
        """Highest button number in use, -1 for none."""
        return max(self._buttons().values())


class Intervention:
    """Feed it what the devices say; it tells whether a person drives, how fast, and which buttons went down."""

    def __init__(self, config: HumanConfig):
        self.config = config
        self._at = -np.inf  # when the device last spoke
        self._moved_at = -np.inf  # when a SpaceMouse was last off its rest
        self._enabled = False
        self._share = np.zeros(3)  # of full speed, in the device's frame
        self._down: tuple[int, ...] | None = None  # buttons that were down last; None: never heard
        self.gripper = 0.0  # 1 open, -1 close, 0 as it is

    def joy(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> list[str]:
        """A sensor_msgs/Joy. Returns the events of the buttons that have just gone down.

        Raises:
            ConfigError: the device has fewer axes or buttons than the configuration names.
        """
        config = self.config
        if config.highest_button >= len(buttons):
            raise ConfigError(
                f"human.*_button: button {config.highest_button} is named, the device has 0 to {len(buttons) - 1}"
            )
        pressed = tuple(i for i, value in enumerate(buttons) if value)
        # A button that was down before anybody listened, or during a silence, must not start anything.
        fresh = [i for i in pressed if self._down is not None and i not in self._down]
        self._down = pressed
        if config.input == JOY:
            if max(config.axes) >= len(axes):
                raise ConfigError(f"human.axes: axis {max(config.axes)} is named, the device has 0 to {len(axes) - 1}")
            held = self._enabled and now - self._at <= config.timeout_s
            self._enabled = config.enable_button in pressed and (held or config.enable_button in fresh)
            self._at = now
            self._share = self._clean([axes[i] for i in config.axes])
        self.gripper = float(config.open_button in pressed) - float(config.close_button in pressed)
        return [e for e in (CONTINUE, PAUSE, SUCCESS, FAILURE) if getattr(config, f"{e}_button") in fresh]

    def twist(self, linear: Sequence[float], now: float) -> None:
        """A SpaceMouse's Twist, linear part [3]."""
        if self.config.input != TWIST:
            return
        self._at = now
        self._share = self._clean([self.config.twist_scale * v for v in linear])
        if self._share.any():
            self._moved_at = now

    def _clean(self, values: Sequence[float]) -> np.ndarray:
        share = np.array(values, np.float64) * self.config.signs
        if not np.isfinite(share).all():
            return np.zeros(3)  # a broken device stands still
        share[np.abs(share) < self.config.deadband] = 0.0
        return np.clip(share, -1.0, 1.0)

    def active(self, now: float) -> bool:
        """Whether a person drives."""
        if now - self._at > self.config.timeout_s:
            return False
        if self.config.input == JOY:
            return self._enabled
        return now - self._moved_at <= self.config.release_s

    def velocity(self, rotation: np.ndarray | None = None) -> tuple[float, float, float]:
        """m/s in the base frame. ``rotation`` [3, 3]: tool to base, needed when ``frame`` is tool."""
        velocity = self._share * self.config.speed
        if self.config.frame == TOOL:
            if rotation is None:
                raise ValueError("the tool's rotation is needed")
            velocity = rotation @ velocity
        x, y, z = velocity.tolist()
        return x, y, z


def rotation_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Rotation matrix [3, 3] of a quaternion, which is normalised. ValueError for one without a direction."""
    norm = np.sqrt(x * x + y * y + z * z + w * w)
    if not norm > 1e-6:
        raise ValueError("ee_pose has no orientation: its quaternion is zero")
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
