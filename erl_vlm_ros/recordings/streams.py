# SPDX-License-Identifier: Apache-2.0
"""The numbers of a recording's topics, as arrays over time: first reading, without the images themselves."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from erl_vlm_ros.control.episode_machine import EVALUATING, RUNNING
from erl_vlm_ros.recordings.bag import Bag
from erl_vlm_ros.recordings.problems import Reason, RecordingError
from erl_vlm_ros.recordings.topics import ARRAY, EMPTY, TWIST_STAMPED, Roles

CAMERA, POSE, OBJECT, COMMAND, WIDTH, EXECUTED = "camera", "pose", "object", "command", "width", "executed"
STATE, MARKS, SUCCESS = "state", "marks", "success"
JOINT_COMMAND = "joint command"  # velocities of the joints, in the driver's order
JOINTS = "joints:"  # with topic and joints: one stream for each group of joints that come together
NO_EPISODE, TRAINING, EVALUATION = 0.0, 1.0, 2.0  # in the first column of STATE; the second: a person drives


def camera_stream(number: int) -> str:
    """Name of the stream of a camera, by its place: that of the first is CAMERA."""
    return CAMERA if number == 0 else f"{CAMERA}:{number}"


@dataclass(frozen=True)
class Stream:
    """n messages in the order received, int64 ns; stamps 0: the message carries none. values: float64 [n, k].
    ``joints``: names of the columns, of joint states."""

    topic: str
    received: np.ndarray
    stamps: np.ndarray
    values: np.ndarray
    joints: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.received)


@dataclass
class Streams:
    """``dropped``: topic -> how many messages were left out because a number in them is not finite, or they are not as
    they should be. ``joints_seen``: of all drivers. ``in_tool``: commands are in the tool's frame."""

    by_name: dict[str, Stream]
    in_tool: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    joints_seen: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> Stream:
        return self.by_name[name]


class _Growing:
    def __init__(self, topic: str, width: int, joints: tuple[str, ...] = ()):
        self.topic, self.width, self.joints = topic, width, joints
        self.received, self.stamps, self.values = array("q"), array("q"), array("d")

    def add(self, received: int, stamp: int, values: Sequence[float] = ()) -> None:
        self.received.append(received)
        self.stamps.append(stamp)
        self.values.extend(values)

    def done(self) -> Stream:
        values = np.array(self.values, np.float64).reshape(len(self.received), self.width)
        return Stream(
            self.topic, np.array(self.received, np.int64), np.array(self.stamps, np.int64), values, self.joints
        )


class _Reader:
    """Takes each message to its stream."""

    def __init__(self, bag: Bag, roles: Roles, joints: Sequence[str], base_frame: str, tool_frame: str):
        self.bag, self.roles = bag, roles
        self._joints, self._base, self._tool = frozenset(joints), base_frame, tool_frame
        self.growing: dict[str, _Growing] = {}
        self.dropped: dict[str, int] = {}
        self.tool_twists = False
        self.joints_seen: set[str] = set()
        self._stamped_command = bag.topics.get(roles.command) == TWIST_STAMPED
        self.takers: dict[str, list[Callable[[str, int, bytes], None]]] = {}
        for number, camera in enumerate(roles.cameras):
            taker = partial(self._camera, camera_stream(number))
            self.takers.setdefault(camera.topic, []).append(taker)
        for topic, taker in (
            (roles.pose, self._pose), (roles.object, self._object),
            (roles.command, self._command), (roles.width, self._width), (roles.executed, self._executed),
            (roles.state, self._state), (roles.marks, self._mark), (roles.success, self._success),
            *((topic, self._joint_state) for topic in roles.joints),
        ):  # fmt: skip
            if topic:
                self.takers.setdefault(topic, []).append(taker)

    def _to(self, name: str, topic: str, width: int, joints: tuple[str, ...] = ()) -> _Growing:
        if name not in self.growing:
            self.growing[name] = _Growing(topic, width, joints)
        return self.growing[name]

    def _camera(self, name: str, topic: str, received: int, raw: bytes) -> None:
        self._to(name, topic, 0).add(received, self.bag.header_ns(topic, raw))

    def _joint_state(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        self.joints_seen.update(message.name)
        at = sorted((i for i, name in enumerate(message.name) if name in self._joints), key=message.name.__getitem__)
        if not at:
            return  # another driver's
        if len(message.position) != len(message.name):
            return self._drop(topic)
        values = [float(message.position[i]) for i in at]
        if not all(map(math.isfinite, values)):
            return self._drop(topic)
        names = tuple(message.name[i] for i in at)
        self._to(f"{JOINTS}{topic}:{','.join(names)}", topic, len(at), names).add(received, _stamp(message), values)

    def _pose(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        self._in_base(topic, message.header.frame_id)
        p, q = message.pose.position, message.pose.orientation
        values = (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        if all(map(math.isfinite, values)):
            self._to(POSE, topic, 7).add(received, _stamp(message), values)
        else:
            self._drop(topic)

    def _object(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        self._in_base(topic, message.header.frame_id)
        p = message.pose.position
        if all(map(math.isfinite, (p.x, p.y, p.z))):
            self._to(OBJECT, topic, 3).add(received, _stamp(message), (p.x, p.y, p.z))
        else:
            self._drop(topic)

    def _command(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        if self.bag.topics[topic] == ARRAY:
            values = [float(v) for v in message.data]
            stream = self._to(JOINT_COMMAND, topic, len(values))
            if stream.width != len(values):
                return self._drop(topic)
            stream.add(received, _label(message), values)
            return
        stamp = 0
        if self._stamped_command:
            frame, stamp = message.header.frame_id, _stamp(message)
            tool = bool(frame) and frame != self._base and frame == self._tool
            if COMMAND not in self.growing:
                self.tool_twists = tool
            if tool != self.tool_twists or not (tool or frame in ("", self._base)):
                self._in_base(topic, frame)
        twist = message.twist if self._stamped_command else message
        self._to(COMMAND, topic, 6).add(received, stamp, _six(twist))

    def _executed(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        self._to(EXECUTED, topic, 6).add(received, _stamp(message), _six(message.twist))

    def _width(self, topic: str, received: int, raw: bytes) -> None:
        message = self.bag.read(topic, raw)
        if len(message.data) == 1:
            self._to(WIDTH, topic, 1).add(received, _label(message), (float(message.data[0]),))
        else:
            self._drop(topic)

    def _state(self, topic: str, received: int, raw: bytes) -> None:
        try:
            said = json.loads(self.bag.read(topic, raw).data)
            detail, driven = said["detail"], bool(said.get("intervention", False))
        except (ValueError, KeyError, TypeError):
            return self._drop(topic)
        doing = {RUNNING: TRAINING, EVALUATING: EVALUATION}.get(detail, NO_EPISODE)
        self._to(STATE, topic, 2).add(received, 0, (doing, float(driven)))

    def _mark(self, topic: str, received: int, raw: bytes) -> None:
        stream = self._to(MARKS, topic, 1)
        if self.bag.topics[topic] == EMPTY:
            stream.add(received, 0, (float(len(stream.received)),))
        else:
            stream.add(received, 0, (float(self.bag.read(topic, raw).data),))

    def _success(self, topic: str, received: int, raw: bytes) -> None:
        self._to(SUCCESS, topic, 1).add(received, 0, (float(self.bag.read(topic, raw).data),))

    def _drop(self, topic: str) -> None:
        self.dropped[topic] = self.dropped.get(topic, 0) + 1

    def _in_base(self, topic: str, frame: str) -> None:
        if frame != self._base:
            text = f"{self.bag.path}: {topic} is in the frame '{frame}', the robot's base_frame is '{self._base}'"
            raise RecordingError(Reason.FRAME, text, topic=topic, file=str(self.bag.path))


def read_streams(bag: Bag, roles: Roles, joints: Sequence[str], base_frame: str, tool_frame: str) -> Streams:
    """Read a recording once, images apart.

    Args:
        joints: the names that matter, the gripper's among them; others on joint_states are another driver's.

    Raises:
        RecordingError: ``TRUNCATED``, ``UNREADABLE``, or ``FRAME``: poses or commands in another frame than the robot's
            base (commands may also be in that of its tool).
    """
    reader = _Reader(bag, roles, joints, base_frame, tool_frame)
    for topic, received, raw in bag.messages(reader.takers.keys()):
        for take in reader.takers[topic]:
            take(topic, received, raw)
    found = {name: stream.done() for name, stream in reader.growing.items()}
    return Streams(found, reader.tool_twists, reader.dropped, tuple(sorted(reader.joints_seen)))


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


def _label(message: Any) -> int:
    """Our own width commands carry a stamp in the layout's label; 0: none."""
    label = message.layout.dim[0].label if len(message.layout.dim) else ""
    return int(label) if label.isdecimal() else 0


def _six(twist: Any) -> tuple[float, ...]:
    linear, angular = twist.linear, twist.angular
    return linear.x, linear.y, linear.z, angular.x, angular.y, angular.z
