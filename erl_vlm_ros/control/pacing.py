# SPDX-License-Identifier: Apache-2.0
"""When the controller acts: in lock-step with a simulation, or at the control rate of real time. No ROS.

Lock-step: one command answers each observation set; a repeated stamp gets the same command again, and nothing moves
while no command comes. Real time: one control step a tick; while an image or a state is too old the arm is held still,
and no transition spans the gap.
"""

from __future__ import annotations

from typing import Any, Protocol

from erl_vlm_ros.control.episode_machine import EpisodeMachine
from erl_vlm_ros.control.ports import Clock, Command, Log, Observations, Outputs

_FIRST_FRAMES_S = 0.5  # after a reset the first frames are on their way: no warning


class Paced(Protocol):
    """What a pacing strategy asks of the controller core."""

    machine: EpisodeMachine
    observations: Observations
    out: Outputs
    clock: Clock
    log: Log
    holding: str  # why a running episode is held still; empty: it is not

    @property
    def suspended(self) -> bool:
        """Whether no command may be decided: paused, or an episode awaits its success label."""

    @property
    def awaits_label(self) -> bool:
        """Whether an evaluation episode is over and a person has yet to say how it went."""

    @property
    def teleoperated(self) -> bool:
        """Whether a person drives just now."""

    @property
    def episode_age_s(self) -> float:
        """Seconds since the episode began."""

    def frame(self, stamp: int, found: dict[str, Any], command_ns: int) -> None:
        """Act on one observation and record it; the command is stamped ``command_ns``."""

    def split(self) -> None:
        """Close what was recorded; the episode goes on as a new one."""

    def simulation_restarted(self) -> None:
        """The simulation's time went back: the running episode is lost."""


class LockStep:
    """The simulation waits for the command that answers its observation."""

    real_time = False

    def __init__(self) -> None:
        self._answered: tuple[int, Command] = (-1, ())  # stamp and the messages that answered it
        self._last_stamp = -1
        self._first_stamp = 0  # frames before it belong to the time before the reset
        self._held: tuple[int, dict[str, Any]] | None = None  # a set that came while no episode was running

    def observed(self, core: Paced, stamp: int, found: dict[str, Any]) -> None:
        """One complete observation set."""
        if core.suspended:
            return  # unanswered, it comes again
        if stamp == self._answered[0]:  # the simulation asks again
            core.out.send(self._answered[1])
            return
        if stamp < self._last_stamp:  # time never goes back within one run of the simulation
            self._last_stamp, self._answered = stamp, (-1, ())
            core.simulation_restarted()
            return
        if not core.machine.running:
            self._held = (stamp, found)
        self._last_stamp = stamp
        if core.machine.running and stamp >= self._first_stamp:
            core.frame(stamp, found, stamp)

    def tick(self, core: Paced) -> None:
        """Nothing: observations set the pace."""

    def episode_begins(self, core: Paced, stamp: int) -> None:
        """``stamp``: of the episode's first observation, ns; below 0: the reset does not tell."""
        self._first_stamp = self._last_stamp + 1 if stamp < 0 else stamp
        self._last_stamp = min(self._last_stamp, self._first_stamp - 1)

    def episode_began(self, core: Paced) -> None:
        """The machine runs now: answer the observation that came before."""
        held, self._held = self._held, None
        if held is not None:
            self.observed(core, *held)

    def commanded(self, stamp: int, command: Command) -> None:
        """The observation of ``stamp`` was answered."""
        self._answered = (stamp, command)

    def episode_closed(self) -> None:
        """What was answered belongs to the past."""
        self._answered = (-1, ())

    def hold(self, core: Paced) -> None:
        """Nothing: without an answer nothing moves."""

    def paused(self, core: Paced) -> None:
        """Nothing: without an answer nothing moves."""

    def resumed(self, core: Paced) -> None:
        """Nothing: the pending observation comes again."""


class RealTime:
    """One control step a tick of the control rate."""

    real_time = True

    def __init__(self) -> None:
        self._first_stamp = 0  # ns: what was seen before it belongs to the time before the reset, or the pause

    def observed(self, core: Paced, stamp: int, found: dict[str, Any]) -> None:
        """Nothing: ticks set the pace."""

    def tick(self, core: Paced) -> None:
        """One control step, or hold still."""
        if not core.machine.running:
            return
        if core.suspended:
            if not core.teleoperated:
                core.out.stand_still()
            return
        problem = core.observations.problem(self._first_stamp)
        core.holding = problem.partition(" is ")[0]
        if problem:
            if core.episode_age_s > _FIRST_FRAMES_S:
                core.log.warning(f"holding still: {problem}", throttle_duration_sec=1.0)
            if not core.teleoperated:
                core.out.stand_still()
            core.split()
            return
        stamp, found = core.observations.take()
        core.frame(stamp, found, core.clock.stamp())

    def episode_begins(self, core: Paced, stamp: int) -> None:
        """``stamp``: of the episode's first observation, ns; below 0: what is seen from now on."""
        self._first_stamp = core.clock.stamp() if stamp < 0 else stamp

    def episode_began(self, core: Paced) -> None:
        """Nothing: the next tick acts."""

    def commanded(self, stamp: int, command: Command) -> None:
        """Nothing: a command is in force until the next tick."""

    def episode_closed(self) -> None:
        """Nothing to forget."""

    def hold(self, core: Paced) -> None:
        """The last command would go on otherwise."""
        core.out.stand_still()

    def paused(self, core: Paced) -> None:
        """Stand still, which ends a motion home too; no transition spans the pause."""
        core.out.stand_still()
        if core.machine.running and not core.awaits_label:
            core.split()

    def resumed(self, core: Paced) -> None:
        """What was seen during the pause is not acted on."""
        self._first_stamp = max(self._first_stamp, core.clock.stamp())


Pacing = LockStep | RealTime


def make_pacing(lock_step: bool) -> Pacing:
    """The strategy for a graph in lock-step, or for one in real time."""
    return LockStep() if lock_step else RealTime()
