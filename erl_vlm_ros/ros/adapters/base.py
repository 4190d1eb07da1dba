# SPDX-License-Identifier: Apache-2.0
"""What every arm adapter does for the guard."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from erl_vlm_ros.robot.kinematics import Kinematics
    from erl_vlm_ros.ros.node_base import BaseNode

Vector = tuple[float, float, float]


class NotSent(RuntimeError):
    """A command that must not leave: a number in it is not finite, or beyond what the arm may do."""


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
        #: share of the last motion's speed that the arm was told; joints' limits and singularities take the rest
        self.passed = 1.0
        #: a robot_description that is not the one in use; empty: none came
        self.other_description = ""

    def prepare(self) -> None:
        """Checks at start, before the node spins. ConfigError names the parameter, or the package to install."""
        self._gripper.prepare()

    def joint_state(self, positions: Mapping[str, float]) -> None:
        """Joint positions by name, rad, that the guard has accepted; may hold joints that are not ours."""
        self._positions.update(positions)

    def described(self, kinematics: Kinematics) -> None:
        """A robot_description came. The first is taken; a different one while running never is."""
        if self.kinematics is None:
            self.use(kinematics)
            self.other_description = ""
        elif self.kinematics.same_as(kinematics):
            self.other_description = ""
        else:
            self.other_description = (
                f"robot_description describes another arm now ({', '.join(kinematics.joint_names)}; limits, axes or "
                "lengths differ): restart the guard to take it"
            )

    def use(self, kinematics: Kinematics) -> None:
        """Take these kinematics, once. ConfigError when they do not fit the parameters."""
        self.kinematics = kinematics

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

    @abstractmethod
    def last_resort(self) -> None:
        """Stop the arm from values that need no state: zeros for velocities, the last reference that was sent for
        positions. For when anything else has failed; may be called at any time and rate."""

    def gripper(self, width_m: float, stamp_ns: int) -> None:
        """Ask for a gripper opening in metres."""
        finite((width_m,), "gripper opening")
        self._gripper.send(width_m, stamp_ns)

    def stamp(self) -> int:
        """Now, ns, for a message that must be sent even if the node's clock cannot be read."""
        try:
            return self.node.get_clock().now().nanoseconds
        except Exception:
            return time.time_ns()


def finite(values: Iterable[float], what: str) -> None:
    """The last look before a command leaves. NotSent when a number is not finite."""
    wrong = [value for value in values if not math.isfinite(value)]
    if wrong:
        raise NotSent(f"{what} holds {wrong[0]}")
