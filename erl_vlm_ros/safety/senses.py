# SPDX-License-Identifier: Apache-2.0
"""What the guard hears: judges every message, and tells the watchdog which sources are alive. Pure.

``now`` is seconds of a monotonic clock; ``stamp`` and ``clock`` are nanoseconds of the ROS clock (the message's
and ours). Methods that judge return why a message was refused, or an empty text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from erl_vlm_ros.safety.boxes import Vector
from erl_vlm_ros.safety.config import (
    CAMERA,
    COMMAND,
    DEADMAN,
    EE,
    HEARTBEAT,
    JOINTS,
    REPETITION,
    WRENCH,
    GuardLimits,
)
from erl_vlm_ros.safety.envelope import Rejected, limit_rotation, limit_velocity
from erl_vlm_ros.safety.lead import Lead
from erl_vlm_ros.safety.pose import PoseEstimate
from erl_vlm_ros.safety.stamps import StampGate
from erl_vlm_ros.safety.watchdog import Watchdog

_STILL = (0.0, 0.0, 0.0)


class Senses:
    """The newest state of the arm, and what is wrong with what says so."""

    def __init__(self, limits: GuardLimits, watchdog: Watchdog) -> None:
        self.limits, self.watchdog = limits, watchdog
        self.problems = {COMMAND: "", EE: "", JOINTS: ""}  # of the newest message of each
        self.positions: dict[str, float] = {}  # of joints, rad
        self.kinematics: Any = None  # the arm's, once it is known
        longest = max([1.0, *limits.timeouts.values()])
        self.pose, self.lead = PoseEstimate(longest, limits.arm_lag_s), Lead(limits.max_lead)
        ages = {source: limits.timeouts.get(source, longest) for source in self.problems}
        self._stamps = {source: StampGate(age, limits.future_s) for source, age in ages.items()}

    def saw_command(self, linear: Vector, angular: Vector, frame: str, stamp: int, clock: int, now: float) -> str:
        """A velocity command. One that is refused is no sign of life."""
        problem = self.judge(linear, angular, frame) or self._stamps[COMMAND].problem(stamp, clock)
        self.problems[COMMAND] = problem
        if not problem:
            self._alive(COMMAND, _made(stamp, clock, now))
            self._alive(REPETITION, now)
        return problem

    def judge(self, linear: Vector, angular: Vector, frame: str) -> str:
        """Why a command cannot be obeyed whatever the arm does: frame, numbers that are not finite, rotation."""
        try:
            limit_velocity(linear, _STILL, frame, self.limits.envelope)
            limit_rotation(angular, self.limits.envelope)
        except Rejected as reason:
            return str(reason)
        return ""

    def saw_pose(self, position: Vector, frame: str, stamp: int, clock: int, now: float) -> str:
        """The measured tool point, m."""
        problem = ""
        if frame != self.limits.envelope.frame:
            problem = f"{EE} in frame '{frame}', expected '{self.limits.envelope.frame}'"
        elif not all(map(math.isfinite, position)):
            problem = f"{EE} is not finite"
        problem = self.problems[EE] = problem or self._stamp_problem(EE, stamp, clock)
        if not problem:
            made = _made(stamp, clock, now) if self.limits.check_state_stamps else now
            self.lead.saw(self.pose.saw(position, now - made, now), position)
            self._alive(EE, made)
        return problem

    def saw_joints(self, positions: Mapping[str, float], stamp: int, clock: int, now: float) -> str:
        """Measured joint positions by name, rad."""
        problem = self._judge_joints(positions) or self._stamp_problem(JOINTS, stamp, clock)
        self.problems[JOINTS] = problem
        if not problem:
            self.positions.update(positions)
            self._alive(JOINTS, _made(stamp, clock, now) if self.limits.check_state_stamps else now)
        return problem

    def saw_camera(self, now: float) -> None:
        """An image arrived (or the camera_info that comes with each)."""
        self._alive(CAMERA, now)

    def saw_heartbeat(self, alive: bool, now: float) -> None:
        """A beat; one that says False latches the e-stop at once."""
        if alive:
            self._alive(HEARTBEAT, now)
        else:
            self.watchdog.estop("heartbeat says stop")

    def saw_joy(self, buttons: Sequence[int], now: float) -> None:
        """State of the joystick's buttons: the dead-man one must be pressed."""
        button = self.limits.deadman_button
        if button >= len(buttons):
            self.watchdog.hold(DEADMAN, f"the joystick has {len(buttons)} buttons, deadman_button is {button}")
        else:
            self.watchdog.hold(DEADMAN, "" if buttons[button] else "dead-man button not held")
        self._alive(DEADMAN, now)

    def saw_wrench(self, force: Vector, torque: Vector, now: float) -> None:
        """Measured force (N) and torque (Nm): too much latches the e-stop; what is no number is no sign of life."""
        if not all(map(math.isfinite, (*force, *torque))):
            return
        self._alive(WRENCH, now)
        for value, most, text in (
            (math.hypot(*force), self.limits.max_force, "force {:.1f} N above max_force {:g} N"),
            (math.hypot(*torque), self.limits.max_torque, "torque {:.1f} Nm above max_torque {:g} Nm"),
        ):
            if most > 0 and value > most:
                self.watchdog.estop(text.format(value, most))

    def adopt(self, kinematics: Any) -> None:
        """The arm's kinematics are known: from now on joint_states must hold its joints."""
        self.kinematics = kinematics
        if self.positions:
            self.problems[JOINTS] = self._judge_joints(self.positions)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints that joint_states must hold: the parameter's and the URDF's."""
        known = () if self.kinematics is None else self.kinematics.joint_names
        return tuple(dict.fromkeys((*self.limits.joint_names, *known)))

    def explained(self, reason: str) -> str:
        """A reason of silence, and what was wrong with the messages that did come."""
        for source, problem in self.problems.items():
            if problem and reason.startswith(f"no {source}"):
                return f"{reason}: {problem}"
        return reason

    def _alive(self, source: str, at: float) -> None:
        if source in self.limits.timeouts:  # in lock-step nothing has a time limit
            self.watchdog.saw(source, at)

    def _judge_joints(self, positions: Mapping[str, float]) -> str:
        missing = [name for name in self.joint_names if name not in positions]
        wrong = [name for name, value in positions.items() if not math.isfinite(value)]
        problem = ""
        if missing:
            has = ", ".join(positions)
            problem = f"{JOINTS} lacks {', '.join(missing)} (it has {has}): check parameter 'joint_names'"
        elif wrong:
            problem = f"{JOINTS}: position of {', '.join(wrong)} is not finite"
        self.watchdog.hold(JOINTS, problem)
        return problem

    def _stamp_problem(self, source: str, stamp: int, clock: int) -> str:
        problem = self._stamps[source].problem(stamp, clock) if self.limits.check_state_stamps else ""
        return f"{source}: {problem}" if problem else ""


def _made(stamp: int, clock: int, now: float) -> float:
    """When a message was made, by our clock: what was long under way is no fresher than it says."""
    return now - max(0, clock - stamp) * 1e-9
