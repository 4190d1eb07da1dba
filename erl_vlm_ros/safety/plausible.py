# SPDX-License-Identifier: Apache-2.0
"""Whether measured joints can be those of the arm: within its limits, and no further on than it can have gone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erl_vlm_ros.robot.joint_store import JointStore

_BEYOND = 0.5  # rad (m): so far outside its limits no joint stands, whatever its calibration
_FASTER = 3.0  # times the velocity limit
_STEP = 0.05  # rad (m): what may lie between two measurements however short the time


def implausible(
    names: Sequence[str], positions: Sequence[float], kinematics: Any, known: JointStore, at: float, memory_s: float
) -> str:
    """Why a measurement made at monotonic ``at`` cannot be the arm's; empty: it can.

    What was known is forgotten after ``memory_s``: an arm that was moved meanwhile may be anywhere.
    """
    if kinematics is None:
        return ""
    limits = zip(kinematics.joint_names, kinematics.lower, kinematics.upper, kinematics.velocity)
    measured = dict(zip(names, positions))
    for name, low, high, speed in limits:
        if name not in measured:
            continue
        q, last = measured[name], known.get(name)
        if not low - _BEYOND <= q <= high + _BEYOND:
            return f"{name} = {q:g} is far outside its limits {low:g} to {high:g}"
        if last is None or speed <= 0 or at - last.at > memory_s:
            continue
        if abs(q - last.position) > _STEP + _FASTER * speed * max(at - last.at, 0.0):
            return f"{name} has leapt by {q - last.position:.2f} within {at - last.at:.3f} s"
    return ""
