# SPDX-License-Identifier: Apache-2.0
"""Grippers behind an action of control_msgs: GripperCommand, and ParallelGripperCommand of newer controllers."""

from __future__ import annotations

import time
from typing import Any

from rclpy.action import ActionClient

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.ros.adapters.gripper_goals import GripperGoals
from erl_vlm_ros.ros.adapters.packages import message


class GripperCommandAction:
    """Sends goals without waiting for their results; never blocks."""

    ACTION = "GripperCommand"

    def __init__(self, node: Any, p: Any) -> None:
        """ConfigError when control_msgs is not installed."""
        self._node, self._p = node, p
        self._action = message("control_msgs.action", self.ACTION, "gripper", p.gripper)
        self._client = ActionClient(node, self._action, names.ARM_GRIPPER_ACTION)
        self._goals = GripperGoals()

    def prepare(self) -> None:
        """Nothing to check."""

    def send(self, width_m: float, stamp_ns: int) -> None:
        """Send a goal when the opening has changed. A gripper that is not there is warned about."""
        if not self._client.server_is_ready():
            self._goals.lost()
            self._node.get_logger().warning(
                f"no action server {names.ARM_GRIPPER_ACTION}: the gripper does not move", throttle_duration_sec=5.0
            )
        elif self._goals.due(width_m, time.monotonic()):
            goal = self._goal(self._p.gripper_offset + self._p.gripper_scale * width_m)
            self._node.when_done(self._client.send_goal_async(goal), self._accepted)

    def _goal(self, position: float) -> Any:
        goal = self._action.Goal()
        goal.command.position = position
        goal.command.max_effort = self._p.gripper_max_effort
        return goal

    def _accepted(self, future: Any) -> None:
        if future.exception() is not None or not future.result().accepted:
            self._goals.lost()
            self._node.get_logger().warning("the gripper refused a goal", throttle_duration_sec=5.0)


class ParallelGripperCommandAction(GripperCommandAction):
    """The action of parallel_gripper_controller: the command is a JointState."""

    ACTION = "ParallelGripperCommand"

    def prepare(self) -> None:
        """ConfigError without a joint name."""
        if not self._p.gripper_joint:
            text = "parameter 'gripper_joint' is empty: name the joint that the controller commands"
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter="safety_guard.gripper_joint")

    def _goal(self, position: float) -> Any:
        goal = self._action.Goal()
        goal.command.name = [self._p.gripper_joint]
        goal.command.position = [position]
        goal.command.effort = [self._p.gripper_max_effort]
        return goal
