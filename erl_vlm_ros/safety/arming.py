# SPDX-License-Identifier: Apache-2.0
"""Why the guard refuses to arm. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from erl_vlm_ros.safety.config import EE, HEARTBEAT, JOINTS, WRENCH

if TYPE_CHECKING:
    from erl_vlm_ros.safety.core import GuardCore


def joint_problem(positions: Mapping[str, float], names: Sequence[str]) -> str:
    """What is wrong with a joint state: joints of ``names`` that it lacks, or positions that are not finite."""
    missing = [name for name in names if name not in positions]
    if missing:
        return f"{JOINTS} lacks {', '.join(missing)} (it has {', '.join(positions)}): check parameter 'joint_names'"
    wrong = [name for name, value in positions.items() if not math.isfinite(value)]
    return f"{JOINTS}: position of {', '.join(wrong)} is not finite" if wrong else ""


def refusal(core: GuardCore, now: float) -> str:
    """Why the arm must not be armed as it stands now; empty: it may."""
    limits = core.limits
    problem = core.pose_problem or core.watchdog.silence(EE, now)
    problem = problem or core.joint_problem or core.watchdog.silence(JOINTS, now)
    problem = problem or core.watchdog.silence(HEARTBEAT, now) or core.watchdog.silence(WRENCH, now)
    if problem:
        return problem
    position = core.pose.position(now)
    shown = "[" + ", ".join(f"{value:.3f}" for value in position) + "]"
    box = limits.envelope.box()
    if not box.contains(position):
        return (
            f"the tool at {shown} is outside the workspace box {list(box.low)} to {list(box.high)} m of {limits.where}: "
            "move the arm inside, or change workspace there"
        )
    for forbidden in limits.forbidden:
        if forbidden.contains(position):
            return (
                f"the tool at {shown} is inside {forbidden.name} {list(forbidden.low)} to {list(forbidden.high)} m: "
                "move the arm out, or change the parameter"
            )
    if limits.joint_margin > 0 and core.margin() is None:
        return (
            "joint_margin needs the joints' limits: give the URDF (docs/robots.md), "
            "or joint_names, joint_lower and joint_upper"
        )
    return ""
