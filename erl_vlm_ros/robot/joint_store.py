# SPDX-License-Identifier: Apache-2.0
"""The newest state of each joint, from messages that hold any of them. Pure.

Arm and gripper often publish joint_states in messages of their own, with NaN for what is not homed yet and for
interfaces that do not exist. So every joint is kept by itself, with the age of its own measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

_MOST_JOINTS = 4096  # of a message: more is no robot, and would take long to read
_MOST_FOREIGN = 64  # names of other joints that are remembered for messages to people
_LARGEST = 1e6  # rad or m: a larger position is no measurement


class JointProblem(Enum):
    """Why a message was refused as a whole."""

    LENGTHS = "not one position for each name"
    TOO_MANY = "more joints than any robot has"
    DUPLICATE = "a joint stands in it twice"
    NOT_FINITE = "a position is not finite"
    OUT_OF_RANGE = "a position is larger than any joint's"
    STAMP_BACK = "its stamp is older than one that was accepted"


@dataclass(frozen=True)
class JointUpdate:
    """What became of a message. ``joints``: those that were taken, or those that ``problem`` is about."""

    joints: tuple[str, ...] = ()
    problem: JointProblem | None = None
    text: str = ""


@dataclass(frozen=True)
class JointSample:
    """One joint: rad, rad/s, Nm (m, m/s, N); nan for a velocity or effort that was not given.

    ``stamp_ns``: of its message. ``at``: monotonic s at which it was measured.
    """

    position: float
    velocity: float
    effort: float
    stamp_ns: int
    at: float


class JointStore:
    """Newest accepted sample of each of *our* joints; all joints are ours until some are named.

    A message is taken or refused as a whole as far as our joints go: half of an arm from one message and half from
    another would be a pose that it never had. Other joints are not looked at, whatever their values.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: tuple[str, ...] = ()
        self.foreign: tuple[str, ...] = ()  # other joints that were seen
        self._samples: dict[str, JointSample] = {}
        self.expect(names)

    def expect(self, names: Iterable[str]) -> None:
        """From now on these are ours; samples of others are dropped. No names: all that come."""
        self.names = tuple(dict.fromkeys(names))
        if self.names:
            others = [name for name in self._samples if name not in self.names]
            self._samples = {name: s for name, s in self._samples.items() if name in self.names}
            self._remember_foreign(others)

    def update(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float] = (),
        efforts: Sequence[float] = (),
        *,
        stamp_ns: int | None,
        at: float,
        clock_ns: int | None = None,
    ) -> JointUpdate:
        """Take a message, or say why not; then nothing of it is kept.

        Velocities and efforts count only where there is one for each name. ``stamp_ns`` None: stamps are not compared
        (and stand as 0). ``at``: monotonic s of the measurement. ``clock_ns``: our clock now; stamps that lie in its
        future belong to before it was set back and are not compared with.
        """
        if len(names) > _MOST_JOINTS:
            return _refused(JointProblem.TOO_MANY, (), f"{len(names)} joints")
        if len(names) != len(positions):
            return _refused(JointProblem.LENGTHS, (), f"{len(names)} names and {len(positions)} positions")
        index = self._ours(names, positions)
        seen = [names[i] for i in index]
        if len(set(seen)) != len(seen):
            twice = tuple(dict.fromkeys(name for name in seen if seen.count(name) > 1))
            return _refused(JointProblem.DUPLICATE, twice, f"{', '.join(twice)} twice")
        for problem, wrong in (
            (JointProblem.NOT_FINITE, [i for i in index if not math.isfinite(positions[i])]),
            (JointProblem.OUT_OF_RANGE, [i for i in index if abs(positions[i]) > _LARGEST]),
        ):
            if wrong:
                which = tuple(names[i] for i in wrong)
                return _refused(problem, which, ", ".join(f"{names[i]} = {positions[i]:g}" for i in wrong))
        if stamp_ns is not None:
            back = [name for name in seen if self._goes_back(name, stamp_ns, clock_ns)]
            if back:
                late = max(self._samples[name].stamp_ns for name in back) - stamp_ns
                return _refused(JointProblem.STAMP_BACK, tuple(back), f"stamp goes back by {late * 1e-9:.3f} s")
        for i in index:
            self._samples[names[i]] = JointSample(
                float(positions[i]), _entry(velocities, i, names), _entry(efforts, i, names), stamp_ns or 0, at
            )
        return JointUpdate(tuple(seen))

    def get(self, name: str) -> JointSample | None:
        """The newest sample of a joint, or None."""
        return self._samples.get(name)

    def positions(self) -> dict[str, float]:
        """Newest position of each of our joints that has one, rad or m."""
        return {name: sample.position for name, sample in self._samples.items()}

    def vector(self, names: Sequence[str], what: str = "position") -> np.ndarray:
        """float64 [len(names)] of ``position``, ``velocity`` or ``effort``. KeyError names a joint without a sample."""
        return np.array([getattr(self._samples[name], what) for name in names], dtype=np.float64)

    def missing(self, names: Sequence[str] | None = None) -> list[str]:
        """Joints of ``names`` (ours by default) that were never measured."""
        return [name for name in (self.names if names is None else names) if name not in self._samples]

    def stale(self, now: float, max_age_s: float, names: Sequence[str] | None = None) -> list[str]:
        """Joints of ``names`` (ours by default) whose measurement is older than ``max_age_s``, or missing."""
        asked = (self.names or tuple(self._samples)) if names is None else names
        return [name for name in asked if name not in self._samples or now - self._samples[name].at > max_age_s]

    def measured_at(self, names: Sequence[str] | None = None) -> float:
        """Monotonic s of the oldest of ``names`` (ours by default; the newest of all where none are named).

        -inf while one is missing.
        """
        asked = self.names if names is None else names
        if not asked:
            return max((sample.at for sample in self._samples.values()), default=-math.inf)
        return min((self._samples[n].at if n in self._samples else -math.inf) for n in asked)

    def oldest_stamp_ns(self, names: Sequence[str]) -> int:
        """Stamp of the oldest of ``names``. KeyError names a joint without a sample."""
        return min(self._samples[name].stamp_ns for name in names)

    def _ours(self, names: Sequence[str], positions: Sequence[float]) -> list[int]:
        if not self.names:
            finite = [i for i, value in enumerate(positions) if math.isfinite(value) and abs(value) <= _LARGEST]
            return list({names[i]: i for i in finite}.values())
        ours = set(self.names)
        index = [i for i, name in enumerate(names) if name in ours]
        if len(index) != len(names):
            self._remember_foreign(name for name in names if name not in ours)
        return index

    def _goes_back(self, name: str, stamp_ns: int, clock_ns: int | None) -> bool:
        last = self._samples.get(name)
        if last is None or last.stamp_ns <= stamp_ns:
            return False
        return clock_ns is None or last.stamp_ns <= clock_ns + 1_000_000_000

    def _remember_foreign(self, names: Iterable[str]) -> None:
        self.foreign = tuple(dict.fromkeys((*self.foreign, *names)))[:_MOST_FOREIGN]


def _refused(problem: JointProblem, joints: tuple[str, ...], text: str) -> JointUpdate:
    return JointUpdate(joints, problem, f"joint_states: {text} ({problem.value})")


def _entry(values: Sequence[float], i: int, names: Sequence[str]) -> float:
    return float(values[i]) if len(values) == len(names) else math.nan
