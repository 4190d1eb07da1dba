# SPDX-License-Identifier: Apache-2.0
"""A demonstrator of any skill in simulation: the scripted expert with disturbances, in place of a person."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.sim.metaworld_expert import MetaWorldExpert, MetaWorldState
from erl_vlm_ros.sim.oracle import Oracle
from erl_vlm_ros.sim.state import SimState

_KEPT = 0.8  # of the disturbance, from step to step
_BURST = 0.1  # largest share of steps on which a way elsewhere begins
_BURST_STEPS = 8
_REST_STEPS = (3, 10)
_LEAST_SKILLED = 0.7  # noise
_ROUGH = (0.05, 0.2, 0.4)  # noise of people who are no experts


def disturbance(share: float | np.ndarray) -> float | np.ndarray:
    """Noise of a demonstrator at ``share`` of the way from the expert, 0, to the least skilled, 1."""
    return _LEAST_SKILLED * share**2


class Demonstrator:
    """Drives one episode. ``noise``: 0 (the expert) to 1 (hardly anything of it): correlated disturbance of the
    commands, and now and then a way to somewhere else. ``speed``: share of full speed; ``pauses``: chance per step of
    a rest of a few steps."""

    def __init__(self, task: Task, noise: float, rng: np.random.Generator, speed: float = 1.0, pauses: float = 0.0):
        """ConfigError: no expert knows the task."""
        self._task, self._noise, self._rng, self._speed, self._pauses = task, noise, rng, speed, pauses
        of_metaworld = task.world == "metaworld"
        self._expert = MetaWorldExpert(task) if of_metaworld else Oracle(task.name, task.linear_speed, persistent=True)
        self._drift: np.ndarray | None = None
        self._elsewhere, self._left, self._rest = np.zeros(3), 0, 0

    def act(self, state: SimState | MetaWorldState, action_size: int) -> np.ndarray:
        """Action float32 [A] in [-1, 1]."""
        action = self._expert.action(state, action_size)
        if self._left == 0 and self._rng.random() < _BURST * self._noise:
            low, high = np.array(self._task.workspace_min), np.array(self._task.workspace_max)
            self._elsewhere, self._left = self._rng.uniform(low, high), _BURST_STEPS
        if self._left:
            self._left -= 1
            action[:3] = np.clip(6.0 * (self._elsewhere - state.ee_position) / self._task.linear_speed, -1, 1)
        drift = np.zeros(action_size) if self._drift is None else self._drift
        self._drift = _KEPT * drift + np.sqrt(1 - _KEPT**2) * self._rng.normal(0.0, self._noise, len(drift))
        action = np.clip(action + self._drift, -1.0, 1.0).astype(np.float32)
        action[:3] *= self._speed
        if self._rest == 0 and self._pauses > 0 and self._rng.random() < self._pauses:
            self._rest = int(self._rng.integers(*_REST_STEPS, endpoint=True))
        if self._rest:
            self._rest -= 1
            action[:3] = 0.0
        return action


class GridDemonstrator:
    """Drives one episode of a world of choices: its own shortest way, and with the share ``noise`` any other action."""

    def __init__(self, noise: float, rng: np.random.Generator):
        self._noise, self._rng = noise, rng

    def act(self, state: int, action_size: int) -> np.ndarray:
        """One-hot action float32 [K] from ``advice`` of the world."""
        chosen = self._rng.integers(action_size) if self._rng.random() < self._noise else state
        return np.eye(action_size, dtype=np.float32)[chosen]


def rough_demonstrator(
    task: Task, seed: int, index: int, noise: float | None = None
) -> Demonstrator | GridDemonstrator:
    """The demonstrator of episode ``index`` of the run of ``seed``; the same drive alike. ``noise``: None: one of three
    skills."""
    rng = np.random.default_rng([seed, index, 7])
    skill = float(rng.choice(_ROUGH))
    noise = skill if noise is None else noise
    return GridDemonstrator(noise, rng) if task.world == "minigrid" else Demonstrator(task, noise, rng)
