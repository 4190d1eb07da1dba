# SPDX-License-Identifier: Apache-2.0
"""The simulated arm, its tasks as Gymnasium environments (registered on import), the stand-in VLM."""

from __future__ import annotations

from erl_vlm_ros.sim.render import choose_backend

choose_backend()  # before anything imports mujoco

try:
    import gymnasium as _gymnasium
except ImportError:  # the arm itself works without Gymnasium
    _gymnasium = None

#: Gymnasium id -> (task name, steps an episode)
ENVIRONMENTS = {
    "erl_vlm_ros/DrawerOpen-v0": ("drawer_open", 50),
    "erl_vlm_ros/SweepInto-v0": ("sweep_into", 50),
    "erl_vlm_ros/PickPlace-v0": ("pick_place", 75),
}

if _gymnasium is not None:
    for _id, (_task, _steps) in ENVIRONMENTS.items():
        if _id not in _gymnasium.registry:
            _gymnasium.register(
                id=_id,
                entry_point="erl_vlm_ros.sim.env:ArmEnv",
                kwargs={"task": _task},
                max_episode_steps=_steps,
            )
