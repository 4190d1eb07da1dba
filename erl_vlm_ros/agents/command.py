# SPDX-License-Identifier: Apache-2.0
"""From the policy's action to the arm's command."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.tasks import Task

MAX_WIDTH = 0.08  # m


def action_to_command(action: np.ndarray, task: Task) -> tuple[tuple[float, float, float], float]:
    """Velocity (x, y, z) in m/s and gripper opening in m for an action in [-1, 1]^A.

    The fourth number maps linearly to the opening, -1 closed to 1 wide open; without a gripper it is closed.
    """
    a = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    x, y, z = (a[:3] * task.linear_speed).tolist()
    width = 0.5 * MAX_WIDTH * (float(a[3]) + 1.0) if task.use_gripper else 0.0
    return (x, y, z), width
