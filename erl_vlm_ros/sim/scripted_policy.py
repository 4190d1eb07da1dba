# SPDX-License-Identifier: Apache-2.0
"""The scripted expert in the policy's place: it acts on what the controller observes, not on the simulator's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.control.drivers import DemonstratorConfig
from erl_vlm_ros.data.spaces import EE_POSITION, GRIPPER, LINEAR, OBJECT, Spaces
from erl_vlm_ros.sim.demonstrator import Demonstrator, disturbance
from erl_vlm_ros.sim.state import SimState


class ScriptedPolicy:
    """In place of ``agents.exploration.RolloutPolicy``: a demonstrator for each episode, of the configured skill."""

    def __init__(self, config: DemonstratorConfig, task: Task, spaces: Spaces, seed: int):
        """ConfigError: no expert knows the task, or its object is not observed."""
        if task.world:
            text = (
                f"policy_controller.driver scripted: {task.name} is of the world {task.world}, whose expert sees more "
                "than is observed; begin a run with --demos scripted:N"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="policy_controller.driver")
        if OBJECT not in spaces.observation:
            text = (
                "policy_controller.driver scripted: the expert acts on the tracked object's position, which is not "
                "observed: use --observe state and a task with a tracked object"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="policy_controller.driver")
        self._config, self._task, self._spaces = config, task, spaces
        self._rng = np.random.default_rng([seed, 7])
        self.begin_episode(explore=True, evaluation=False)

    def begin_episode(self, explore: bool, evaluation: bool) -> None:
        """Another demonstrator takes over."""
        config, rng = self._config, self._rng
        noise = disturbance(rng.random()) if config.noise is None else config.noise
        speed = float(rng.uniform(*config.speed))
        self._driver = Demonstrator(self._task, noise, rng, speed, config.pauses)
        self._placed: np.ndarray | None = None  # where the object was at the beginning

    def act(self, observation: np.ndarray, actor: Any, jpeg: Callable[[], bytes] | None = None) -> np.ndarray:
        """Next action float32 [A]."""
        spec = self._spaces.action
        wanted = self._driver.act(self._state(observation), 3 + (GRIPPER in spec))
        action = np.zeros(spec.size, np.float32)  # the tool keeps its direction
        action[spec.slice(LINEAR)] = wanted[:3]
        if GRIPPER in spec:
            action[spec.slice(GRIPPER)] = wanted[3]
        return action

    def _state(self, observation: np.ndarray) -> SimState:
        """What the expert looks at: hand, object, goal, and how far the object has come (of a drawer: its opening)."""
        seen = self._spaces.observation
        position = observation[seen.slice(OBJECT)].astype(np.float64)
        self._placed = position if self._placed is None else self._placed
        unused = np.zeros(0)
        return SimState(
            unused, unused, observation[seen.slice(EE_POSITION)].astype(np.float64), unused, 0.0, position, unused,
            np.array(self._task.goal), float(np.linalg.norm(position - self._placed)), 0.0,
        )  # fmt: skip

    def demonstrated(self, positions: np.ndarray) -> None:
        """The expert knows the way."""

    def state_dict(self) -> dict[str, Any]:
        """Random state; the episode under way is not kept."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._rng.bit_generator.state = state["rng"]
