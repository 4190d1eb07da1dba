# SPDX-License-Identifier: Apache-2.0
"""The guard's parameters as one object of limits, checked against each other. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.safety.boxes import Box, parse_boxes
from erl_vlm_ros.safety.envelope import Envelope
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.limiter import Dynamics

#: what the messages of each watchdog are called in reasons and diagnostics
COMMAND, JOINTS, EE = "policy command", "joint_states", "ee_pose"
REPETITION = "command or its repetition"
CAMERA, HEARTBEAT, DEADMAN, WRENCH, HOME = "camera", "heartbeat", "joy", "wrench", "home request"


@dataclass(frozen=True)
class GuardLimits:
    """Everything that GuardCore enforces. Lengths m, angles rad, times s."""

    envelope: Envelope
    linear: Dynamics
    angular: Dynamics | None  # None: rotation is not allowed
    forbidden: tuple[Box, ...]
    timeouts: dict[str, float]
    joint_margin: float
    joints: JointMargin | None  # with limits given by parameters; None: the URDF's, or no margin
    joint_names: tuple[str, ...]
    deadman_button: int | None
    max_force: float
    max_torque: float
    future_s: float
    check_state_stamps: bool
    home_timeout_s: float
    arm_lag_s: float
    max_tracking_error: float
    pose_tolerance: float  # between ee_pose and the joints; 0: not compared
    pose_tolerance_rad: float
    home_turn: Dynamics  # of the tool, on the way home
    where: str  # the task file, for messages


def guard_limits(p: Any, task: Task) -> GuardLimits:
    """From the node's parameters (attributes as in its table) and the task's workspace.

    Raises:
        ConfigError: limits that contradict each other; names the parameters.
    """
    envelope = Envelope(
        task.workspace_min, task.workspace_max, p.max_speed, p.horizon_s, p.base_frame, p.gripper_max,
        p.max_step_m, p.max_angular_speed,
    )  # fmt: skip
    dt = 1.0 / (task.control_hz if p.lock_step else p.rate_hz)
    hold = max(dt, p.horizon_s)
    linear = Dynamics(envelope.top_speed, p.max_acceleration, p.max_jerk, dt, hold)
    angular = None
    if p.max_angular_speed > 0:
        angular = Dynamics(p.max_angular_speed, p.max_angular_acceleration, p.max_angular_jerk, dt, hold)
    home_speed = min(p.home_angular_speed, angular.max_speed) if angular is not None else p.home_angular_speed
    home_turn = Dynamics(home_speed, p.home_angular_acceleration, 0.0, dt, hold)
    if not p.lock_step:
        _check_times(p, task, linear, angular, home_turn)
    names = tuple(p.controller_joints or ())
    joints = None
    if p.joint_margin > 0 and any(p.joint_lower + p.joint_upper):
        joints = JointMargin(names, p.joint_lower, p.joint_upper, p.joint_margin)
    return GuardLimits(
        envelope=envelope,
        linear=linear,
        angular=angular,
        forbidden=parse_boxes(p.forbidden_boxes, "forbidden_boxes"),
        timeouts={} if p.lock_step else _timeouts(p),
        joint_margin=p.joint_margin,
        joints=joints,
        joint_names=names,
        deadman_button=p.deadman_button,
        max_force=p.max_force,
        max_torque=p.max_torque,
        future_s=p.stamp_future_s,
        check_state_stamps=p.check_state_stamps and not p.lock_step,  # there the clock is the simulation's
        home_timeout_s=p.home_timeout_s,
        arm_lag_s=p.arm_lag_s,
        max_tracking_error=0.0 if p.lock_step else p.max_tracking_error_m,
        pose_tolerance=0.0 if p.lock_step else p.pose_tolerance_m,
        pose_tolerance_rad=0.0 if p.lock_step else p.pose_tolerance_rad,
        home_turn=home_turn,
        where=task.path,
    )


def _timeouts(p: Any) -> dict[str, float]:
    """Source -> longest silence; sources that are switched off are left out."""
    out = {COMMAND: p.command_timeout_s, JOINTS: p.state_timeout_s, EE: p.state_timeout_s}
    optional = {
        REPETITION: p.command_gap_s,
        CAMERA: p.camera_timeout_s,
        HEARTBEAT: p.heartbeat_timeout_s,
        DEADMAN: 0.0 if p.deadman_button is None else p.deadman_timeout_s,
        WRENCH: p.state_timeout_s if p.max_force > 0 or p.max_torque > 0 else 0.0,
    }
    return out | {source: limit for source, limit in optional.items() if limit > 0}


def _check_times(p: Any, task: Task, linear: Dynamics, angular: Dynamics | None, home_turn: Dynamics) -> None:
    period = 1.0 / task.control_hz
    if p.command_timeout_s <= period:
        text = (
            f"command_timeout_s {p.command_timeout_s:g} is not longer than the policy's period {period:g} s "
            f"(control_hz {task.control_hz:g} in {task.path}): every motion would stutter; give 1.15 periods or more"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.command_timeout_s", file=task.path)
    if p.horizon_s < 1.0 / p.rate_hz:
        text = (
            f"horizon_s {p.horizon_s:g} is shorter than the guard's own period {1 / p.rate_hz:g} s (rate_hz "
            f"{p.rate_hz:g}): give at least the command timeout of the arm's driver"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.horizon_s")
    for kind, dynamics in (("", linear), ("angular_", angular)):
        if dynamics is None:
            continue
        stop = dynamics.longest_stop_s(p.stop_within_s)
        if stop > p.stop_within_s + 1e-9:
            text = (
                f"max_{kind}acceleration {dynamics.max_acceleration:g} and max_{kind}jerk {dynamics.max_jerk:g} need "
                f"longer than stop_within_s {p.stop_within_s:g} to stop from {dynamics.max_speed:g}: "
                f"raise them, lower max_{kind}speed, or allow a longer stop"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"safety_guard.max_{kind}acceleration")
    if home_turn.longest_stop_s(p.stop_within_s) > p.stop_within_s + 1e-9:
        text = (
            f"home_angular_acceleration {p.home_angular_acceleration:g} needs longer than stop_within_s "
            f"{p.stop_within_s:g} to stop from {home_turn.max_speed:g} rad/s: raise it, or lower home_angular_speed"
        )
        raise ConfigError(text, parameter="safety_guard.home_angular_acceleration", code=Code.DOES_NOT_FIT)
