# SPDX-License-Identifier: Apache-2.0
"""What the simulator knows at one instant. The learner never sees it; tasks and evaluation do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_WIDTH = 0.08  # m, the gripper's widest opening


@dataclass(frozen=True)
class SimState:
    """Metres, radians and seconds in the arm's base frame.

    joint_positions [6]; joint_velocities [6]; ee_position [3] (tool point, 1 cm above the finger tips);
    ee_quaternion [4] x, y, z, w; gripper_width: gap between the fingers; object_position [3] (drawer: its
    handle); object_rotation [3, 3]; goal [3]; opening: how far the drawer is out (0 in other tasks); time
    since reset.
    """

    joint_positions: np.ndarray
    joint_velocities: np.ndarray
    ee_position: np.ndarray
    ee_quaternion: np.ndarray
    gripper_width: float
    object_position: np.ndarray
    object_rotation: np.ndarray
    goal: np.ndarray
    opening: float
    time: float
