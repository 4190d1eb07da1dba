# SPDX-License-Identifier: Apache-2.0
"""Who acts in training episodes: the policy, a person, or a scripted expert. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.spaces import GRIPPER, ActionSpec

POLICY, PERSON, SCRIPTED = "policy", "person", "scripted"
DRIVERS = (POLICY, PERSON, SCRIPTED)

_Share = Annotated[float, Field(ge=0.05, le=1.0)]


@config("demonstrator")
class DemonstratorConfig:
    """Skill of the scripted expert."""

    noise: float | None = setting(
        None,
        "Driver scripted: disturbance of each episode, 0 (the expert) to 1; not set: from none to 0.7, drawn for each "
        "episode: about half succeed.",
        low=0.0,
        high=1.0,
    )
    speed: tuple[_Share, _Share] = setting(
        (1.0, 1.0), "Driver scripted: slowest and fastest episode, share of full speed."
    )
    pauses: float = setting(0.0, "Driver scripted: chance per step that it rests for a while.", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        if self.speed[0] > self.speed[1]:
            raise ConfigError(
                f"demonstrator.speed is {list(self.speed)}; it must be [slowest, fastest]",
                parameter="demonstrator.speed",
            )


class StillPolicy:
    """Stands still, in place of ``agents.exploration.RolloutPolicy``, while the person who drives rests."""

    def __init__(self, action: ActionSpec, grip: Callable[[], float]):
        """``grip``: the gripper's number of the last action, which stays."""
        self._spec, self._grip = action, grip

    def begin_episode(self, explore: bool, evaluation: bool) -> None:
        """Nothing changes from episode to episode."""

    def act(self, observation: np.ndarray, actor: Any, jpeg: Callable[[], bytes] | None = None) -> np.ndarray:
        """No motion, float32 [A]."""
        action = np.zeros(self._spec.size, np.float32)
        if GRIPPER in self._spec:
            action[self._spec.slice(GRIPPER)] = self._grip()
        return action

    def demonstrated(self, positions: np.ndarray) -> None:
        """Nobody explores."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
