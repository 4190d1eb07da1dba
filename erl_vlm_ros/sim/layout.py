# SPDX-License-Identifier: Apache-2.0
"""What SimArm must know of the arm in a compiled scene: names, the tool, and how its gripper's opening is counted."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from erl_vlm_ros.sim.state import MAX_WIDTH

TOOL_DOWN = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # tool axes in the base frame
_RANGE_OF_FREE_JOINTS = 2.0 * np.pi


@dataclass(frozen=True)
class ArmLayout:
    """Names in the compiled model, J joints and F finger joints.

    home [J] rad: where the inverse kinematics start. rest [J] rad: where it pulls joints to, by pull [J] of the way an
    iteration, as far as the tool stays where it is. tool_rotation [3, 3]: how the tool is held, in the base frame.
    driven: joints of the fingers in the scene; none: they are rigid and shut. opening = offset + scale x sum of their
    positions. fingers: what joint_states tell of the gripper, which may be another one (measured_offset and _scale).
    """

    joints: tuple[str, ...]
    fingers: tuple[str, ...]
    driven: tuple[str, ...]
    home: np.ndarray
    rest: np.ndarray
    pull: np.ndarray
    tool_site: str
    tool_bodies: tuple[str, ...]
    tool_rotation: np.ndarray
    max_width: float = MAX_WIDTH
    scale: float = 1.0
    offset: float = 0.0
    measured_scale: float = 1.0
    measured_offset: float = 0.0
    max_joint_speed: float | None = None  # rad/s; None: the built-in arm's own table

    def finger_target(self, width: float) -> float:
        """Position of each driven joint at an opening, m."""
        return (width - self.offset) / (self.scale * max(1, len(self.driven)))

    def width(self, driven: np.ndarray) -> float:
        """Opening, m, at the driven joints' positions; 0 without any."""
        return self.offset + self.scale * float(driven.sum()) if len(driven) else 0.0

    def measured_joints(self, width: float) -> np.ndarray:
        """[F] positions of ``fingers`` at an opening, as the robot's driver would tell them."""
        count = len(self.fingers)
        return np.full(count, (width - self.measured_offset) / (self.measured_scale * max(1, count)))


def joint_limits(model: mujoco.MjModel, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high [J] of joints by id; a joint without limits may turn once either way."""
    limited = model.jnt_limited[joints].astype(bool)
    low = np.where(limited, model.jnt_range[joints, 0], -_RANGE_OF_FREE_JOINTS)
    high = np.where(limited, model.jnt_range[joints, 1], _RANGE_OF_FREE_JOINTS)
    return low, high
