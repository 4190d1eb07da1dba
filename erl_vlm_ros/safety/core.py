# SPDX-License-Identifier: Apache-2.0
"""What the guard does in real time, without ROS and without a clock: messages in, one motion out per tick.

``now`` is seconds of a monotonic clock; ``stamp`` and ``clock`` are nanoseconds of the ROS clock (the message's
and ours). Methods that take a message return why it was refused, or an empty text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.safety import arming
from erl_vlm_ros.safety.boxes import Vector
from erl_vlm_ros.safety.config import CAMERA, COMMAND, DEADMAN, EE, HEARTBEAT, HOME, JOINTS, WRENCH, GuardLimits
from erl_vlm_ros.safety.envelope import Rejected, limit_rotation, limit_velocity
from erl_vlm_ros.safety.homing import within
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.limiter import Limiter
from erl_vlm_ros.safety.pose import PoseEstimate
from erl_vlm_ros.safety.stamps import StampGate
from erl_vlm_ros.safety.watchdog import ARMED, DISARMED, ESTOPPED, Watchdog

_STILL = (0.0, 0.0, 0.0)
_ZEROS_S = 1.0  # s of zeros after disarming; then the arm belongs to whoever drives it by hand


@dataclass(frozen=True)
class Motion:
    """What to send now: ``kind`` is "move", "joints", "stop" or "nothing". Velocities in m/s and rad/s.

    ``joints``: rad/s by name, for "joints"; linear and angular then say what the tool does. ``why``: what was
    changed in a motion, or why there is none.
    """

    kind: str
    linear: Vector = _STILL
    angular: Vector = _STILL
    joints: Mapping[str, float] | None = None
    why: str = ""


class GuardCore:
    """Watchdogs, envelope and limits of one arm. Starts disarmed."""

    def __init__(self, limits: GuardLimits) -> None:
        self.limits = limits
        limit = dict(limits.timeouts)
        self.watchdog = Watchdog(limit | ({HOME: limits.home_timeout_s} if limit else {}), locking={HEARTBEAT})
        self.linear = Limiter(limits.linear, limits.envelope.box(), limits.forbidden)
        self.angular = Limiter(limits.angular) if limits.angular is not None else None
        self.kinematics: Any = None  # the arm's, once it is known
        self.counts = dict.fromkeys(("passed", "limited", "rejected", "blocked"), 0)
        self.reasons: dict[str, int] = {}  # what was changed -> how often
        self.pose_problem = f"no {EE} yet"
        self.joint_problem = f"no {JOINTS} yet"
        self.positions: dict[str, float] = {}
        slowest = max([1.0, *limit.values()])
        self.pose = PoseEstimate(slowest)
        self._margin = limits.joints
        self._stamps = {source: StampGate(limit.get(source, slowest), limits.future_s) for source in (COMMAND, EE, JOINTS)}
        self._command: tuple[Vector, Vector] | None = None
        self._homing: Any = None
        self._zeros_until = -math.inf
        self._slots = 1

    # -- messages in

    def command(
        self, linear: Vector, angular: Vector, frame: str, stamp: int, clock: int, now: float
    ) -> str:
        """A velocity command. One that is refused is no sign of life, and does not replace the last one."""
        problem = self.judge(linear, angular, frame) or self._stamps[COMMAND].problem(stamp, clock)
        if problem:
            self.counts["rejected"] += 1
            return problem
        self._homing = None
        self._command = (linear, angular)
        self.watchdog.saw(COMMAND, self._made(stamp, clock, now))
        return ""

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
        elif self.limits.check_state_stamps:
            problem = self._with_source(EE, stamp, clock)
        self.pose_problem = problem
        if not problem:
            made = self._made(stamp, clock, now) if self.limits.check_state_stamps else now
            self.pose.saw(position, now - made, now)
            self.watchdog.saw(EE, made)
        return problem

    def saw_joints(self, positions: Mapping[str, float], stamp: int, clock: int, now: float) -> str:
        """Measured joint positions by name, rad."""
        problem = self._judge_joints(positions)
        if not problem and self.limits.check_state_stamps:
            problem = self._with_source(JOINTS, stamp, clock)
            self.joint_problem = problem
        if not problem:
            self.positions.update(positions)
            made = self._made(stamp, clock, now) if self.limits.check_state_stamps else now
            self.watchdog.saw(JOINTS, made)
        return problem

    def saw_camera(self, now: float) -> None:
        """An image arrived (or the camera_info that comes with each)."""
        self.watchdog.saw(CAMERA, now)

    def heartbeat(self, alive: bool, now: float) -> None:
        """A beat; one that says False latches the e-stop at once."""
        if alive:
            self.watchdog.saw(HEARTBEAT, now)
        else:
            self.watchdog.estop("heartbeat says stop")

    def joy(self, buttons: Sequence[int], now: float) -> None:
        """State of the joystick's buttons: the dead-man one must be pressed."""
        button = self.limits.deadman_button
        if button >= len(buttons):
            self.watchdog.hold(DEADMAN, f"the joystick has {len(buttons)} buttons, deadman_button is {button}")
        else:
            self.watchdog.hold(DEADMAN, "" if buttons[button] else "dead-man button not held")
        self.watchdog.saw(DEADMAN, now)

    def wrench(self, force: Vector, torque: Vector, now: float) -> None:
        """Measured force (N) and torque (Nm): too much latches the e-stop; what is no number is no sign of life."""
        if not all(map(math.isfinite, (*force, *torque))):
            return
        self.watchdog.saw(WRENCH, now)
        for value, most, text in (
            (math.hypot(*force), self.limits.max_force, "force {:.1f} N above max_force {:g} N"),
            (math.hypot(*torque), self.limits.max_torque, "torque {:.1f} Nm above max_torque {:g} Nm"),
        ):
            if most > 0 and value > most:
                self.watchdog.estop(text.format(value, most))

    def home(self, homing: Any, now: float) -> None:
        """Drive the joints home with ``homing.step``, until a command arrives or the request is not repeated."""
        if homing is not None:
            self._homing = homing
        self.watchdog.saw(HOME, now)

    # -- state

    @property
    def homing(self) -> Any:
        """The homing that is under way, or None."""
        return self._homing

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints that joint_states must hold: the parameter's and the URDF's."""
        known = () if self.kinematics is None else self.kinematics.joint_names
        return tuple(dict.fromkeys((*self.limits.joint_names, *known)))

    def adopt(self, kinematics: Any) -> None:
        """The arm's kinematics are known: from now on joint_states must hold its joints."""
        self.kinematics = kinematics
        if self.positions:
            self._judge_joints(self.positions)

    def arm(self, on: bool, now: float) -> tuple[bool, str]:
        """Arm or disarm; (done, message). Arming is refused when the arm cannot be guarded as it stands."""
        problem = arming.refusal(self, now) if on and self.watchdog.state != ESTOPPED else ""
        if problem:
            return False, problem
        if self.watchdog.state == ARMED and not on:
            self._zeros_until = math.inf  # until the stop is over
        self.forget()
        return self.watchdog.arm(on)

    def forget(self) -> None:
        """A command from before a change of state must not start a motion."""
        self._command = self._homing = None

    def margin(self) -> JointMargin | None:
        """The joint limits that are kept, or None: not asked for, or limits not known yet."""
        arm = self.kinematics
        if self._margin is None and self.limits.joint_margin > 0 and arm is not None:
            self._margin = JointMargin(arm.joint_names, arm.lower, arm.upper, self.limits.joint_margin)
        return self._margin

    # -- motion out

    def tick(self, now: float, slots: int = 1) -> Motion:
        """The motion for the next period. Call it once a period, and send what it says.

        ``slots``: periods since the last call, more than 1 when some were missed.
        """
        self._slots = slots
        if self._homing is not None:
            verdict = self.watchdog.verdict(now, without=(COMMAND,))
        else:
            verdict = self.watchdog.verdict(now, without=(HOME,))
        if not verdict.moving:
            self._homing = None
            self.counts["blocked"] += self.watchdog.state == ARMED
            return self._stop(verdict.reason, now)
        if self._homing is not None:
            return self._drive_home(now)
        if self._command is None:
            return self._stop(f"no {COMMAND} yet", now)
        linear, angular = self._command
        return self._move(linear, angular, now)

    def not_sent(self, now: float) -> None:
        """The adapter could not send the last motion: the arm is being stopped."""
        self._halt(now)

    def answer(self, linear: Vector, angular: Vector, frame: str, position: Vector) -> Motion:
        """Lock-step: the motion for one command at one measured position. Rejected: see `limit_velocity`."""
        limit_velocity(linear, position, frame, self.limits.envelope)
        return self._limit(linear, angular, position)

    def _move(self, linear: Vector, angular: Vector, now: float) -> Motion:
        motion = self._limit(linear, angular, self.pose.position(now))
        self.pose.sent(motion.linear, now)
        return motion

    def _limit(self, linear: Vector, angular: Vector, position: Vector) -> Motion:
        """All limits, in the order of docs/safety.md."""
        limited = limit_velocity(linear, position, self.limits.envelope.frame, self.limits.envelope)
        turned = limit_rotation(angular, self.limits.envelope)
        changed = [*limited.changed, *turned.changed]
        wish, turn = limited.velocity, turned.velocity
        margin = self.margin()
        if margin is not None:
            executed = (*self.linear.velocity, *(self.angular.velocity if self.angular else _STILL))
            factor, why = margin.limit((*wish, *turn), self.positions, executed, self.kinematics)
            if factor < 1.0:
                changed.append(why)
                wish, turn = _scaled(wish, factor), _scaled(turn, factor)
        step = self.linear.step(wish, position, self._slots)
        changed += step.changed
        if self.angular is not None:
            turn_step = self.angular.step(turn, slots=self._slots)
            turn = turn_step.velocity
            changed += [f"angular {what}" for what in turn_step.changed]
        return Motion("move", step.velocity, turn, why=self._limited(changed))

    def _drive_home(self, now: float) -> Motion:
        rates = self._homing.step(self.positions, self.limits.linear.dt)
        if rates is None:
            self._homing = None
            return self._stop("home reached", now)
        position = self.pose.position(now)
        twist = self.kinematics.jacobian(self.kinematics.vector(self.positions)) @ self.kinematics.vector(rates)
        linear = tuple(twist[:3].tolist())
        limited = limit_velocity(linear, position, self.limits.envelope.frame, self.limits.envelope)
        step = self.linear.step(limited.velocity, position, self._slots)
        factor = within(linear, step.velocity)
        if factor < 1.0 or step.velocity != linear:
            self.linear.sent(_scaled(linear, factor))
        self.pose.sent(self.linear.velocity, now)
        why = self._limited([*limited.changed, *step.changed] if factor < 1.0 else [])
        return Motion(
            "joints", self.linear.velocity, _scaled(tuple(twist[3:].tolist()), factor),
            {name: rate * factor for name, rate in rates.items()}, why,
        )  # fmt: skip

    def _stop(self, why: str, now: float) -> Motion:
        step = self.linear.stop(self._slots)
        turn = self.angular.stop(self._slots).velocity if self.angular is not None else _STILL
        self.pose.sent(step.velocity, now)
        if any(step.velocity) or any(turn):
            return Motion("move", step.velocity, turn, why=why)
        # Also at the very first tick: who was here before may have left the arm moving.
        if self.watchdog.state != DISARMED or abs(self._zeros_until) == math.inf:
            self._zeros_until = now + _ZEROS_S
        return Motion("stop" if now < self._zeros_until else "nothing", why=why)

    def _halt(self, now: float) -> None:
        self.linear.reset()
        if self.angular is not None:
            self.angular.reset()
        self.pose.sent(_STILL, now)

    def _limited(self, changed: Sequence[str]) -> str:
        self.counts["limited" if changed else "passed"] += 1
        for what in changed:
            self.reasons[what] = self.reasons.get(what, 0) + 1
        return "limited: " + ", ".join(dict.fromkeys(changed)) if changed else ""

    def _judge_joints(self, positions: Mapping[str, float]) -> str:
        self.joint_problem = arming.joint_problem(positions, self.joint_names)
        self.watchdog.hold(JOINTS, self.joint_problem)
        return self.joint_problem

    def _with_source(self, source: str, stamp: int, clock: int) -> str:
        problem = self._stamps[source].problem(stamp, clock)
        return f"{source}: {problem}" if problem else ""

    @staticmethod
    def _made(stamp: int, clock: int, now: float) -> float:
        """When a message was made, by our clock: what was long under way is no fresher than it says."""
        return now - max(0, clock - stamp) * 1e-9


def _scaled(vector: Vector, factor: float) -> Vector:
    return (vector[0] * factor, vector[1] * factor, vector[2] * factor)
