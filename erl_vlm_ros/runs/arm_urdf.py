# SPDX-License-Identifier: Apache-2.0
"""The simulated arm's URDF in a run directory: for the guard, and for rviz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.graphs.real import URDF_FILE


def write_arm_urdf(run: Path, sim: Mapping[str, Any]) -> None:
    """Describe the arm of sim_bridge's parameters ``sim`` below ``run``.

    Raises:
        ConfigError: its model is not there, or does not fit robot file and task.
    """
    from erl_vlm_ros.sim.backend import make_backend  # loads MuJoCo

    size = sim["image_width"], sim["image_height"]
    world = make_backend(sim["backend"], load_task(sim["task"]), size, sim["robot_file"])
    atomic_write(run / URDF_FILE, world.urdf(sim["base_frame"], sim["tool_frame"]))
    world.close()
