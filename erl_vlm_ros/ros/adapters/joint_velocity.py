# SPDX-License-Identifier: Apache-2.0
"""ros2_control's forward_command_controller with the velocity interface.

It has no time-out: it holds the last velocity for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.adapters.base import Gripper
from erl_vlm_ros.ros.adapters.joints import JointAdapter


class JointVelocity(JointAdapter):
    """Publishes joint velocities, rad/s, in the controller's order."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(Float64MultiArray, names.ARM_JOINT_COMMANDS, qos.command())

    def _move(self, q: np.ndarray, velocity: np.ndarray, seconds: float, stamp_ns: int) -> None:
        self._publisher.publish(Float64MultiArray(data=self.in_order(self.within_speeds(velocity))))

    def use(self, kinematics: Kinematics) -> None:
        """Take these kinematics; zeros for as many joints are ready from now on."""
        super().use(kinematics)
        self._zeros = Float64MultiArray(data=[0.0] * len(self._order))

    def last_resort(self) -> None:
        """Zero velocity for every joint."""
        self._publisher.publish(self._zeros)

    def _stop(self, stamp_ns: int) -> None:
        self._follower.stop()
        self._publisher.publish(self._zeros)
