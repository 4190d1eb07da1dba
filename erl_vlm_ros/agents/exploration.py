# SPDX-License-Identifier: Apache-2.0
"""How actions are chosen while data are collected: waypoints first, then the actor with bursts of waypoints.

A reward learned from ratings can only rank what was seen. Undirected noise hardly ever touches the object, so the
hand is sent from waypoint to waypoint, a share of them near the tracked object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from erl_vlm_ros.data.observation import EE_SLICE, OBJECT_SLICE
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.tasks import Task


class Actor(Protocol):
    """Anything that answers an observation with an action."""

    def act(self, observation: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        """Action in [-1, 1]^A for an observation [O]."""


@dataclass(frozen=True)
class ExplorationConfig:
    """Shares are probabilities per episode (prefix, burst, drift) or per waypoint (near the object)."""

    object_share: float = 0.5
    object_radius: float = 0.10
    prefix_share: float = 0.25
    prefix_steps: tuple[int, int] = (5, 35)
    burst_share: float = 0.25
    burst_steps: tuple[int, int] = (6, 15)
    burst_start: tuple[int, int] = (8, 40)
    drift_share: float = 0.0  # of episodes in which something constant is added to the actor's velocity for a while
    drift_size: float = 0.5  # its standard deviation per axis, share of full speed
    speed: tuple[float, float] = (0.4, 1.0)
    gripper_switch: float = 0.1
    reached: float = 0.03

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ExplorationConfig:
        """From policy_controller's parameters ``exploration.*``."""
        found = {f.name: values[f"exploration.{f.name}"] for f in fields(cls)}
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})

    def __post_init__(self) -> None:
        for name in ("prefix_steps", "burst_steps", "burst_start", "speed"):
            least, most = getattr(self, name)
            if least > most:
                raise ConfigError(f"exploration.{name} is [{least}, {most}]; it must be [least, most]")


class RolloutPolicy:
    """Chooses actions for one episode at a time. Seeded; hold its state in a checkpoint with state_dict."""

    def __init__(self, config: ExplorationConfig, task: Task, seed: int):
        self.config, self.task = config, task
        self._low, self._high = np.array(task.workspace_min), np.array(task.workspace_max)
        self._rng = np.random.default_rng(seed)
        self.begin_episode(explore=True, evaluation=False)

    def begin_episode(self, explore: bool, evaluation: bool) -> None:
        """``explore``: waypoints only. ``evaluation``: the actor's mean action only."""
        config, rng = self.config, self._rng
        self._step = 0
        self._evaluation = evaluation
        self._waypoint: np.ndarray | None = None
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

    def act(self, observation: np.ndarray, actor: Actor | None) -> np.ndarray:
        """Next action float32 [A]; without an actor the hand follows waypoints."""
        step, self._step = self._step, self._step + 1
        if actor is None or any(a <= step < b for a, b in self._windows):
            if step == self._burst_start:
                self._waypoint = None  # a burst sets out from where the actor has come to
            return self._towards_waypoint(observation)
        action = actor.act(observation, self._evaluation, self._rng)
        if self._drift_window[0] <= step < self._drift_window[1]:
            # the actor goes on with what it does, so what it holds is taken a little beyond where it would stop
            action = np.concatenate([np.clip(action[:3] + self._drift, -1, 1), action[3:]])
        return action.astype(np.float32)

    def _towards_waypoint(self, observation: np.ndarray) -> np.ndarray:
        rng, config = self._rng, self.config
        hand = observation[EE_SLICE]
        if self._waypoint is None or np.linalg.norm(self._waypoint - hand) < config.reached or rng.random() < 0.05:
            self._waypoint = self._next_waypoint(observation)
            self._speed = rng.uniform(*config.speed)
        step = self.task.linear_speed / self.task.control_hz
        offset = self._waypoint - hand
        move = offset / max(float(np.abs(offset).max()), step) * self._speed
        action = np.clip(move + rng.normal(0, 0.1, 3), -1, 1)
        if self.task.use_gripper:
            if rng.random() < config.gripper_switch:
                self._gripper = -self._gripper
            action = np.append(action, self._gripper * rng.uniform(0.3, 1.0))
        return action.astype(np.float32)

    def _next_waypoint(self, observation: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() < self.config.object_share:
            near = observation[OBJECT_SLICE] + rng.normal(0, self.config.object_radius, 3)
            return np.clip(near, self._low, self._high)
        return rng.uniform(self._low, self._high)

    def state_dict(self) -> dict[str, Any]:
        """Random state; the episode under way is not kept."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._rng.bit_generator.state = state["rng"]
