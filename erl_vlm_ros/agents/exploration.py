# SPDX-License-Identifier: Apache-2.0
"""How actions are chosen while data are collected: waypoints first, then the actor with bursts of waypoints.

A reward learned from ratings can only rank what was seen. Undirected noise hardly ever touches the object, so the
end effector is sent from waypoint to waypoint, a share of them near the tracked object, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.spaces import ANGULAR, EE_POSITION, GRIPPER, LINEAR, OBJECT, Spaces

_PLACE_SHARE, _PLACE_RADIUS = 0.5, 0.04  # of waypoints near where a demonstration was; m


class Actor(Protocol):
    """Anything that answers an observation with an action. One with a true ``sees_images`` takes the frame as well."""

    def act(self, observation: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        """Action in [-1, 1]^A for an observation [O]."""


_Steps = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]


@config("exploration")
class ExplorationConfig:
    """Shares are probabilities per episode (prefix, burst, drift) or per waypoint (near the object)."""

    object_share: float = setting(0.5, "Share of waypoints near the tracked object.", low=0.0, high=1.0)
    object_radius: float = setting(0.1, "Standard deviation of waypoints around the object, m.", low=0.0, high=1.0)
    prefix_share: float = setting(
        0.25, "Share of episodes that begin with waypoints before the actor takes over.", low=0.0, high=1.0
    )
    prefix_steps: tuple[_Steps, _Steps] = setting((5, 35), "Shortest and longest such beginning, steps.")
    burst_share: float = setting(0.25, "Share of episodes with waypoints in the middle.", low=0.0, high=1.0)
    burst_steps: tuple[_Steps, _Steps] = setting((6, 15), "Shortest and longest such burst, steps.")
    burst_start: tuple[_Steps, _Steps] = setting((8, 40), "Earliest and latest step at which a burst begins.")
    drift_share: float = setting(
        0.0,
        "Share of episodes in which, for the length of a burst, a constant is added to the actor's velocity.",
        low=0.0,
        high=1.0,
    )
    drift_size: float = setting(
        0.5, "Standard deviation of that constant per axis, share of full speed.", low=0.0, high=2.0
    )
    speed: tuple[_Share, _Share] = setting(
        (0.4, 1.0), "Slowest and fastest travel between waypoints, share of full speed."
    )
    gripper_switch: float = setting(
        0.1, "Chance per step that exploration opens or closes the gripper.", low=0.0, high=1.0
    )
    reached: float = setting(0.03, "A waypoint counts as reached within this distance, m.", low=0.001, high=1.0)

    def __post_init__(self) -> None:
        for name in ("prefix_steps", "burst_steps", "burst_start", "speed"):
            least, most = getattr(self, name)
            if least > most:
                raise ConfigError(
                    f"exploration.{name} is [{least}, {most}]; it must be [least, most]",
                    parameter=f"exploration.{name}",
                )


class RolloutPolicy:
    """Chooses actions for one episode at a time. Seeded; hold its state in a checkpoint with state_dict."""

    def __init__(self, config: ExplorationConfig, task: Task, spaces: Spaces, seed: int):
        self.config, self.task = config, task
        self._ee = spaces.observation.slice(EE_POSITION)
        self._object = spaces.observation.slice(OBJECT) if OBJECT in spaces.observation else None
        self._linear = spaces.action.slice(LINEAR)
        self._turns = spaces.action.part(ANGULAR).size if ANGULAR in spaces.action else 0
        self._grips = GRIPPER in spaces.action
        self._low, self._high = np.array(task.workspace_min), np.array(task.workspace_max)
        self._places = np.zeros((0, 3))
        self._rng = np.random.default_rng(seed)
        self.begin_episode(explore=True, evaluation=False)

    def begin_episode(self, explore: bool, evaluation: bool) -> None:
        """``explore``: waypoints only. ``evaluation``: the actor's mean action only."""
        config, rng = self.config, self._rng
        self._step = 0
        self._evaluation = evaluation
        self._waypoint: np.ndarray | None = None
        self._turn = np.zeros(self._turns)
        self._gripper = 1.0
        self._windows: list[tuple[int, int]] = []
        self._burst_start = 0
        self._drift, self._drift_window = np.zeros(3), (0, 0)
        if evaluation:
            return
        if explore:
            self._windows = [(0, self.task.episode_steps)]
        else:
            if rng.random() < config.prefix_share:
                self._windows.append((0, int(rng.integers(*config.prefix_steps, endpoint=True))))
            if rng.random() < config.burst_share:
                self._windows.append(self._burst_window())
                self._burst_start = self._windows[-1][0]
            if config.drift_share > 0 and rng.random() < config.drift_share:
                self._drift_window = self._burst_window()
                self._drift = rng.normal(0, config.drift_size, 3)

    def _burst_window(self) -> tuple[int, int]:
        start = int(self._rng.integers(*self.config.burst_start, endpoint=True))
        return start, start + int(self._rng.integers(*self.config.burst_steps, endpoint=True))

    def act(self, observation: np.ndarray, actor: Actor | None, jpeg: Callable[[], bytes] | None = None) -> np.ndarray:
        """Next action float32 [A]; without an actor the end effector follows waypoints. ``jpeg``: gives the frame."""
        step, self._step = self._step, self._step + 1
        if actor is None or any(a <= step < b for a, b in self._windows):
            if step == self._burst_start:
                self._waypoint = None  # a burst sets out from where the actor has come to
            return self._towards_waypoint(observation)
        seen = (jpeg,) if getattr(actor, "sees_images", False) else ()
        action = actor.act(observation, self._evaluation, self._rng, *seen)
        if self._drift_window[0] <= step < self._drift_window[1]:
            # the actor goes on with what it does, so what it holds is taken a little beyond where it would stop
            action = action.astype(np.float64)
            action[self._linear] = np.clip(action[self._linear] + self._drift, -1, 1)
        return action.astype(np.float32)

    def _towards_waypoint(self, observation: np.ndarray) -> np.ndarray:
        rng, config = self._rng, self.config
        position = observation[self._ee]
        if self._waypoint is None or np.linalg.norm(self._waypoint - position) < config.reached or rng.random() < 0.05:
            self._waypoint = self._next_waypoint(observation)
            self._speed = rng.uniform(*config.speed)
            if self._turns:  # one turn on the way to each waypoint
                self._turn = rng.uniform(-1.0, 1.0, self._turns)
        step = self.task.linear_speed / self.task.control_hz
        offset = self._waypoint - position
        move = offset / max(float(np.abs(offset).max()), step) * self._speed
        action = np.clip(move + rng.normal(0, 0.1, 3), -1, 1)
        if self._turns:
            action = np.append(action, np.clip(self._turn + rng.normal(0, 0.1, self._turns), -1, 1))
        if self._grips:
            if rng.random() < config.gripper_switch:
                self._gripper = -self._gripper
            action = np.append(action, self._gripper * rng.uniform(0.3, 1.0))
        return action.astype(np.float32)

    def _next_waypoint(self, observation: np.ndarray) -> np.ndarray:
        rng = self._rng
        if self._object is not None and rng.random() < self.config.object_share:
            near = observation[self._object] + rng.normal(0, self.config.object_radius, 3)
            return np.clip(near, self._low, self._high)
        if len(self._places) and rng.random() < _PLACE_SHARE:
            near = self._places[rng.integers(len(self._places))] + rng.normal(0, _PLACE_RADIUS, 3)
            return np.clip(near, self._low, self._high)
        return rng.uniform(self._low, self._high)

    def demonstrated(self, positions: np.ndarray) -> None:
        """End-effector positions [N, 3], m, of demonstrations, or others worth it: half of the waypoints will be near
        one of them."""
        self._places = positions

    def state_dict(self) -> dict[str, Any]:
        """Random state; the episode under way is not kept."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._rng.bit_generator.state = state["rng"]
