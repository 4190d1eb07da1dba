# SPDX-License-Identifier: Apache-2.0
"""A person at the controls: from a joystick's or a SpaceMouse's numbers to a velocity in the base frame. No ROS.

A joystick drives while its enabling (dead-man) button is held. A SpaceMouse has none: it drives from the first push
on, until it has rested for ``release_s``. Silence of the device ends either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import Code, ConfigError, DataError

JOY, TWIST, NOBODY = "joy", "twist", "none"
BASE, TOOL = "base", "tool"
CONTINUE, PAUSE, SUCCESS, FAILURE = "continue", "pause", "success", "failure"


_Axis = Annotated[int, Field(ge=0, le=63)]
_Sign = Annotated[float, Field(ge=-1.0, le=1.0)]


def _button(default: int | None, text: str) -> Any:
    """A joystick button, counted from 0."""
    return setting(default, text, low=0, high=63)


@config("human")
class HumanConfig:
    """A SpaceMouse's Twist is multiplied by ``twist_scale`` and taken as a share of ``speed``, too."""

    input: Literal["none", "joy", "twist"] = setting(
        NOBODY, "Device with which a person may take over: a joystick, or a SpaceMouse's Twist."
    )
    frame: Literal["base", "tool"] = setting(
        BASE, "Frame in which the device's directions are meant; what is recorded is in base_frame."
    )
    axes: tuple[_Axis, _Axis, _Axis] = setting((1, 0, 3), "Joystick axes for x, y and z, counted from 0.")
    signs: tuple[_Sign, _Sign, _Sign] = setting((1.0, 1.0, 1.0), "Turn a direction round with -1.")
    speed: float = setting(0.25, "Speed at full deflection, m/s; never above the task's.", low=0.001, high=2.0)
    twist_scale: float = setting(1.0, "Factor on a SpaceMouse's Twist; 1 then means full speed.", low=0.0, high=1000.0)
    deadband: float = setting(0.05, "Deflection that counts as rest, share of full.", low=0.0, high=0.9)
    timeout_s: float = setting(0.3, "A device silent for this long has let go, s.", low=0.05, high=5.0)
    release_s: float = setting(0.5, "A SpaceMouse at rest for this long has let go, s.", low=0.0, high=10.0)
    enable_button: int = _button(4, "Joystick button to be held while driving (dead-man), counted from 0.")
    open_button: int | None = _button(None, "Button that opens the gripper while driving.")
    close_button: int | None = _button(None, "Button that closes the gripper while driving.")
    continue_button: int | None = _button(None, "Button for: the scene is ready.")
    pause_button: int | None = _button(None, "Button that pauses and resumes.")
    success_button: int | None = _button(None, "Button for: success.")
    failure_button: int | None = _button(None, "Button for: failure.")

    def __post_init__(self) -> None:
        if len(set(self.axes)) < 3:
            raise ConfigError(
                f"human.axes is {list(self.axes)}: name three different axes, counted from 0", parameter="human.axes"
            )
        used = [button for button in self._buttons().values() if button is not None]
        if len(set(used)) < len(used):
            text = f"human.*_button: two of them are the same button ({sorted(used)})"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="human.*_button")

    def _buttons(self) -> dict[str, int | None]:
        names = ("enable", "open", "close", CONTINUE, PAUSE, SUCCESS, FAILURE)
        return {name: getattr(self, f"{name}_button") for name in names}

    @property
    def highest_button(self) -> int:
        """Highest button number in use, -1 for none."""
        return max((button for button in self._buttons().values() if button is not None), default=-1)


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
            text = f"human.*_button: button {config.highest_button} is named, the device has 0 to {len(buttons) - 1}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="human.*_button")
        pressed = tuple(i for i, value in enumerate(buttons) if value)
        # A button that was down before this node listened, or during a silence, must not start anything.
        fresh = [i for i in pressed if self._down is not None and i not in self._down]
        self._down = pressed
        if config.input == JOY:
            if max(config.axes) >= len(axes):
                text = f"human.axes: axis {max(config.axes)} is named, the device has 0 to {len(axes) - 1}"
                raise ConfigError(text, code=Code.UNKNOWN, parameter="human.axes")
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
                raise DataError("the tool's rotation is needed", field="rotation")
            velocity = rotation @ velocity
        x, y, z = velocity.tolist()
        return x, y, z
