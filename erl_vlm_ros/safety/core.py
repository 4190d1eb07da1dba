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
from erl_vlm_ros.safety.config import COMMAND, HEARTBEAT, HOME, REPETITION, GuardLimits
from erl_vlm_ros.safety.envelope import Limited, limit_rotation, limit_velocity
from erl_vlm_ros.safety.faults import Fault, Halt, Refusal
from erl_vlm_ros.safety.homing import within
from erl_vlm_ros.safety.input_monitor import InputMonitor
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.limiter import Limiter
from erl_vlm_ros.safety.watchdog import ARMED, DISARMED, ESTOPPED, Verdict, Watchdog

_STILL = (0.0, 0.0, 0.0)
_SEEN_AFTER = 2  # periods until a command that the tool does not follow is seen in its pose
_ZEROS_S = 1.0  # s of zeros after disarming; then the arm may be moved by hand


@dataclass(frozen=True)
class Motion:
    """What to send now: ``kind`` is "move", "joints", "stop" or "nothing". Velocities in m/s and rad/s.

    ``joints``: rad/s by name, for "joints"; linear and angular then say what the tool does. ``why``: what was
    changed in a motion, or why there is none, in words; ``limited``: the names of what changed it; ``halt`` and
    ``source``: why nothing new passes, see Verdict.
    """

    kind: str
    linear: Vector = _STILL
    angular: Vector = _STILL
    joints: Mapping[str, float] | None = None
    why: str = ""
    limited: tuple[str, ...] = ()
    halt: Halt | None = None
    source: str = ""


class GuardCore:
    """Watchdogs, envelope and limits of one arm. Starts disarmed."""

    def __init__(self, limits: GuardLimits) -> None:
        self.limits = limits
        limit = dict(limits.timeouts)
        self.watchdog = Watchdog(limit | ({HOME: limits.home_timeout_s} if limit else {}), locking={HEARTBEAT})
        self.linear = Limiter(limits.linear, limits.envelope.box(), limits.forbidden)
        self.angular = Limiter(limits.angular) if limits.angular is not None else None
        self.inputs = InputMonitor(limits, self.watchdog)
        self.counts = dict.fromkeys(("passed", "limited", "rejected", "blocked"), 0)
        self.reasons: dict[str, int] = {}  # what was changed -> how often
        self._margin = limits.joints
        self._home_turn = Limiter(limits.home_turn)  # of the tool on the way home, until it has come to rest
        self._command: tuple[Vector, Vector] | None = None
        self._stamp: int | None = None  # of the command, ns
        self._homing: Any = None
        self._braking = False  # to a stand, before the way home begins
        self._zeros_until = -math.inf
        self._periods = 1

    # -- messages in

    def command(self, linear: Vector, angular: Vector, frame: str, stamp: int, clock: int, now: float) -> str:
        """A velocity command. One that is refused does not replace the last one; returns why, or nothing.

        A repetition (the same stamp) is a sign of life and nothing more.
        """
        problem = self.inputs.update_command(linear, angular, frame, stamp, clock, now)
        if problem:
            self.counts["rejected"] += 1
        elif stamp != self._stamp:
            self._stamp = stamp
            self._homing = None
            self._command = (linear, angular)
        return problem

    def home(self, homing: Any, now: float) -> str:
        """Drive the joints home with ``homing.step``, until a command arrives or the request is not repeated.

        ``homing`` None: the request is repeated. Returns why not: the target does not keep the joint margin.
        """
        if homing is not None:
            margin, names = self.margin(), homing.kinematics.joint_names
            problem = margin.problem(dict(zip(names, homing.target))) if margin is not None else ""
            if problem:
                return f"home position: {problem}"
            self._homing, self._braking = homing, True
        self.watchdog.saw(HOME, now)
        return ""

    def fault(self, fault: Fault, text: str) -> None:
        """Latch a stop, within the limits; moving again takes a person: clear_estop, then arm."""
        self.watchdog.estop(f"{fault.value}: {text}", fault)
        self.forget()

    def permission(self, now: float) -> Verdict:
        """Whether anything may move now. On the way home commands may be silent, otherwise home requests may."""
        without = (COMMAND, REPETITION) if self._homing is not None else (HOME,)
        return self.watchdog.verdict(now, without=without)

    # -- state

    @property
    def homing(self) -> Any:
        """The homing that is under way, or None."""
        return self._homing

    @property
    def turning_home(self) -> bool:
        """Whether the tool still turns as the way home had it turn."""
        return any(self._home_turn.velocity)

    def arm(self, on: bool, now: float, why: str = "") -> Refusal | None:
        """Arm or disarm; None: done. Arming is refused when the arm cannot be guarded as it stands.

        ``why``: the reason of a disarming that was not asked for.
        """
        if on and self.watchdog.state != ESTOPPED:
            refusal = arming.refusal(self.limits, self.inputs, self.watchdog, self.margin(), now)
            if refusal is not None:
                return refusal
        if self.watchdog.state == ARMED and not on:
            self._zeros_until = math.inf  # until the stop is over
        self.forget()
        self.inputs.tracking_error.reset()
        return self.watchdog.arm(on, why)

    def disarm(self, reason: str, now: float) -> None:
        """Disarm by ourselves for ``reason``, which is kept for people to read."""
        if self.watchdog.state == ARMED:
            self.arm(False, now, reason)

    def forget(self) -> None:
        """A command from before a change of state must not start a motion."""
        self._command = self._homing = None

    def margin(self) -> JointMargin | None:
        """The joint limits that are kept, or None: not asked for, or limits not known yet."""
        arm = self.inputs.kinematics
        if self._margin is None and self.limits.joint_margin > 0 and arm is not None:
            self._margin = JointMargin(arm.joint_names, arm.lower, arm.upper, self.limits.joint_margin)
        return self._margin

    # -- motion out

    def tick(self, now: float, periods: int = 1) -> Motion:
        """The motion for the next period. Call it once a period, and send what it says.

        ``periods``: periods since the last call, more than 1 when some were missed.
        """
        self._periods = periods
        disagreement = self.inputs.pose_check.problem(now)
        if disagreement and self.watchdog.state == ARMED:
            self.fault(Fault.POSE_MISMATCH, disagreement)
        verdict = self.permission(now)
        if not verdict.moving:
            self._homing = None
            self.counts["blocked"] += self.watchdog.state == ARMED
            return self._stop(self.inputs.explained(verdict), now)
        if self._homing is not None:
            return self._drive_home(now)
        if self._command is None:
            return self._stop(Verdict(False, f"no {COMMAND} yet", Halt.NO_COMMAND), now)
        linear, angular = self._command
        return self._move(linear, angular, now)

    def not_sent(self, now: float) -> None:
        """The adapter could not send the last motion: the arm is being stopped."""
        self._halt(now)

    def slowed(self, motion: Motion, share: float, now: float) -> None:
        """The adapter passed on no more than ``share`` of the motion's speed: what it kept back holds nothing up."""
        self.inputs.pose.sent(_scaled(motion.linear, share), now)

    def answer(self, linear: Vector, angular: Vector, frame: str, position: Vector) -> Motion:
        """Lock-step: the motion for one command at one measured position. Rejected: see `limit_velocity`."""
        limit_velocity(linear, position, frame, self.limits.envelope)
        return self._limit(linear, angular, position)

    def _move(self, linear: Vector, angular: Vector, now: float) -> Motion:
        motion = self._limit(linear, angular, self.inputs.pose.position(now))
        self.inputs.pose.sent(motion.linear, now)
        return motion

    def _limit(self, linear: Vector, angular: Vector, position: Vector) -> Motion:
        """All limits, in the order of docs/safety.md."""
        limited = self._where_to(linear, position)
        turned = limit_rotation(angular, self.limits.envelope)
        changed = [*limited.changed, *turned.changed]
        desired, turn = limited.velocity, turned.velocity
        margin = self.margin()
        if margin is not None:
            executed = (*self.linear.velocity, *self._turn())
            factor, why = margin.limit((*desired, *turn), self.inputs.positions, executed, self.inputs.kinematics)
            if factor < 1.0:
                changed.append(why)
                desired, turn = _scaled(desired, factor), _scaled(turn, factor)
        step = self.linear.step(desired, position, self._periods)
        changed += step.changed
        if self.turning_home:  # whatever is commanded, that comes to rest first
            turn = self._stop_turning()
            changed.append("end of the way home")
        elif self.angular is not None:
            turn_step = self.angular.step(turn, periods=self._periods)
            turn = turn_step.velocity
            changed += [f"angular {what}" for what in turn_step.changed]
        limited = self._limited(changed)
        return Motion("move", step.velocity, turn, why=_in_words(limited), limited=limited)

    def _where_to(self, linear: Vector, position: Vector) -> Limited:
        """Speed, step, box, tracking error: the tool and the place that commands lead to both stay in the box."""
        envelope, error = self.limits.envelope, self.inputs.tracking_error
        pushed = error.limit(linear, _SEEN_AFTER * self.limits.linear.dt)
        limited = limit_velocity(pushed, position, envelope.frame, envelope)
        ahead = (position[0] + error.vector[0], position[1] + error.vector[1], position[2] + error.vector[2])
        inside = limit_velocity(limited.velocity, ahead, envelope.frame, envelope)
        held_up = pushed != linear or inside.changed
        return Limited(inside.velocity, (*limited.changed, "tracking error") if held_up else limited.changed)

    def _drive_home(self, now: float) -> Motion:
        if self._braking:
            # The joints' way begins at a stand: what the tool does now ends within the limits first.
            if not self.linear.still or self.turning_home or (self.angular is not None and not self.angular.still):
                motion = self._stop(Verdict(False, "stopping before the way home", Halt.BEFORE_HOME), now)
                if motion.kind == "move":
                    return motion
            self._braking = False
        arm, positions = self.inputs.kinematics, self.inputs.positions
        rates = self._homing.step(positions, self.limits.linear.dt)
        if rates is None:
            self._homing = None
            return self._stop(Verdict(False, "home reached", Halt.HOME), now)
        position = self.inputs.pose.position(now)
        twist = arm.jacobian(arm.vector(positions)) @ arm.vector(rates)
        linear, turn = tuple(twist[:3].tolist()), tuple(twist[3:].tolist())
        # Without the tracking error: the way home knows no other direction, and one that is blocked would stay so.
        limited = limit_velocity(linear, position, self.limits.envelope.frame, self.limits.envelope)
        step = self.linear.step(limited.velocity, position, self._periods)
        # Just below the limit: a norm of the limit itself may be above it by a rounding.
        slowed = min(1.0, (1.0 - 1e-9) * self._home_turn.dynamics.max_speed / max(math.hypot(*turn), 1e-12))
        turned = self._home_turn.step(_scaled(turn, slowed), periods=self._periods)
        factor = min(within(linear, step.velocity), within(turn, turned.velocity))
        if factor < 1.0 or step.velocity != linear:
            self.linear.sent(_scaled(linear, factor))
            self._home_turn.sent(_scaled(turn, factor))
            self._homing.moved(factor * max(map(abs, rates.values())))
        self.inputs.pose.sent(self.linear.velocity, now)
        changed = [*limited.changed, *step.changed, *(f"angular {what}" for what in turned.changed)]
        held = self._limited(changed if factor < 1.0 else [])
        return Motion(
            "joints", self.linear.velocity, _scaled(turn, factor),
            {name: rate * factor for name, rate in rates.items()}, _in_words(held), held,
        )  # fmt: skip

    def _stop(self, verdict: Verdict, now: float) -> Motion:
        step = self.linear.stop(self._periods)
        turn = self._stop_turning()
        self.inputs.pose.sent(step.velocity, now)
        if any(step.velocity) or any(turn):
            return Motion("move", step.velocity, turn, why=verdict.reason, halt=verdict.halt, source=verdict.source)
        # Also at the very first tick: who was here before may have left the arm moving.
        if self.watchdog.state != DISARMED or abs(self._zeros_until) == math.inf:
            self._zeros_until = now + _ZEROS_S
        kind = "stop" if now < self._zeros_until else "nothing"
        return Motion(kind, why=verdict.reason, halt=verdict.halt, source=verdict.source)

    def _halt(self, now: float) -> None:
        self.linear.reset()
        self._home_turn.reset()
        if self.angular is not None:
            self.angular.reset()
        self.inputs.pose.sent(_STILL, now)

    def _turn(self) -> Vector:
        """rad/s, as sent last."""
        if self.turning_home:
            return self._home_turn.velocity
        return self.angular.velocity if self.angular is not None else _STILL

    def _stop_turning(self) -> Vector:
        """The next step to a stand, rad/s."""
        if self.turning_home:
            return self._home_turn.stop(self._periods).velocity
        return self.angular.stop(self._periods).velocity if self.angular is not None else _STILL

    def _limited(self, changed: Sequence[str]) -> tuple[str, ...]:
        self.counts["limited" if changed else "passed"] += 1
        for what in changed:
            self.reasons[what] = self.reasons.get(what, 0) + 1
        return tuple(dict.fromkeys(changed))


def _in_words(limited: tuple[str, ...]) -> str:
    return "limited: " + ", ".join(limited) if limited else ""


def _scaled(vector: Vector, factor: float) -> Vector:
    return (vector[0] * factor, vector[1] * factor, vector[2] * factor)
