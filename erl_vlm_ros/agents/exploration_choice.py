# SPDX-License-Identifier: Apache-2.0
"""How discrete actions are chosen while data are collected: any move at first, then the actor with bursts of any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from erl_vlm_ros.agents.exploration import Actor, ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.choices import Moves, is_choice
from erl_vlm_ros.data.spaces import Spaces


class ChoicePolicy:
    """RolloutPolicy for a choice. Of the configuration it knows ``prefix_*`` and ``burst_*``; there are no waypoints,
    and no places to be near."""

    def __init__(self, config: ExplorationConfig, task: Task, spaces: Spaces, seed: int):
        self.config, self._steps = config, task.episode_steps
        self._moves = Moves.of(spaces.action)
        self._rng = np.random.default_rng(seed)
        self.begin_episode(explore=True, evaluation=False)

    def begin_episode(self, explore: bool, evaluation: bool) -> None:
        """``explore``: any move alone. ``evaluation``: the actor alone.

        The actor's moves are drawn from its distribution then too: it was cloned from several ways to go, and the most
        probable move of each pose seemed to lead in circles (docs/papers.md).
        """
        config, rng = self.config, self._rng
        self._step = 0
        self._windows: list[tuple[int, int]] = []
        if evaluation:
            return
        if explore:
            self._windows = [(0, self._steps)]
            return
        if rng.random() < config.prefix_share:
            self._windows.append((0, int(rng.integers(*config.prefix_steps, endpoint=True))))
        if rng.random() < config.burst_share:
            start = int(rng.integers(*config.burst_start, endpoint=True))
            self._windows.append((start, start + int(rng.integers(*config.burst_steps, endpoint=True))))

    def act(self, observation: np.ndarray, actor: Actor | None, jpeg: Callable[[], bytes] | None = None) -> np.ndarray:
        """Next action, one-hot float32 [A]. ``jpeg``: gives the frame."""
        step, self._step = self._step, self._step + 1
        if actor is None or any(a <= step < b for a, b in self._windows):
            return self._moves.vector(int(self._rng.integers(len(self._moves))))
        seen = (jpeg,) if getattr(actor, "sees_images", False) else ()
        return actor.act(observation, False, self._rng, *seen)

    def demonstrated(self, positions: np.ndarray) -> None:
        """Nothing: there is no place to explore near."""

    def state_dict(self) -> dict[str, Any]:
        """Random state; the episode under way is not kept."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._rng.bit_generator.state = state["rng"]


def rollout_policy(config: ExplorationConfig, task: Task, spaces: Spaces, seed: int) -> RolloutPolicy | ChoicePolicy:
    """The one for the action of these spaces."""
    return (ChoicePolicy if is_choice(spaces.action) else RolloutPolicy)(config, task, spaces, seed)
