# SPDX-License-Identifier: Apache-2.0
"""The tasks as Gymnasium environments, so that they can be used without ROS."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from erl_vlm_ros.agents.command import action_to_command
from erl_vlm_ros.data.observation import OBSERVATION_DIM, build_observation
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.sim.arm import SimArm

REWARDS = ("dense", "sparse")


class ArmEnv(gymnasium.Env):
    """One task. Observation: ``build_observation``'s vector, float32 [19]. Action in [-1, 1]: tool velocity
    over the task's ``linear_speed``, and for tasks with a gripper a fourth number, the opening from -1
    (closed) to 1 (8 cm).

    ``reward="dense"`` is the true progress, ``"sparse"`` the true success (0 or 1). ``info`` carries
    progress, success and class_2 .. class_5. Success does not end an episode: only the registered time
    limit does.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: str = "drawer_open",
        reward: str = "dense",
        image_size: tuple[int, int] | int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """``image_size``: (width, height) or one number for both, default 128.

        ConfigError for a wrong argument.
        """
        if reward not in REWARDS:
            raise ConfigError(f"reward '{reward}': choose one of {', '.join(REWARDS)}")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode '{render_mode}': only rgb_array is offered")
        image_size = 128 if image_size is None else image_size
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.render_mode = render_mode
        self.arm = SimArm(task, size)
        self._sparse = reward == "sparse"
        self._config = self.arm.config
        self.observation_space = gymnasium.spaces.Box(-4.0, 4.0, (OBSERVATION_DIM,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self._config.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        ``seed`` fixes this episode (the same as sim_bridge's episode_seed) and the ones after it.
        """
        super().reset(seed=seed)
        self.arm.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._observe(), self._info(self.arm.state())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period of 0.1 s; the action is clipped to [-1, 1]."""
        self.arm.apply(*action_to_command(action, self._config))
        info = self._info(self.arm.state())
        reward = float(info["success"]) if self._sparse else info["progress"]
        return self._observe(), reward, False, False, info

    def render(self) -> np.ndarray | None:
        """The camera's picture, uint8 [height, width, 3], when ``render_mode`` is rgb_array."""
        return self.arm.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer."""
        self.arm.close()

    def _observe(self) -> np.ndarray:
        arm = self.arm
        return build_observation(arm.joint_positions, arm.ee_position, arm.gripper_width, arm.object_position, arm.goal)

    def _info(self, state: Any) -> dict[str, Any]:
        task = self.arm.task
        info: dict[str, Any] = {"progress": task.progress(state), "success": task.success(state)}
        info.update({f"class_{n}": task.truth_class(state, n) for n in task.merge})
        return info
