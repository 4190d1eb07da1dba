# SPDX-License-Identifier: Apache-2.0
"""Whether the arm can be guarded as it stands. Pure."""

from __future__ import annotations

from erl_vlm_ros.safety.config import EE, HEARTBEAT, JOINTS, WRENCH, GuardLimits
from erl_vlm_ros.safety.faults import Refusal, Unready
from erl_vlm_ros.safety.input_monitor import InputMonitor
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.watchdog import Watchdog

_OUTSIDE_M = 0.005  # as far an arm overshoots the box by; from there only the way back in is allowed


def refusal(
    limits: GuardLimits, inputs: InputMonitor, watchdog: Watchdog, margin: JointMargin | None, now: float
) -> Refusal | None:
    """Why the arm must not be armed as it stands now; None: it may."""
    for source in (EE, JOINTS, HEARTBEAT, WRENCH):
        if inputs.problems.get(source):
            return Refusal(Unready.INPUT, inputs.problems[source], source)
        silence = watchdog.silence(source, now)
        if silence:
            return Refusal(Unready.SILENT, silence, source)
    disagreement = inputs.pose_check.problem(now)
    if disagreement:
        return Refusal(Unready.POSE_MISMATCH, disagreement)
    position = inputs.pose.position(now)
    shown = "[" + ", ".join(f"{value:.3f}" for value in position) + "]"
    box = limits.envelope.box()
    if not box.contains(position, _OUTSIDE_M):
        text = f"outside the workspace box {list(box.low)} to {list(box.high)} m (workspace in {limits.where})"
        return Refusal(Unready.OUTSIDE, f"the tool at {shown} is {text}: move the arm inside, or correct the box")
    for forbidden in limits.forbidden:
        if forbidden.contains(position):
            text = f"the tool at {shown} is inside {forbidden.name} {list(forbidden.low)} to {list(forbidden.high)} m"
            return Refusal(Unready.FORBIDDEN, f"{text}: move the arm out, or change the parameter")
    if limits.joint_margin > 0 and margin is None:
        text = "give the URDF (docs/robots.md), or controller_joints, joint_lower and joint_upper"
        return Refusal(Unready.NO_LIMITS, f"joint_margin needs the joints' limits: {text}")
    return None
