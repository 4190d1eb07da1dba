# SPDX-License-Identifier: Apache-2.0
"""What every arm adapter does for the guard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from erl_vlm_ros.robot.kinematics import Kinematics
    from erl_vlm_ros.ros.node_base import BaseNode

Vector = tuple[float, float, float]


class Gripper(Protocol):
    """Hands an opening width to a gripper's driver."""

    def prepare(self) -> None:
        """Checks at start; ConfigError."""

    def send(self, width_m: float, stamp_ns: int) -> None:
        """Ask for an opening in metres."""


class ArmAdapter(ABC):
    """Hands limited commands to an arm's driver. It limits nothing for safety's sake: the guard does, before.

    ``kinematics`` may be None, and may appear later when the URDF comes from a topic.
    """

    def __init__(self, node: BaseNode, p: Any, gripper: Gripper) -> None:
        self.node, self.p = node, p
        self.kinematics: Kinematics | None = None
        self._gripper = gripper
        self._positions: dict[str, float] = {}

    def prepare(self) -> None:
        """Checks at start, before the node spins. ConfigError names the parameter, or the package to install."""
        self._gripper.prepare()

    def joint_state(self, positions: Mapping[str, float], velocities: Mapping[str, float]) -> None:
        """The newest joint state by name, rad and rad/s; may hold joints that are not ours."""
        self._positions.update(positions)

    @abstractmethod
    def send(self, linear: Vector, angular: Vector, stamp_ns: int) -> str:
        """Move the tool with ``linear`` m/s and ``angular`` rad/s, both in the base frame.

        Returns "" or why it could not; then nothing that moves was sent.
        """

    @abstractmethod
    def send_joints(self, velocity: Mapping[str, float], stamp_ns: int) -> str:
        """Move joints with ``velocity`` rad/s by name (homing). Returns as ``send``."""

    @abstractmethod
    def stop(self, stamp_ns: int) -> None:
        """Make the arm stand still, whatever its driver does with the last command. May be called at any rate."""

    def gripper(self, width_m: float, stamp_ns: int) -> None:
        """Ask for a gripper opening in metres."""
        self._gripper.send(width_m, stamp_ns)
