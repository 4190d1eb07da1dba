# SPDX-License-Identifier: Apache-2.0
"""Why a recording, or an episode of it, is not taken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError


class Reason(Enum):
    """What is wrong; code and tests branch on it, the wording of messages is free."""

    NO_BAG = "not a rosbag2 recording"
    TRUNCATED = "cut off: the recorder did not end it"
    UNREADABLE = "damaged"
    NO_TOPIC = "a topic is missing"
    SEVERAL_TOPICS = "several topics to choose from"
    TYPE = "a topic of a type that is not understood"
    FRAME = "another frame than the robot's"
    JOINTS = "a joint is missing"
    URDF = "the tool's pose is not recorded, and there is no URDF to compute it from"
    CLOCK_JUMPS = "the clock jumps"
    CLOCKS_APART = "two topics are stamped by different clocks"
    LATE = "a topic starts late"
    EARLY = "a topic stops early"
    GAP = "a topic has a gap"
    SLOW_CAMERA = "the camera is slower than the control rate"
    SHORT = "too few steps"
    LONG = "too large for one episode"
    NO_COMMAND = "no command was recorded in it"
    NOT_FINITE = "a number that is not finite"
    IMAGE = "an image that cannot be decoded"
    SPACES = "other spaces than robot and task have"
    NO_EPISODE = "no episode is in it"
    VERSION = "another version of the format"


_CODES = {
    Reason.NO_BAG: Code.MISSING_FILE,
    Reason.TRUNCATED: Code.UNREADABLE,
    Reason.UNREADABLE: Code.UNREADABLE,
    Reason.IMAGE: Code.UNREADABLE,
    Reason.VERSION: Code.OTHER_VERSION,
    Reason.NO_TOPIC: Code.NOT_GIVEN,
    Reason.SEVERAL_TOPICS: Code.NOT_GIVEN,
    Reason.URDF: Code.NOT_GIVEN,
    Reason.NO_COMMAND: Code.NOT_GIVEN,
    Reason.NO_EPISODE: Code.NOT_GIVEN,
    Reason.NOT_FINITE: Code.VALUE,
}


class RecordingError(ConfigError):
    """A recording, or an episode of it, that cannot be used. ``topic``: the one to blame; empty: none."""

    def __init__(self, reason: Reason, message: str, *, topic: str = "", file: str = ""):
        super().__init__(message, file=file, code=_CODES.get(reason, Code.DOES_NOT_FIT))
        self.reason, self.topic = reason, topic


@dataclass(frozen=True)
class Skipped:
    """An episode that was left out, or a whole recording (``episode`` None). Times: s since the recording began."""

    recording: str
    episode: int | None
    reason: Reason
    text: str
    topic: str = ""
    start_s: float | None = None
    end_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what is not known is left out."""
        found = {**vars(self), "reason": self.reason.name}
        return {key: value for key, value in found.items() if value not in (None, "")}

    def __str__(self) -> str:
        which = self.recording if self.episode is None else f"{self.recording}, episode {self.episode}"
        when = "" if self.start_s is None or self.end_s is None else f" ({self.start_s:.2f} to {self.end_s:.2f} s)"
        return f"skipped {which}{when}: {self.reason.value}: {self.text}"
