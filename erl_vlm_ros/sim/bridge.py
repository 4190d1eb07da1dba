# SPDX-License-Identifier: Apache-2.0
"""What sim_bridge does, without ROS: time, episodes, the lock-step handshake, and what is observed."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.control.command import STILL, ArmCommand, Vector
from erl_vlm_ros.sim.backend import SimBackend

_NS = 1_000_000_000


class BridgeCore:
    """Runs a simulated arm one control period at a time under a clock that never goes back, not even at a reset."""

    def __init__(self, arm: SimBackend, seed: int, start_s: int = 0):
        """Places the arm at the start of training episode 0, one period after ``start_s``."""
        self.arm, self.seed = arm, seed
        self.period_ns = round(arm.control_period * _NS)
        self.stamp = start_s * _NS + self.period_ns
        self.episode = 0
        self.episode_seed = self.training_seed(0)
        self.steps = 0  # since the reset
        self._fresh = True  # neither reset nor moved yet: the first reset starts episode 0
        arm.reset(self.episode_seed)

    def training_seed(self, index: int) -> int:
        """Seed of training episode ``index``; a function of the run's seed and the index alone."""
        return int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])

    def reset(self, episode_seed: int = -1, episode_index: int = -1, stamp: int | None = None) -> dict[str, int]:
        """Start an episode: from ``episode_seed`` if >= 0, else training episode ``episode_index``, or the
        next one.

        Returns stamp (ns, of the first observation), seed, and episode (-1 when a seed was given).
        """
        if episode_seed >= 0:
            index, seed = -1, episode_seed
        else:
            following = self.episode if self._fresh else self.episode + 1
            index = episode_index if episode_index >= 0 else following
            seed = self.training_seed(index)
            self.episode, self._fresh = index, False
        self.arm.reset(seed)
        self.episode_seed, self.steps = seed, 0
        self._advance(stamp)
        return {"stamp": self.stamp, "seed": seed, "episode": index}

    def step(self, command: ArmCommand, stamp: int | None = None) -> None:
        """Obey one command for one period. ``stamp``: time of the new state, for real time; never before the
        last.
        """
        self.arm.apply(np.array(command.linear), command.width, command.angular)
        self._fresh = False
        self.steps += 1
        self._advance(stamp)

    def _advance(self, stamp: int | None) -> None:
        self.stamp = self.stamp + self.period_ns if stamp is None else max(stamp, self.stamp + 1)


class LockStep:
    """Pairs commands with the pending observation. A twist and a width may arrive in either order, or
    twice.
    """

    def __init__(self, needs_gripper: bool):
        self._needs_gripper = needs_gripper
        self._twist: tuple[int, Vector, Vector] | None = None
        self._width: tuple[int, float] | None = None

    def twist(self, stamp: int, linear: Vector, angular: Vector = STILL) -> None:
        """A velocity that answers the observation of ``stamp``."""
        self._twist = (stamp, linear, angular)

    def width(self, stamp: int, width: float) -> None:
        """A gripper opening that answers the observation of ``stamp``."""
        self._width = (stamp, width)

    def answer(self, pending: int, hold_width: float) -> ArmCommand | None:
        """The complete command for the observation ``pending``, or None while a part is missing."""
        if self._twist is None or self._twist[0] != pending:
            return None
        if not self._needs_gripper:
            return ArmCommand(*self._twist[1:], hold_width)
        if self._width is None or self._width[0] != pending:
            return None
        return ArmCommand(*self._twist[1:], self._width[1])
