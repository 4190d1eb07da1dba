# SPDX-License-Identifier: Apache-2.0
"""Faults that latch: the arm stands still until a person has cleared them and armed again."""

from __future__ import annotations

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
