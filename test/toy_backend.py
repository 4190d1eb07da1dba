# SPDX-License-Identifier: Apache-2.0
"""A world of one dimension behind the SimBackend seam: a point on a rail, seen as a bright column of the image."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.sim.backend import ArmState

RAIL = 0.2  # m; the point's place is 0 .. RAIL, its goal the far end


class Rail:
    """One joint that slides, no gripper, no tracked object, no URDF."""

    joint_names, finger_names = ("rail",), ()
    use_gripper, control_period = False, 0.1

    def __init__(self, task, image_size):
        self.task, self.width, self.height = task, *image_size
        self.reset(0)

    def reset(self, seed):
        self.x, self.v = float(np.random.default_rng(seed).uniform(0.0, RAIL / 4)), 0.0

    def apply(self, linear_velocity, gripper_width, angular_velocity=(0.0, 0.0, 0.0)):
        before = self.x
        self.x = float(np.clip(self.x + linear_velocity[0] * self.control_period, 0.0, RAIL))
        self.v = (self.x - before) / self.control_period

    def track(self, joints, gripper_width, seconds):
        self.x = float(np.clip(joints[0], 0.0, RAIL))

    def observe(self):
        zero = np.zeros(0)
        ee = np.array([0.4 + self.x, 0.0, 0.2])
        turn = np.array([0.0, 0.0, 0.0, 1.0])
        q, v = np.array([self.x]), np.array([self.v])
        return ArmState(q, v, np.zeros(1), zero, zero, ee, turn, 0.0, None, None)

    @property
    def joint_positions(self):
        return np.array([self.x])

    gripper_width = 0.0

    @property
    def goal(self):
        return np.array([0.4 + RAIL, 0.0, 0.2])

    def truth(self):
        progress = self.x / RAIL
        return {"progress": progress, "success": float(progress > 0.95)} | {
            f"class_{n}": float(min(int(progress * n), n - 1)) for n in (2, 3, 4, 5)
        }

    def wrench(self):
        return np.zeros(6)

    def render(self):
        image = np.zeros((self.height, self.width, 3), np.uint8)
        column = round(self.x / RAIL * (self.width - 4))
        image[:, column : column + 4] = 255
        return image

    def camera_matrix(self):
        return np.array([[100.0, 0, self.width / 2], [0, 100.0, self.height / 2], [0, 0, 1]])

    def urdf(self, base_frame, tool_frame):
        return ""

    def link_poses(self):
        return {}

    def close(self):
        pass
