# SPDX-License-Identifier: Apache-2.0
"""What the stand-in rater knows about the set-up, as a person who built it would: cameras and fixed dimensions.

Written down by hand, in metres in the base frame; nothing is read from the simulator. A test keeps these numbers in
step with the MJCF scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A camera at ``position`` that looks at ``target`` with the horizon level; ``fovy``: full vertical angle, deg."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float = 38.0

    def rotation(self) -> np.ndarray:
        """[3, 3] whose rows are the image's x (right), y (down) and the viewing direction, in the base frame."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])


CAMERAS = {
    "drawer_open": Camera((0.214, -0.511, 0.600), (0.415, -0.014, 0.150)),
    "sweep_into": Camera((0.897, -0.132, 0.649), (0.492, 0.015, 0.098)),
    "pick_place": Camera((0.460, -0.617, 0.535), (0.460, -0.044, 0.133)),
}

# where the tool point can be, and whether the task opens the fingers
REACH = {
    "drawer_open": ((0.24, -0.15, 0.05), (0.55, 0.15, 0.26), False),
    "sweep_into": ((0.26, -0.16, 0.03), (0.65, 0.16, 0.14), False),
    "pick_place": ((0.28, -0.16, 0.018), (0.64, 0.16, 0.20), True),
}

# gripper, relative to the tool point, tool pointing down; fingers part along the base frame's x
FINGER_HALF = (0.009, 0.024)  # x, y
FINGER_Z = (-0.0100, 0.0650)
PALM_HALF = (0.028, 0.030)
PALM_Z = (0.065, 0.089)
WRIST_Z, WRIST_RADIUS = (0.097, 0.177), 0.030
SHOULDER = (0.0, 0.0, 0.3)
UPPER_ARM, FOREARM = 0.40, 0.38
FOREARM_SPLIT = 0.42  # the forearm is thicker up to here, as a share of its length
UPPER_RADIUS, FOREARM_RADII = 0.045, (0.040, 0.033)

# drawer: x from the cabinet's front plane, y from its middle
CABINET_X = 0.56  # usual place of the front plane
CABINET_HALF_WIDTH, CABINET_DEPTH, CABINET_TOP = 0.15, 0.24, 0.165
FRONT_HALF_WIDTH, FRONT_TOP = 0.125, 0.135
HANDLE_X, HANDLE_Z, HANDLE_HALF_LENGTH = -0.073, 0.11, 0.089
HANDLE_RADIUS = (0.008, 0.011)  # half sizes in x and z
HANDLE_REACH = 0.08  # of the bar's half length, how much counts as the handle
DRAWER_TRAVEL = 0.20

# sweep
ZONE, ZONE_RADIUS = (0.56, 0.0), 0.085
BLOCK_HALF = 0.0375

# pick and place
PLATE, PLATE_RADIUS, PLATE_HEIGHT = (0.56, 0.0), 0.07, 0.025
SMALL_BLOCK_HALF = 0.0225
