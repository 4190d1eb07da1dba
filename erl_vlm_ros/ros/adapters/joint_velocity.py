# SPDX-License-Identifier: Apache-2.0
"""ros2_control's forward_command_controller with the velocity interface.

It has no time-out: it holds the last velocity for ever. Whoever kills the guard with SIGKILL leaves the arm moving.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.ros import names, qos
from erl_vlm_ros.ros.adapters.base import Gripper
from erl_vlm_ros.ros.adapters.joints import JointAdapter


class JointVelocity(JointAdapter):
    """Publishes joint velocities, rad/s, in the controller's order."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(Float64MultiArray, names.ARM_JOINT_COMMANDS, qos.command())

    def _move(self, q: np.ndarray, velocity: np.ndarray, seconds: float, stamp_ns: int) -> None:
        self._publisher.publish(Float64MultiArray(data=self.in_order(velocity)))

    def _stop(self, stamp_ns: int) -> None:
        self._follower.stop()
        self._publisher.publish(Float64MultiArray(data=[0.0] * len(self._order)))
