# SPDX-License-Identifier: Apache-2.0
"""What the guard hears: judges every message, and tells the watchdog which sources are alive. Pure.

``now`` is seconds of a monotonic clock; ``stamp`` and ``clock`` are nanoseconds of the ROS clock (the message's
and ours). Methods that judge return why a message was refused, or an empty text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from erl_vlm_ros.robot.joint_store import JointProblem, JointStore
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
from erl_vlm_ros.safety.faults import Fault, Halt
from erl_vlm_ros.safety.plausible import implausible
from erl_vlm_ros.safety.pose import PoseEstimate
from erl_vlm_ros.safety.pose_check import PoseCheck
from erl_vlm_ros.safety.stamps import StampGate
from erl_vlm_ros.safety.tracking_error import TrackingError
from erl_vlm_ros.safety.watchdog import Verdict, Watchdog

_STILL = (0.0, 0.0, 0.0)
_FURTHEST_M = 100.0  # from base_frame: what is further away is no arm


class InputMonitor:
    """The newest state of the arm, and what is wrong with what says so."""

    def __init__(self, limits: GuardLimits, watchdog: Watchdog) -> None:
        self.limits, self.watchdog = limits, watchdog
        self.problems = {COMMAND: "", EE: "", JOINTS: ""}  # of the newest message of each
        self.joints = JointStore(limits.joint_names)
        self.pose_check = PoseCheck(limits.pose_tolerance, limits.pose_tolerance_rad)
        self.kinematics: Any = None  # the arm's, once it is known
        longest = max([1.0, *limits.timeouts.values()])
        self.pose, self.tracking_error = (
            PoseEstimate(longest, limits.arm_lag_s),
            TrackingError(limits.max_tracking_error),
        )
        ages = {source: limits.timeouts.get(source, longest) for source in self.problems}
        self._stamps = {source: StampGate(age, limits.future_s) for source, age in ages.items()}
        self._joint_age = ages[JOINTS]

    def update_command(self, linear: Vector, angular: Vector, frame: str, stamp: int, clock: int, now: float) -> str:
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

    def update_pose(
        self,
        position: Vector,
        frame: str,
        stamp: int,
        clock: int,
        now: float,
        quaternion: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    ) -> str:
        """The measured tool point, m, and its orientation x y z w; all zeros: not measured."""
        problem = ""
        if frame != self.limits.envelope.frame:
            problem = f"{EE} in frame '{frame}', expected '{self.limits.envelope.frame}'"
        elif not all(map(math.isfinite, (*position, *quaternion))):
            problem = f"{EE} is not finite"
        elif max(map(abs, position)) > _FURTHEST_M:
            problem = f"{EE} is no place of an arm: {', '.join(f'{value:g}' for value in position)} m"
        problem = self.problems[EE] = problem or self._stamp_problem(EE, stamp, clock)
        if not problem:
            made = _made(stamp, clock, now) if self.limits.check_state_stamps else now
            self.tracking_error.saw(self.pose.saw(position, now - made, now), position)
            if self.kinematics is not None:
                self.pose_check.pose(made, position, quaternion)
            self._alive(EE, made)
        return problem

    @property
    def positions(self) -> dict[str, float]:
        """Accepted joint positions by name, rad."""
        return self.joints.positions()

    def update_joints(self, positions: Mapping[str, float], stamp: int, clock: int, now: float) -> str:
        """Measured joint positions by name, rad."""
        return self.update_joint_state(list(positions), list(positions.values()), stamp, clock, now)

    def update_joint_state(
        self, names: Sequence[str], positions: Sequence[float], stamp: int, clock: int, now: float
    ) -> str:
        """A joint_states message; it may hold some of our joints only, and others. One that is refused changes nothing.

        Arm and gripper may publish on their own: each joint has its age, and the oldest counts.
        """
        judged = self.limits.check_state_stamps
        age = self._stamps[JOINTS].age_problem(stamp, clock) if judged else ""  # JointStore sees what goes back
        problem = f"{JOINTS}: {age}" if age else ""
        # An old message is another publisher's (a bag that is played): what the arm itself says still holds.
        stray = bool(problem)
        made = _made(stamp, clock, now) if judged else now
        if not problem and len(names) == len(positions):
            impossible = implausible(names, positions, self.kinematics, self.joints, made, self._joint_age)
            problem = f"{JOINTS}: {impossible}" if impossible else ""
        if not problem:
            update = self.joints.update(
                names, positions, stamp_ns=stamp if judged else None, at=made, clock_ns=clock if judged else None
            )
            problem = update.text if update.problem is not None else ""
            stray = update.problem is JointProblem.STAMP_BACK
        if not problem:
            problem = self._missing_joints(now)
            measured = self.joints.measured_at()
            if not problem and math.isfinite(measured):
                self._alive(JOINTS, measured)
                self._check_against_pose()
        self.problems[JOINTS] = problem
        if not stray:
            self.watchdog.hold(JOINTS, problem)
        return problem

    def _check_against_pose(self) -> None:
        arm = self.kinematics
        if arm is not None and self.pose_check.wants(at := self.joints.measured_at(arm.joint_names)):
            self.pose_check.joints(at, *arm.forward(self.joints.vector(arm.joint_names)))

    def _missing_joints(self, now: float) -> str:
        """Our joints that were never measured, or too long ago."""
        missing = self.joints.stale(now, self.limits.timeouts.get(JOINTS, math.inf)) if self.joints.names else []
        if not missing:
            return ""
        here = [name for name in self.joints.positions() if name not in missing]
        has = ", ".join((*here, *self.joints.foreign)) or "nothing"
        return f"{JOINTS} lacks {', '.join(missing)} (it has {has}): check parameter 'controller_joints'"

    def update_camera(self, now: float) -> None:
        """An image arrived (or the camera_info that comes with each)."""
        self._alive(CAMERA, now)

    def update_heartbeat(self, alive: bool, now: float) -> None:
        """A beat; one that says False latches the e-stop at once."""
        if alive:
            self._alive(HEARTBEAT, now)
        else:
            self.watchdog.estop("heartbeat says stop", Fault.HEARTBEAT)

    def update_joy(self, buttons: Sequence[int], now: float) -> None:
        """State of the joystick's buttons: the dead-man one must be pressed."""
        button = self.limits.deadman_button
        if button is None:
            return
        if button >= len(buttons):
            self.watchdog.hold(DEADMAN, f"the joystick has {len(buttons)} buttons, deadman_button is {button}")
        else:
            self.watchdog.hold(DEADMAN, "" if buttons[button] else "dead-man button not held")
        self._alive(DEADMAN, now)

    def update_wrench(self, force: Vector, torque: Vector, now: float) -> None:
        """Measured force (N) and torque (Nm): too much latches the e-stop; what is no number is no sign of life."""
        if not all(map(math.isfinite, (*force, *torque))):
            return
        self._alive(WRENCH, now)
        for value, most, text in (
            (math.hypot(*force), self.limits.max_force, "force {:.1f} N above max_force {:g} N"),
            (math.hypot(*torque), self.limits.max_torque, "torque {:.1f} Nm above max_torque {:g} Nm"),
        ):
            if most > 0 and value > most:
                self.watchdog.estop(text.format(value, most), Fault.FORCE)

    def adopt(self, kinematics: Any) -> None:
        """The arm's kinematics are known: from now on joint_states must hold its joints."""
        self.kinematics = kinematics
        had = self.joints.positions()
        self.joints.expect(self.joint_names)
        if had:
            problem = self.problems[JOINTS] = self._missing_joints(-math.inf)
            self.watchdog.hold(JOINTS, problem)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints that joint_states must hold: the parameter's and the URDF's."""
        known = () if self.kinematics is None else self.kinematics.joint_names
        return tuple(dict.fromkeys((*self.limits.joint_names, *known)))

    def explained(self, verdict: Verdict) -> Verdict:
        """The same, with what was wrong with the messages that did come from a source that counts as silent."""
        problem = self.problems.get(verdict.source) if verdict.halt is Halt.SILENT else ""
        return replace(verdict, reason=f"{verdict.reason}: {problem}") if problem else verdict

    def _alive(self, source: str, at: float) -> None:
        if source in self.limits.timeouts:  # in lock-step nothing has a time limit
            self.watchdog.saw(source, at)

    def _stamp_problem(self, source: str, stamp: int, clock: int) -> str:
        problem = self._stamps[source].problem(stamp, clock) if self.limits.check_state_stamps else ""
        return f"{source}: {problem}" if problem else ""


def _made(stamp: int, clock: int, now: float) -> float:
    """When a message was made, by our clock: what was long under way is no fresher than it says."""
    return now - max(0, clock - stamp) * 1e-9
