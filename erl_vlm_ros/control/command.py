# SPDX-License-Identifier: Apache-2.0
"""From the policy's action to the arm's command, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from erl_vlm_ros.data.spaces import ANGULAR, GRIPPER, LINEAR, ActionSpec

Vector = tuple[float, float, float]
STILL: Vector = (0.0, 0.0, 0.0)


class ArmCommand(NamedTuple):
    """Velocity m/s and angular velocity rad/s of the tool in the base frame, and the gripper's opening, m."""

    linear: Vector
    angular: Vector = STILL
    width: float = 0.0


def action_to_command(action: np.ndarray, spec: ActionSpec) -> ArmCommand:
    """The command for an action in [-1, 1]^A.

    Yaw turns the tool about the base's z axis. The gripper's number maps linearly to the opening, -1 shut to 1 wide
    open, or, where the gripper is binary, above 0 means open; without a gripper it is shut.
    """
    a = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    linear = spec.part(LINEAR)
    x, y, z = (a[spec.slice(LINEAR)] * linear.scale).tolist()
    angular = STILL
    if ANGULAR in spec:
        turn = (a[spec.slice(ANGULAR)] * spec.part(ANGULAR).scale).tolist()
        angular = (0.0, 0.0, turn[0]) if len(turn) == 1 else tuple(turn)
    width = 0.0
    if GRIPPER in spec:
        gripper, value = spec.part(GRIPPER), float(a[spec.slice(GRIPPER)][0])
        width = 0.5 * gripper.scale * (value + 1.0) if gripper.unit == "m" else gripper.scale * float(value > 0.0)
    return ArmCommand((x, y, z), angular, width)


def velocity_to_action(velocity: Sequence[float], spec: ActionSpec, gripper: float = 0.0) -> np.ndarray:
    """Action float32 [A] in [-1, 1] that asks for a velocity [3] m/s, or [6] m/s and rad/s, base frame.

    ``gripper`` is the gripper's number. Turns that the action has not are left out.
    """
    values = np.asarray(velocity, np.float64)
    parts = [values[:3] / spec.part(LINEAR).scale]
    if ANGULAR in spec:
        turn = values[3:6] if len(values) == 6 else np.zeros(3)
        angular = spec.part(ANGULAR)
        parts.append((turn if angular.size == 3 else turn[2:]) / angular.scale)
    if GRIPPER in spec:
        parts.append(np.array([gripper]))
    return np.clip(np.concatenate(parts), -1.0, 1.0).astype(np.float32)
