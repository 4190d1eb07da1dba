# SPDX-License-Identifier: Apache-2.0
"""Velocity commands under limits of acceleration and jerk that can always still stop inside the allowed space.

Before a step is taken, the full stop that would follow it is computed (`braking.sweep`). The step is taken only if
that stop, too, stays below the top speed, inside the workspace and clear of every forbidden box; otherwise a
weaker step is tried, and the last resort is the next step of the stop that was already found good. So the promise
holds by induction, whatever is commanded.

Steps belong to periods of a fixed grid of time. A step that misses its period is left out, and the next one brakes by
as many steps as there were periods. What the tool goes further meanwhile is at most its velocity times the longest
time between two commands, for the velocities only fall while it brakes; that much room is kept in addition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.safety.boxes import Box, Vector
from erl_vlm_ros.safety.braking import stop_steps, sweep, towards

_AXES = (0, 1, 2)
_STILL = (0.0, 0.0, 0.0)
_MARGIN = 1e-9  # m kept from every face, so that rounding never crosses it
_BISECTIONS = 6  # of the interval in which the strongest allowed velocity is looked for
_ONE_OR_TWO = (((0,), (1,), (2,)), ((0, 1), (0, 2), (1, 2)))


@dataclass(frozen=True)
class Dynamics:
    """Limits of one kind of motion (linear: m, angular: rad), as norms. 0 acceleration or jerk: not limited.

    ``dt``: s between two commands. ``hold_s``: how long a command may be obeyed before the next one is.
    """

    max_speed: float
    max_acceleration: float
    max_jerk: float
    dt: float
    hold_s: float

    def __post_init__(self) -> None:
        for name in ("max_speed", "dt", "hold_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be a positive number", parameter=f"safety_guard.{name}"
                )
        for name in ("max_acceleration", "max_jerk"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be a number >= 0 (0: not limited)",
                    parameter=f"safety_guard.{name}",
                )

    @property
    def limited(self) -> bool:
        """Whether acceleration or jerk is limited at all."""
        return self.max_acceleration > 0 or self.max_jerk > 0

    @property
    def axis_acceleration(self) -> float:
        """What each axis may use: the three together then keep the norm. Infinite: not limited."""
        return self.max_acceleration / math.sqrt(3) * (1 - 1e-9) if self.max_acceleration > 0 else math.inf

    @property
    def axis_change(self) -> float:
        """Largest change of acceleration of an axis in a step. Infinite: not limited."""
        return self.max_jerk * self.dt / math.sqrt(3) * (1 - 1e-9) if self.max_jerk > 0 else math.inf

    def longest_stop_s(self, enough_s: float = 10.0) -> float:
        """Longest time from the reason to stop to standing still: the reason is seen within a step, and that step is
        the first of the stop. One step when nothing is limited. Counted no further than ``enough_s``."""
        if not self.limited:
            return self.dt
        enough = int(enough_s / self.dt) + 2
        return stop_steps(self.max_speed, self.dt, self.axis_acceleration, self.axis_change, enough) * self.dt


@dataclass(frozen=True)
class Step:
    """A velocity that may be sent now, and what kept it from being the desired one: "acceleration", "box", ..."""

    velocity: Vector
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Plan:
    velocity: Vector
    acceleration: Vector
    low: Vector  # displacement, m
    high: Vector
    peak: float  # norm of the axes' fastest velocities


class Limiter:
    """Keeps velocity and acceleration from step to step. No clock: the caller sends one step every ``dt`` s."""

    def __init__(self, dynamics: Dynamics, box: Box | None = None, forbidden: Sequence[Box] = ()) -> None:
        self.dynamics, self.box, self.forbidden = dynamics, box, tuple(forbidden)
        self.velocity: Vector = _STILL  # m/s, sent last
        self.acceleration: Vector = _STILL
        self._most, self._change = dynamics.axis_acceleration, dynamics.axis_change
        # Without limits the velocity can be cut to what the hold time permits at every step.
        self._spare = dynamics.hold_s if dynamics.limited else max(0.0, dynamics.hold_s - dynamics.dt)
        self._periods = 1

    @property
    def still(self) -> bool:
        """Whether the last step was zero and the next one may be."""
        return self.velocity == _STILL and self.acceleration == _STILL

    def reset(self) -> None:
        """The arm stands still for a reason of its own: forget the motion."""
        self.velocity = self.acceleration = _STILL

    def sent(self, velocity: Vector) -> None:
        """Something slower than the last step was sent in its place."""
        self.velocity = velocity
        self.acceleration = _STILL

    def stop(self, periods: int = 1) -> Step:
        """The next step of the stop. Needs no position: the way was found free when the last step was taken."""
        self._periods = periods
        if self.dynamics.limited:
            plan = self._plan(_STILL)
            self.velocity, self.acceleration = plan.velocity, plan.acceleration
        else:
            self.reset()
        return Step(self.velocity)

    def step(self, desired: Vector, position: Sequence[float] = _STILL, periods: int = 1) -> Step:
        """The step nearest to ``desired``, which must be finite and no faster than the top speed.

        ``position`` is where the tool is now; without a box and forbidden boxes it is not looked at. ``periods``:
        periods since the last step, more than 1 when some were missed.
        """
        self._periods = periods
        if not self.dynamics.limited and not self.forbidden:
            self.velocity = desired
            return Step(desired)
        changed: list[str] = []
        plan = self._plan(desired)
        if self.dynamics.limited and plan.velocity != desired:
            changed.append("acceleration")
        if self.box is not None:
            inside = self._into_the_box(desired, position)
            if inside != desired:
                plan, desired = self._plan(inside), inside
                changed.append("box")
        problem = self._problem(plan, position)
        if problem:
            changed.append(problem)
            plan = self._weaker(desired, position)
        self.velocity, self.acceleration = plan.velocity, plan.acceleration
        return Step(plan.velocity, tuple(changed))

    # -- which step

    def _axis(self, axis: int, target: float) -> tuple[float, float, float, float, float, float]:
        """velocity, acceleration, lowest and highest displacement, lowest and highest velocity of the stop."""
        dt, spare = self.dynamics.dt, self._spare
        if self.dynamics.limited:
            v, a = self.velocity[axis], self.acceleration[axis]
            for _ in range(self._periods if target == 0.0 else 1):
                v, a = towards(v, a, target, dt, self._most, self._change)
            low, high, slow, fast = sweep(v, a, dt, self._most, self._change)
        else:
            v, a = target, 0.0
            low, high, slow, fast = min(0.0, v * dt), max(0.0, v * dt), min(0.0, v), max(0.0, v)
        # A late next step keeps a velocity for longer: at worst the fastest one for all the spare time.
        return v, a, low + slow * spare, high + fast * spare, slow, fast

    def _plan(self, desired: Vector) -> _Plan:
        rows = [self._axis(axis, desired[axis]) for axis in _AXES]
        peaks = [max(-row[4], row[5]) for row in rows]
        velocity, acceleration, low, high = ((rows[0][k], rows[1][k], rows[2][k]) for k in range(4))
        return _Plan(velocity, acceleration, low, high, math.hypot(*peaks))

    def _into_the_box(self, desired: Vector, position: Sequence[float]) -> Vector:
        """Each axis is its own matter: the strongest velocity whose stop stays between the two faces."""
        out = []
        for axis in _AXES:
            most = desired[axis]
            if not self._axis_fits(axis, most, position[axis]):
                good, bad = 0.0, 1.0
                for _ in range(_BISECTIONS):
                    middle = 0.5 * (good + bad)
                    if self._axis_fits(axis, most * middle, position[axis]):
                        good = middle
                    else:
                        bad = middle
                most *= good
            out.append(most)
        return (out[0], out[1], out[2])

    def _axis_fits(self, axis: int, target: float, at: float) -> bool:
        _, _, low, high, _, _ = self._axis(axis, target)
        # From outside: not further out than it is now.
        floor, ceiling = min(self.box.low[axis] + _MARGIN, at), max(self.box.high[axis] - _MARGIN, at)
        return at + low >= floor and at + high <= ceiling

    def _problem(self, plan: _Plan, position: Sequence[float]) -> str:
        """Why a plan must not be taken; empty: it may be."""
        if plan.peak > self.dynamics.max_speed:
            return "speed"
        if not self.forbidden:
            return ""
        low = [p + d for p, d in zip(position, plan.low)]
        high = [p + d for p, d in zip(position, plan.high)]
        for box in self.forbidden:
            if box.intersects(low, high, _MARGIN) and not self._leaves(box, plan, position):
                return box.name
        return ""

    @staticmethod
    def _leaves(box: Box, plan: _Plan, position: Sequence[float]) -> bool:
        """From inside a forbidden box only straight out through its nearest face is allowed."""
        if not box.intersects(position, position):
            return False
        out, side = box.nearest_face(position)
        if side > 0:
            straight = plan.low[out] >= 0.0
        else:
            straight = plan.high[out] <= 0.0
        return straight and all(plan.low[axis] == 0.0 == plan.high[axis] for axis in _AXES if axis != out)

    def _weaker(self, desired: Vector, position: Sequence[float]) -> _Plan:
        """Along an obstacle if one or two axes alone can clear it, else slower, else the stop."""
        if self.forbidden:
            for some in _ONE_OR_TWO:
                plans = [self._strongest(desired, axes, position) for axes in some]
                plans = [plan for plan in plans if plan is not None and any(plan.velocity)]
                if plans:
                    return max(plans, key=lambda plan: sum(a * b for a, b in zip(plan.velocity, desired)))
        return self._strongest(desired, _AXES, position) or self._plan(_STILL)

    def _strongest(self, desired: Vector, axes: tuple[int, ...], position: Sequence[float]) -> _Plan | None:
        """The plan with the velocity of ``axes`` scaled down as little as it takes; None: even zero is too much."""
        best, good, bad = None, 0.0, 1.0
        middle = 0.0
        for _ in range(_BISECTIONS):
            plan = self._plan(tuple(desired[i] * middle if i in axes else desired[i] for i in _AXES))
            if self._problem(plan, position):
                if best is None:
                    return None
                bad = middle
            else:
                best, good = plan, middle
            middle = 0.5 * (good + bad)
        return best
