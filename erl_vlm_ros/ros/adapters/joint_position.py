# SPDX-License-Identifier: Apache-2.0
"""ros2_control's forward_command_controller with the position interface; it holds the last position."""

from __future__ import annotations

from typing import Any

import numpy as np
from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.adapters.base import Gripper
from erl_vlm_ros.ros.adapters.joints import JointAdapter


class JointPosition(JointAdapter):
    """Publishes joint positions, rad, in the controller's order: a reference that moves with the velocity."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(Float64MultiArray, names.ARM_JOINT_COMMANDS, qos.command())
        self._sent: Float64MultiArray | None = None  # the last reference

    def _move(self, q: np.ndarray, velocity: np.ndarray, seconds: float, stamp_ns: int) -> None:
        self._hold(self._follower.advance(q, velocity, seconds), stamp_ns)

    def _hold(self, reference: np.ndarray, stamp_ns: int) -> None:
        self._sent = Float64MultiArray(data=self.in_order(self.within_limits(reference)))
        self._publisher.publish(self._sent)

    def last_resort(self) -> None:
        """The last reference once more: the controller holds it. If none was sent lately, nothing."""
        if self._sent is not None and self.may_hold():
            self._publisher.publish(self._sent)
