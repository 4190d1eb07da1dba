# SPDX-License-Identifier: Apache-2.0
"""The arm as it is now, for the screen: the newest image, joints and tool position, at little cost.

A driver sends more than a hundred messages a second, of which a screen needs a dozen; each that wakes the executor
costs half a millisecond. So the subscriptions take only the newest message, and only now and then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import CallbackGroup
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.data.observation import build_proprioception
from erl_vlm_ros.data.spaces import COMMANDED, EE_ROTATION, GRIPPER, ObservationSpec, run_spaces
from erl_vlm_ros.monitoring.live_reward import LiveReward
from erl_vlm_ros.monitoring.side_by_side import side_by_side
from erl_vlm_ros.monitoring.view import View
from erl_vlm_ros.robot.rotation import rotation_of
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.adapters.robot_model import watch_for_kinematics
from erl_vlm_ros.ros.robot_facts import measured_width

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

LOOK_S = 0.5  # between two looks at image and joints
PATH_S = 0.1  # between two points of the tool's path


class NowAndThen(CallbackGroup):
    """Lets one message through each time that it was opened; while closed, its subscription wakes no executor."""

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


def rgb_of(message: Image | CompressedImage) -> np.ndarray:
    """uint8 [h, w, 3] RGB. Raises ValueError for an image that cannot be read."""
    if isinstance(message, CompressedImage):
        return np.ascontiguousarray(decode_image(bytes(message.data))[:, :, ::-1])
    return convert.image_to_rgb(message)


class LiveView:
    """Feeds a View from the robot's topics and evaluates the learned reward on the images that it looks at."""

    def __init__(self, node: BaseNode, view: View):
        self._node, self._view = node, view
        self._spec: ObservationSpec | None = None  # until the arm's joints are known
        self._task = load_task(node.p.task)
        self._reward = LiveReward(node.p.image_size)
        self._joints: dict[str, float] = {}
        self._width = 0.0  # commanded, m
        self._position: tuple[float, float, float] | None = None
        self._rotation: np.ndarray | None = None
        jpeg = node.p.compressed_images
        named, one = (names.NAMED_IMAGE, names.IMAGE)
        if jpeg:
            named, one = (names.NAMED_IMAGE_COMPRESSED, names.IMAGE_COMPRESSED)
        self._cameras = {name: named.format(name) for name in node.p.cameras or ()} or {"": one}
        self._images: dict[str, np.ndarray] = {}  # newest of each camera
        self._seen_stamps: dict[str, int] = {}
        sensor = qos.sensor(depth=1)  # best effort fits every driver
        groups = []
        topics = [(JointState, topic, self._on_joints) for topic in node.p.joint_state_topics]
        for kind, topic, callback in (
            *topics,
            *(
                (CompressedImage if jpeg else Image, topic, self._image_reader(camera))
                for camera, topic in self._cameras.items()
            ),
            (PoseStamped, names.EE_POSE, self._on_pose),
        ):
            groups.append(NowAndThen())
            node.create_subscription(kind, topic, callback, sensor, callback_group=groups[-1])
        *looks, pose = groups
        node.wall_timer(LOOK_S, lambda: [look.open() for look in looks])
        node.wall_timer(PATH_S, pose.open)

        if node.p.joint_names is not None:
            self._know(node.p.joint_names)
        else:
            watch_for_kinematics(node, node.p, lambda arm: self._know(arm.joint_names))

    def _know(self, joints: Sequence[str]) -> None:
        first, node = self._spec is None, self._node
        self._spec = run_spaces({**node.values, "joint_names": list(joints)}, self._task).observation
        if first and GRIPPER in self._spec and self._spec.part(GRIPPER).source == COMMANDED:
            node.create_subscription(Float64MultiArray, names.POLICY_GRIPPER, self._on_width, qos.command())

    def _on_width(self, message: Float64MultiArray) -> None:
        with contextlib.suppress(ValueError):
            self._width = convert.width_of(message)[0]

    def set_model(self, bundle: Bundle) -> None:
        """A reward model was published. Raises BundleError for an unusable one."""
        self._reward.set_model(bundle)

    def _on_joints(self, message: JointState) -> None:
        if len(message.name) == len(message.position):
            self._joints.update(zip(message.name, message.position))

    def _on_pose(self, message: PoseStamped) -> None:
        self._position, q = convert.position_of(message), message.pose.orientation
        with contextlib.suppress(ValueError):  # a driver that does not tell
            self._rotation = rotation_of(q.x, q.y, q.z, q.w)
        if message.header.frame_id == self._node.p.base_frame:
            self._view.position(self._position, time.monotonic())

    def _image_reader(self, camera: str) -> Callable[[Image | CompressedImage], None]:
        return lambda message: self._on_image(camera, message)

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        stamp = convert.header_ns(message)
        if stamp == self._seen_stamps.get(camera):
            return  # a driver that repeats an old frame must not look alive
        self._seen_stamps[camera] = stamp
        try:
            self._images[camera] = rgb_of(message)
            if camera != next(iter(self._cameras)):
                return  # the first camera's sets the pace
            reward, rgb = None, self._images[camera]
            views = {name: self._images[name] for name in self._cameras if name in self._images}
            proprio = self._proprio()
            if proprio is not None:
                reward = self._reward.of(rgb, proprio, views)
        except (ValueError, BundleError) as error:
            self._node.get_logger().warning(f"image not shown: {error}", throttle_duration_sec=30.0)
            return
        self._view.image(side_by_side(views) if len(self._cameras) > 1 else rgb, time.monotonic(), reward)

    def _proprio(self) -> np.ndarray | None:
        """As in the run's observations, float32 [P]; None while a part is not known."""
        spec, fingers = self._spec, self._node.p.gripper_joints or ()
        if spec is None or self._position is None or not self._joints.keys() >= {*spec.joint_names, *fingers}:
            return None
        if EE_ROTATION in spec and self._rotation is None:
            return None
        joints, gripper = (np.array([self._joints[name] for name in own]) for own in (spec.joint_names, fingers))
        width = measured_width(self._node.p, gripper) if fingers else self._width
        return build_proprioception(spec, joints, np.array(self._position), width, self._rotation)
