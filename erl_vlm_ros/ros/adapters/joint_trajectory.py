# SPDX-License-Identifier: Apache-2.0
"""ros2_control's joint_trajectory_controller: a stream of trajectories with one point each."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.adapters.base import Gripper
from erl_vlm_ros.ros.adapters.joints import JointAdapter


class JointTrajectoryStream(JointAdapter):
    """Each command replaces the last with a point ``trajectory_time_s`` ahead; the arm stops there if none follows.

    The header's stamp is zero, which the controller takes as "now": the two clocks need not agree. Positions only: a
    velocity at the last point is refused by the controller.
    """

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        self._publisher = node.create_publisher(JointTrajectory, names.ARM_TRAJECTORY, qos.command())
        self._sent: JointTrajectory | None = None  # the last one

    def _move(self, q: np.ndarray, velocity: np.ndarray, seconds: float, stamp_ns: int) -> None:
        reference = self._follower.advance(q, velocity, seconds)
        ahead = reference + velocity * self.p.trajectory_time_s
        self._hold(np.clip(ahead, self.kinematics.lower, self.kinematics.upper), stamp_ns)

    def _hold(self, reference: np.ndarray, stamp_ns: int) -> None:
        point = JointTrajectoryPoint(positions=self.in_order(self.within_limits(reference)))
        sec, nanosec = divmod(round(self.p.trajectory_time_s * 1e9), 1_000_000_000)
        point.time_from_start = Duration(sec=sec, nanosec=nanosec)
        self._sent = JointTrajectory(joint_names=self.joint_names, points=[point])
        self._publisher.publish(self._sent)

    def last_resort(self) -> None:
        """The last point once more: the arm stops there. If none was sent lately, nothing."""
        if self._sent is not None and self.may_hold():
            self._publisher.publish(self._sent)
