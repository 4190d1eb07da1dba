# SPDX-License-Identifier: Apache-2.0
"""The arm as it is now, for the screen: the newest picture, joints and tool position, at little cost.

A driver sends more than a hundred messages a second, of which a screen needs a dozen; each that wakes the executor
costs half a millisecond. So the subscriptions take only the newest message, and only now and then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import CallbackGroup
from sensor_msgs.msg import Image, JointState

from erl_vlm_ros.monitoring.live_reward import LiveReward
from erl_vlm_ros.monitoring.view import View
from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.bundle import Bundle, BundleError

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

LOOK_S = 0.5  # between two looks at picture and joints
PATH_S = 0.1  # between two points of the tool's path


class NowAndThen(CallbackGroup):
    """Lets one message through each time that it was opened; while closed, its subscription wakes nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._open = False

    def open(self) -> None:
        """The next message, or the one that waits, may be taken."""
        self._open = True

    def can_execute(self, entity: object) -> bool:
        """Whether it is open."""
        return self._open

    def beginning_execution(self, entity: object) -> bool:
        """Closes it; False when it was closed."""
        was, self._open = self._open, False
        return was

    def ending_execution(self, entity: object) -> None:
        """Nothing is left to be done."""


class LiveView:
    """Feeds a View from the robot's topics and evaluates the learned reward on the pictures that it looks at."""

    def __init__(self, node: BaseNode, view: View):
        self._node, self._view = node, view
        self._joints_wanted = [*node.p.joint_names, *node.p.gripper_joints]
        self._reward = LiveReward(node.p.image_size)
        self._joints: JointState | None = None
        self._position: tuple[float, float, float] | None = None
        self._seen_stamp = -1
        sensor = qos.sensor(depth=1)  # best effort fits every driver
        groups = []
        for kind, topic, callback in (
            (JointState, names.JOINT_STATES, self._on_joints),
            (Image, names.IMAGE, self._on_image),
            (PoseStamped, names.EE_POSE, self._on_pose),
        ):
            groups.append(NowAndThen())
            node.create_subscription(kind, topic, callback, sensor, callback_group=groups[-1])
        joints, picture, pose = groups
        node.wall_timer(LOOK_S, lambda: (joints.open(), picture.open()))
        node.wall_timer(PATH_S, pose.open)

    def set_model(self, bundle: Bundle) -> None:
        """A reward model was published. Raises BundleError for an unusable one."""
        self._reward.set_model(bundle)

    def _on_joints(self, message: JointState) -> None:
        if set(self._joints_wanted) <= set(message.name):
            self._joints = message

    def _on_pose(self, message: PoseStamped) -> None:
        self._position = convert.position_of(message)
        if message.header.frame_id == self._node.p.base_frame:
            self._view.position(self._position, time.monotonic())

    def _on_image(self, message: Image) -> None:
        stamp = convert.header_ns(message)
        if stamp == self._seen_stamp:
            return  # a driver that repeats an old frame must not look alive
        self._seen_stamp = stamp
        try:
            rgb = convert.image_to_rgb(message)
            reward = None
            if self._joints is not None and self._position is not None:
                reward = self._reward.of(rgb, self._proprio())
        except (ValueError, BundleError) as error:
            self._node.get_logger().warning(f"picture not shown: {error}", throttle_duration_sec=30.0)
            return
        self._view.picture(rgb, time.monotonic(), reward)

    def _proprio(self) -> np.ndarray:
        """As in build_observation: joints, tool position, opening. float32 [P]."""
        joints = convert.joints_by_name(self._joints, self._joints_wanted)
        count = len(self._node.p.joint_names)
        return np.array([*joints[:count], *self._position, joints[count:].sum()], np.float32)
