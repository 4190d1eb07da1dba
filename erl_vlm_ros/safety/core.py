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
from erl_vlm_ros.safety.homing import within
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.limiter import Limiter
from erl_vlm_ros.safety.senses import Senses
from erl_vlm_ros.safety.watchdog import ARMED, DISARMED, ESTOPPED, Watchdog

_STILL = (0.0, 0.0, 0.0)
_SEEN_AFTER = 2  # periods until a command that the tool does not follow is seen in its pose
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
        self.senses = Senses(limits, self.watchdog)
        self.counts = dict.fromkeys(("passed", "limited", "rejected", "blocked"), 0)
        self.reasons: dict[str, int] = {}  # what was changed -> how often
        self._margin = limits.joints
        self._command: tuple[Vector, Vector] | None = None
        self._stamp: int | None = None  # of the command, ns
        self._homing: Any = None
        self._zeros_until = -math.inf
        self._slots = 1

    # -- messages in

    def command(self, linear: Vector, angular: Vector, frame: str, stamp: int, clock: int, now: float) -> str:
        """A velocity command. One that is refused does not replace the last one; returns why, or nothing.

        A repetition (the same stamp) is a sign of life and nothing more.
        """
        problem = self.senses.saw_command(linear, angular, frame, stamp, clock, now)
        if problem:
            self.counts["rejected"] += 1
        elif stamp != self._stamp:
            self._stamp = stamp
            self._homing = None
            self._command = (linear, angular)
        return problem

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

    def arm(self, on: bool, now: float) -> tuple[bool, str]:
        """Arm or disarm; (done, message). Arming is refused when the arm cannot be guarded as it stands."""
        problem = arming.refusal(self, now) if on and self.watchdog.state != ESTOPPED else ""
        if problem:
            return False, problem
        if self.watchdog.state == ARMED and not on:
            self._zeros_until = math.inf  # until the stop is over
        self.forget()
        self.senses.lead.reset()
        return self.watchdog.arm(on)

    def forget(self) -> None:
        """A command from before a change of state must not start a motion."""
        self._command = self._homing = None

    def margin(self) -> JointMargin | None:
        """The joint limits that are kept, or None: not asked for, or limits not known yet."""
        arm = self.senses.kinematics
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
            verdict = self.watchdog.verdict(now, without=(COMMAND, REPETITION))
        else:
            verdict = self.watchdog.verdict(now, without=(HOME,))
        if not verdict.moving:
            self._homing = None
            self.counts["blocked"] += self.watchdog.state == ARMED
            return self._stop(self.senses.explained(verdict.reason), now)
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
        motion = self._limit(linear, angular, self.senses.pose.position(now))
        self.senses.pose.sent(motion.linear, now)
        return motion

    def _limit(self, linear: Vector, angular: Vector, position: Vector) -> Motion:
        """All limits, in the order of docs/safety.md."""
        limited = self._where_to(linear, position)
        turned = limit_rotation(angular, self.limits.envelope)
        changed = [*limited.changed, *turned.changed]
        wish, turn = limited.velocity, turned.velocity
        margin = self.margin()
        if margin is not None:
            executed = (*self.linear.velocity, *(self.angular.velocity if self.angular else _STILL))
            factor, why = margin.limit((*wish, *turn), self.senses.positions, executed, self.senses.kinematics)
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

    def _where_to(self, linear: Vector, position: Vector) -> Limited:
        """Speed, step, box and lead: the tool and the place that the commands lead to both stay in the box."""
        envelope, lead = self.limits.envelope, self.senses.lead
        pushed = lead.limit(linear, _SEEN_AFTER * self.limits.linear.dt)
        limited = limit_velocity(pushed, position, envelope.frame, envelope)
        ahead = (position[0] + lead.vector[0], position[1] + lead.vector[1], position[2] + lead.vector[2])
        inside = limit_velocity(limited.velocity, ahead, envelope.frame, envelope)
        held_up = pushed != linear or inside.changed
        return Limited(inside.velocity, (*limited.changed, "lead") if held_up else limited.changed)

    def _drive_home(self, now: float) -> Motion:
        arm, positions = self.senses.kinematics, self.senses.positions
        rates = self._homing.step(positions, self.limits.linear.dt)
        if rates is None:
            self._homing = None
            return self._stop("home reached", now)
        position = self.senses.pose.position(now)
        twist = arm.jacobian(arm.vector(positions)) @ arm.vector(rates)
        linear = tuple(twist[:3].tolist())
        # Without the lead: the way home knows no other direction, and one that is blocked would stay so.
        limited = limit_velocity(linear, position, self.limits.envelope.frame, self.limits.envelope)
        step = self.linear.step(limited.velocity, position, self._slots)
        factor = within(linear, step.velocity)
        if factor < 1.0 or step.velocity != linear:
            self.linear.sent(_scaled(linear, factor))
        self.senses.pose.sent(self.linear.velocity, now)
        why = self._limited([*limited.changed, *step.changed] if factor < 1.0 else [])
        return Motion(
            "joints", self.linear.velocity, _scaled(tuple(twist[3:].tolist()), factor),
            {name: rate * factor for name, rate in rates.items()}, why,
        )  # fmt: skip

    def _stop(self, why: str, now: float) -> Motion:
        step = self.linear.stop(self._slots)
        turn = self.angular.stop(self._slots).velocity if self.angular is not None else _STILL
        self.senses.pose.sent(step.velocity, now)
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
        self.senses.pose.sent(_STILL, now)

    def _limited(self, changed: Sequence[str]) -> str:
        self.counts["limited" if changed else "passed"] += 1
        for what in changed:
            self.reasons[what] = self.reasons.get(what, 0) + 1
        return "limited: " + ", ".join(dict.fromkeys(changed)) if changed else ""


def _scaled(vector: Vector, factor: float) -> Vector:
    return (vector[0] * factor, vector[1] * factor, vector[2] * factor)
