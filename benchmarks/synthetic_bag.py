# SPDX-License-Identifier: Apache-2.0
"""Bags as `ros2 bag record` writes them, out of numbers: for the benchmark of `erl-vlm dataset build` and its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
CAMERA, JOINTS, POSE, OBJECT = "/camera/camera/color/image_raw/compressed", "/joint_states", "/ee_pose", "/object_pose"
COMMAND, GRIPPER, SUCCESS, STATE = "/policy/twist", "/policy/gripper", "/task/success", "/run/state"
_KINDS = {
    CAMERA: "sensor_msgs/msg/CompressedImage", JOINTS: "sensor_msgs/msg/JointState", SUCCESS: "std_msgs/msg/Bool",
    POSE: "geometry_msgs/msg/PoseStamped", OBJECT: "geometry_msgs/msg/PoseStamped", STATE: "std_msgs/msg/String",
    COMMAND: "geometry_msgs/msg/TwistStamped", GRIPPER: "std_msgs/msg/Float64MultiArray",
}  # fmt: skip
BEGAN_NS = 1_750_000_000_000_000_000


@dataclass
class Message:
    """``at_s``, ``stamp_s``: since the beginning, at the recorder and by its header."""

    topic: str
    at_s: float
    content: Any
    kind: str = ""


@dataclass
class Session:
    """A person drives the simulated six-joint arm about: rates in Hz, times in s, ``delay_s`` from a stamp to the
    recorder. The tool moves with ``velocity``(t) [3] m/s from ``start``; the joints say sin(t + joint)."""

    seconds: float = 6.0
    camera_hz: float = 30.0
    joint_hz: float = 100.0
    command_hz: float = 50.0
    size: tuple[int, int] = (64, 48)
    quality: int = 90
    images: int = 16  # different ones, in turn
    joints: Sequence[str] = tuple(f"joint{i}" for i in range(1, 7))
    fingers: Sequence[str] = ("finger_left", "finger_right")
    fingers_topic: str = JOINTS
    start: tuple[float, float, float] = (0.45, 0.0, 0.2)
    velocity: Callable[[float], Sequence[float]] = lambda t: (0.1 * np.sin(t), 0.1 * np.cos(t), 0.0)
    delay_s: float = 0.004
    jitter_s: float = 0.0  # by which stamps are late, uniformly from 0 to this
    base_frame: str = "base_link"
    topics: Sequence[str] = (CAMERA, JOINTS, POSE, OBJECT, COMMAND)
    offset_s: dict[str, float] = field(default_factory=dict)  # topic -> how far its clock is ahead

    def image(self, number: int) -> np.ndarray:
        """uint8 [h, w, 3], BGR: texture as of a camera, and its number as a bar."""
        rng = np.random.default_rng(number % self.images)
        width, height = self.size
        coarse = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 6, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        image[: height // 8, : width * (number % self.images + 1) // self.images] = 255
        return image

    def position(self, t: float) -> np.ndarray:
        """The tool's position, m, by summing ``velocity`` up in steps of 1 ms."""
        if not hasattr(self, "_path"):
            grid = np.arange(0.0, self.seconds + 0.1, 1e-3)
            steps = np.array([self.velocity(s) for s in grid]) * 1e-3
            self._path = np.vstack([np.zeros(3), np.cumsum(steps, axis=0)]) + self.start
        return self._path[min(round(max(t, 0.0) * 1000), len(self._path) - 1)]

    def messages(self) -> Iterator[Message]:
        """All messages, in the order of their stamps."""
        rates = {CAMERA: self.camera_hz, JOINTS: self.joint_hz, POSE: self.joint_hz, OBJECT: self.joint_hz}
        rates |= {COMMAND: self.command_hz, GRIPPER: self.command_hz}
        streams, rng = [], np.random.default_rng(0)
        for topic in self.topics:
            count = int(self.seconds * rates[topic])
            jitter = rng.uniform(0.0, self.jitter_s, count) if self.jitter_s else np.zeros(count)
            streams += [(k / rates[topic] + float(jitter[k]), topic, k) for k in range(count)]
        jpegs: list[bytes] = []
        for t, topic, k in sorted(streams):
            stamp = t + self.offset_s.get(topic, 0.0)
            if topic == CAMERA:
                while len(jpegs) < min(k + 1, self.images):
                    flag = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
                    jpegs.append(cv2.imencode(".jpg", self.image(len(jpegs)), flag)[1].tobytes())
                yield Message(topic, t + self.delay_s, image(jpegs[k % self.images], stamp))
            elif topic == JOINTS:
                arm = [float(np.sin(t + i)) for i in range(len(self.joints))]
                fingers = [0.01] * len(self.fingers)
                if self.fingers_topic == JOINTS:
                    content = joint_state((*self.joints, *self.fingers), arm + fingers, stamp)
                else:
                    content = joint_state(self.joints, arm, stamp)
                    kind = _KINDS[JOINTS]
                    other = joint_state(self.fingers, fingers, stamp)
                    yield Message(self.fingers_topic, t + self.delay_s, other, kind)
                yield Message(topic, t + self.delay_s, content)
            elif topic in (POSE, OBJECT):
                place = self.position(t) if topic == POSE else (0.5, 0.0, 0.1)
                yield Message(topic, t + self.delay_s, pose(place, stamp, self.base_frame))
            elif topic == COMMAND:
                yield Message(topic, t + self.delay_s, twist(self.velocity(t), stamp, self.base_frame))
            else:
                yield Message(topic, t + self.delay_s, width(0.04))


def write_bag(path: Path, messages: Iterator[Message] | Sequence[Message], sqlite: bool = False) -> Path:
    """A bag of ``messages`` at ``path``, a new folder; returns it."""
    plugin = StoragePlugin.SQLITE3 if sqlite else StoragePlugin.MCAP
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for message in messages:
            kind = message.kind or _KINDS[message.topic]
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(message.topic, kind, typestore=STORE)
            raw = STORE.serialize_cdr(message.content, kind)
            writer.write(connections[message.topic], ns(message.at_s), raw)
    return path


def ns(seconds: float) -> int:
    """ns since 1970 of a time since the beginning."""
    return BEGAN_NS + round(seconds * 1e9)


def header(stamp_s: float | None, frame: str = "") -> Any:
    """A header; no stamp: zero."""
    at = 0 if stamp_s is None else ns(stamp_s)
    time = T["builtin_interfaces/msg/Time"](at // 10**9, at % 10**9)
    return T["std_msgs/msg/Header"](time, frame)


def image(jpeg: bytes, stamp_s: float | None) -> Any:
    """A CompressedImage."""
    return T["sensor_msgs/msg/CompressedImage"](header(stamp_s), "jpeg", np.frombuffer(jpeg, np.uint8))


def raw_image(bgr: np.ndarray, stamp_s: float | None) -> Any:
    """An Image, bgr8."""
    height, width = bgr.shape[:2]
    data = np.ascontiguousarray(bgr).reshape(-1)
    return T["sensor_msgs/msg/Image"](header(stamp_s), height, width, "bgr8", 0, 3 * width, data)


def joint_state(names: Sequence[str], positions: Sequence[float], stamp_s: float | None) -> Any:
    """A JointState of positions."""
    none = np.zeros(0)
    return T["sensor_msgs/msg/JointState"](header(stamp_s), list(names), np.array(positions, np.float64), none, none)


def pose(position: Sequence[float], stamp_s: float | None, frame: str, turn: Sequence[float] = (0, 0, 0, 1)) -> Any:
    """A PoseStamped; ``turn``: quaternion x y z w."""
    point, quaternion = T["geometry_msgs/msg/Point"], T["geometry_msgs/msg/Quaternion"]
    content = T["geometry_msgs/msg/Pose"](point(*map(float, position)), quaternion(*map(float, turn)))
    return T["geometry_msgs/msg/PoseStamped"](header(stamp_s, frame), content)


def plain_twist(linear: Sequence[float], angular: Sequence[float] = (0, 0, 0)) -> Any:
    """A Twist."""
    vector = T["geometry_msgs/msg/Vector3"]
    return T["geometry_msgs/msg/Twist"](vector(*map(float, linear)), vector(*map(float, angular)))


def twist(linear: Sequence[float], stamp_s: float | None, frame: str, angular: Sequence[float] = (0, 0, 0)) -> Any:
    """A TwistStamped."""
    return T["geometry_msgs/msg/TwistStamped"](header(stamp_s, frame), plain_twist(linear, angular))


def width(*values: float) -> Any:
    """A Float64MultiArray."""
    layout = T["std_msgs/msg/MultiArrayLayout"]([], 0)
    return T["std_msgs/msg/Float64MultiArray"](layout, np.array(values, np.float64))


def simple(kind: str, value: Any = None) -> Any:
    """A message of std_msgs: Bool, Int32, String, UInt8MultiArray (bytes), Empty."""
    if kind == "UInt8MultiArray":
        layout = T["std_msgs/msg/MultiArrayLayout"]([], 0)
        return T["std_msgs/msg/UInt8MultiArray"](layout, np.frombuffer(value, np.uint8))
    return T[f"std_msgs/msg/{kind}"]() if kind == "Empty" else T[f"std_msgs/msg/{kind}"](value)
