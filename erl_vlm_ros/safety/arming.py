# SPDX-License-Identifier: Apache-2.0
"""Why the guard refuses to arm. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from erl_vlm_ros.safety.config import EE, HEARTBEAT, JOINTS, WRENCH

if TYPE_CHECKING:
    from erl_vlm_ros.safety.core import GuardCore


def refusal(core: GuardCore, now: float) -> str:
    """Why the arm must not be armed as it stands now; empty: it may."""
    limits = core.limits
    for source in (EE, JOINTS, HEARTBEAT, WRENCH):
        problem = core.senses.problems.get(source) or core.watchdog.silence(source, now)
        if problem:
            return problem
    position = core.senses.pose.position(now)
    shown = "[" + ", ".join(f"{value:.3f}" for value in position) + "]"
    box = limits.envelope.box()
    if not box.contains(position):
        return (
            f"the tool at {shown} is outside the workspace box {list(box.low)} to {list(box.high)} m "
            f"(workspace in {limits.where}): move the arm inside, or mend the box"
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
