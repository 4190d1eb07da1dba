# SPDX-License-Identifier: Apache-2.0
"""MetaWorld's own scripted policies as experts of its tasks, as Oracle is of ours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.common.worlds import scene_of

_FULL_SPEED = 0.8  # m/s: what 1 is in MetaWorld's action


class MetaWorldState(NamedTuple):
    """What such a policy looks at: MetaWorld's observation [39]; and the hand's position [3] m."""

    observation: np.ndarray
    ee_position: np.ndarray


class MetaWorldExpert:
    """MetaWorld's policy of one task. Make a new one for every episode."""

    def __init__(self, task: Task) -> None:
        """ConfigError: MetaWorld is not installed, or has no policy for the task."""
        try:
            from metaworld.policies import ENV_POLICY_MAP as known
        except ImportError as error:
            raise ConfigError(
                f"{task.name}: its expert needs the package metaworld ({error})",
                code=Code.MISSING_PACKAGE,
                parameter="task",
                remedy="pip install metaworld",
            ) from error
        scene = scene_of(task.name)[0]
        if scene not in known:
            text = f"no scripted policy for task '{task.name}'; known: {', '.join(sorted(known))}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="task")
        self._policy, self._scale = known[scene](), _FULL_SPEED / task.linear_speed

    def action(self, state: MetaWorldState, action_size: int) -> np.ndarray:
        """Action float32 [action_size] in [-1, 1]; the gripper's number is 1 for open, MetaWorld's effort -1."""
        action = np.clip(self._policy.get_action(state.observation), -1.0, 1.0)
        velocity = np.clip(self._scale * action[:3], -1.0, 1.0)
        return np.array([*velocity, -action[3]][:action_size], dtype=np.float32)
