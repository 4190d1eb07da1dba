# SPDX-License-Identifier: Apache-2.0
"""What a camera source is and gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.common.errors import Code, StateError, wrong_parameter

NS = 1_000_000_000


class SourceError(StateError):
    """A source cannot be opened, or broke off. Opening it again may help.

    ``attempts``: how often it was tried in vain before it was given up; 0: it was not given up.
    """

    def __init__(self, message: str, *, attempts: int = 0, code: Code = Code.UNREACHABLE, **fields: Any):
        super().__init__(message, code=code, **fields)
        self.attempts = attempts


class EndOfRecording(Exception):
    """A recorded file was played to its end."""


@dataclass(frozen=True)
class Frame:
    """One image.

    ``rgb`` uint8 [h, w, 3]; ``stamp_ns`` when it was taken, ns of the system clock (ROS time on a real robot);
    ``missed``: frames that the source knows to have lost just before this one; ``depth`` uint16 [h, w] mm, 0 = unknown.
    """

    rgb: np.ndarray
    stamp_ns: int
    missed: int = 0
    depth: np.ndarray | None = None


@dataclass(frozen=True)
class Profile:
    """What a source is asked for. Size in px, rate in Hz; 0: whatever it gives."""

    width: int = 0
    height: int = 0
    fps: int = 0

    @classmethod
    def parse(cls, text: str, parameter: str) -> Profile:
        """From ``640x480x30`` (rate may be left out) or an empty string. ConfigError naming the parameter."""
        if not text:
            return cls()
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})(?:x(\d{1,4}))?", text)
        if not found or not int(found[1]) * int(found[2]):
            raise wrong_parameter(
                "camera", parameter, f"is '{text}'; it must be WIDTHxHEIGHTxRATE, for instance 640x480x30"
            )
        return cls(int(found[1]), int(found[2]), int(found[3] or 0))

    def check_size(self, width: int, height: int, what: str) -> None:
        """ConfigError naming the parameter unless the size is the one asked for."""
        if self.width and (self.width, self.height) != (width, height):
            raise wrong_parameter(
                "camera",
                "profile",
                f"asks for {self.width}x{self.height}, but {what} gives "
                f"{width}x{height}; set profile to {width}x{height} or change the source",
                code=Code.DOES_NOT_FIT,
            )


class Source(Protocol):
    """A camera or a recording. After open(): ``size`` (width, height), ``fps`` (0 unknown), ``intrinsics`` (or None),
    ``depth_intrinsics``, ``hardware`` (for people). One thread calls open, read and close."""

    size: tuple[int, int]
    fps: float
    intrinsics: Intrinsics | None
    depth_intrinsics: Intrinsics | None
    hardware: str

    def open(self) -> None:
        """Start. ConfigError: what was asked for cannot be; SourceError: not there, or not now."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None when there was none in time. SourceError, EndOfRecording."""

    def close(self) -> None:
        """Stop. Never raises; may be called twice."""
