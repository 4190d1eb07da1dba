# SPDX-License-Identifier: Apache-2.0
"""Why the guard refuses to arm. Pure."""

from __future__ import annotations

from erl_vlm_ros.safety.config import EE, HEARTBEAT, JOINTS, WRENCH, GuardLimits
from erl_vlm_ros.safety.input_monitor import InputMonitor
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.watchdog import Watchdog

_OUTSIDE_M = 0.005  # as far an arm overshoots the box by; from there only the way back in is allowed


def refusal(
    limits: GuardLimits, inputs: InputMonitor, watchdog: Watchdog, margin: JointMargin | None, now: float
) -> str:
    """Why the arm must not be armed as it stands now; empty: it may."""
    for source in (EE, JOINTS, HEARTBEAT, WRENCH):
        problem = inputs.problems.get(source) or watchdog.silence(source, now)
        if problem:
            return problem
    disagreement = inputs.pose_check.problem(now)
    if disagreement:
        return disagreement
    position = inputs.pose.position(now)
    shown = "[" + ", ".join(f"{value:.3f}" for value in position) + "]"
    box = limits.envelope.box()
    if not box.contains(position, _OUTSIDE_M):
        return (
            f"the tool at {shown} is outside the workspace box {list(box.low)} to {list(box.high)} m "
            f"(workspace in {limits.where}): move the arm inside, or correct the box"
        )
    for forbidden in limits.forbidden:
        if forbidden.contains(position):
            return (
                f"the tool at {shown} is inside {forbidden.name} {list(forbidden.low)} to {list(forbidden.high)} m: "
                "move the arm out, or change the parameter"
            )
    if limits.joint_margin > 0 and margin is None:
        return (
            "joint_margin needs the joints' limits: give the URDF (docs/robots.md), "
            "or controller_joints, joint_lower and joint_upper"
        )
    return ""
