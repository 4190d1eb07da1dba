# SPDX-License-Identifier: Apache-2.0
"""Why the arm stands still: for the moment, or latched until a person has cleared the fault and armed again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """Why the guard latched a stop; the text is for people."""

    REQUESTED = "asked for"
    HEARTBEAT = "the heartbeat fell silent or said stop"
    FORCE = "too much force or torque"
    INTERNAL = "an error inside the guard"
    POSE_MISMATCH = "ee_pose and the joints disagree"
    DESCRIPTION_CHANGED = "robot_description was replaced"
    OTHER_PUBLISHER = "something else commands the arm"


class Halt(Enum):
    """Why no motion passes now; of SILENT and HELD the verdict names the source, of LATCHED the watchdog the fault."""

    DISARMED = "disarmed"
    LATCHED = "a latched stop"
    SILENT = "a source that is needed is silent"
    HELD = "a source says no, such as a dead-man button that is not pressed"
    NO_COMMAND = "nothing was commanded yet"
    BEFORE_HOME = "the motion ends before the way home begins"
    HOME = "home is reached"


class Unready(Enum):
    """Why the guard does not arm; of SILENT and INPUT the refusal names the source."""

    LATCHED = "a latched stop that nobody has cleared"
    SILENT = "a source that is needed is silent"
    INPUT = "what a source says cannot be used, such as a pose in another frame"
    POSE_MISMATCH = "ee_pose and the joints disagree"
    OUTSIDE = "the tool is outside the workspace"
    FORBIDDEN = "the tool is inside a forbidden box"
    NO_LIMITS = "the joints' limits are not known"
    DESCRIPTION_CHANGED = "robot_description was replaced"
    NO_WATCHDOG = "the watchdog process is required and does not answer"
    OTHER_PUBLISHER = "something else commands the arm"


@dataclass(frozen=True)
class Refusal:
    """The guard was not armed: why, in words for people as well, and which source is to blame, if one is."""

    why: Unready
    text: str
    source: str = ""
