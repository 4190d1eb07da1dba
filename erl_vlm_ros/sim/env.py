# SPDX-License-Identifier: Apache-2.0
"""The tasks as Gymnasium environments, so that they can be used without ROS."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.sim.backend import backend_spaces, check_control_rate, make_backend, obey
from erl_vlm_ros.sim.rollout import observed

REWARDS = ("dense", "sparse")


class ArmEnv(gymnasium.Env):
    """One task. ``spaces`` says what observation (float32) and action (each number in [-1, 1]) hold.

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
        backend: str = "",
        robot: str = "",
    ) -> None:
        """``image_size``: (width, height) or one number for both, default 128. ``backend``: empty: the task's.
        ``robot``: a robot file's name or path.

        ConfigError for a wrong argument.
        """
        if reward not in REWARDS:
            raise ConfigError(f"reward '{reward}': choose one of {', '.join(REWARDS)}", parameter="reward")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode '{render_mode}': only rgb_array is offered", parameter="render_mode")
        image_size = 128 if image_size is None else image_size
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.render_mode = render_mode
        self._config = load_task(task)
        self.arm = make_backend(backend, self._config, size, robot)
        check_control_rate(self.arm, self._config)
        self._sparse = reward == "sparse"
        self.spaces = backend_spaces(self.arm, self._config)
        self.observation_space = gymnasium.spaces.Box(-4.0, 4.0, (self.spaces.observation.size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.spaces.action.size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        ``seed`` fixes this episode (the same as sim_bridge's episode_seed) and the ones after it.
        """
        super().reset(seed=seed)
        self.arm.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period of 0.1 s; the action is clipped to [-1, 1]."""
        obey(self.arm, action, self.spaces.action)
        info = self._info()
        reward = float(info["success"]) if self._sparse else info["progress"]
        return self._observe(), reward, False, False, info

    def render(self) -> np.ndarray | None:
        """The camera's image, uint8 [height, width, 3], when ``render_mode`` is rgb_array."""
        return self.arm.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer."""
        self.arm.close()

    def _observe(self) -> np.ndarray:
        return observed(self.arm, self.spaces.observation)

    def _info(self) -> dict[str, Any]:
        truth = self.arm.truth()
        classes = {key: int(value) for key, value in truth.items() if key.startswith("class_")}
        return {"progress": truth["progress"], "success": truth["success"] > 0, **classes}
