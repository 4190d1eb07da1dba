# SPDX-License-Identifier: Apache-2.0
"""Which topic of a recording plays which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from erl_vlm_ros.common import names
from erl_vlm_ros.common.cameras import TOPIC as TOPIC_SOURCE
from erl_vlm_ros.common.cameras import CameraSpec
from erl_vlm_ros.recordings.options import (
    AUTO,
    BAG,
    COMMAND,
    IDLE,
    IMAGES,
    OBJECT,
    RECORDED,
    STATE,
    TOPIC,
    BuildOptions,
)
from erl_vlm_ros.recordings.problems import Reason, RecordingError

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINT_STATE, POSE, TWIST = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/Twist"
TWIST_STAMPED, ARRAY, TEXT = "geometry_msgs/msg/TwistStamped", "std_msgs/msg/Float64MultiArray", "std_msgs/msg/String"
BOOL, EMPTY, BYTES = "std_msgs/msg/Bool", "std_msgs/msg/Empty", "std_msgs/msg/UInt8MultiArray"
NUMBERS = tuple(f"std_msgs/msg/{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
COMMANDS = (TWIST_STAMPED, TWIST, ARRAY)
#: our names of what may have been recorded of a command, the surest first
_COMMANDS = (names.POLICY_TWIST, names.EXECUTED, names.ARM_TWIST, names.HUMAN_TWIST, names.HUMAN_TWIST_PLAIN)


@dataclass(frozen=True)
class Camera:
    """crop: x, y, width, height in px of what the topic shows; empty: all of it."""

    name: str
    topic: str
    crop: tuple[int, ...] = ()


@dataclass(frozen=True)
class Roles:
    """Names of topics; empty: there is none. ``width``: the gripper's command, in m where
    ``width_is_opening``, else as its driver takes it; ``state``: run/state; ``transitions``:
    episodes as our own controller published them; ``episodes``: where an episode begins and ends, no longer AUTO."""

    cameras: tuple[Camera, ...]
    joints: tuple[str, ...]
    pose: str
    object: str
    command: str
    width: str
    width_is_opening: bool
    executed: str
    state: str
    marks: str
    success: str
    urdf: str
    transitions: str
    episodes: str


def find_roles(topics: Mapping[str, str], options: BuildOptions, where: str) -> Roles:
    """The parts that the topics (name -> type) of the recording ``where`` play.

    Raises:
        RecordingError: ``NO_TOPIC``, ``SEVERAL_TOPICS`` or ``TYPE``; names the topic and how to say which.
    """
    finder = _Finder(topics, dict(options.robot.remap), where)
    transitions = finder.ours(names.TRANSITIONS, BYTES)
    state = finder.ours(names.RUN_STATE, TEXT)
    episodes = _episodes(options, transitions, state, finder)
    recorded = episodes == RECORDED
    width = finder.width(options.gripper_command)
    tracked = options.observe != IMAGES and options.task.observed_object != "none"
    # What our own controller recorded is whole: it needs no other topic.
    return Roles(
        cameras=() if recorded else finder.cameras(options),
        joints=() if recorded else finder.joints(options),
        pose=finder.ours(names.EE_POSE, POSE),
        object="" if recorded or not tracked else finder.required(
            names.OBJECT_POSE, POSE, "leave the object out with --observe images", options.observe == OBJECT
        ),
        command="" if recorded or options.action != COMMAND else finder.command(options.command),
        width=width,
        width_is_opening=bool(width) and width == finder.ours(names.POLICY_GRIPPER, ARRAY),
        executed=finder.ours(names.EXECUTED, TWIST_STAMPED),
        state=state,
        marks=finder.named(options.episode_topic, (BOOL, EMPTY, *NUMBERS)) if episodes == TOPIC else "",
        success=finder.named(options.success_topic, (BOOL,)) or finder.ours(names.SUCCESS, BOOL),
        urdf=finder.ours(names.ROBOT_DESCRIPTION, TEXT),
        transitions=transitions,
        episodes=episodes,
    )  # fmt: skip


def _episodes(options: BuildOptions, transitions: str, state: str, finder: _Finder) -> str:
    asked = options.episodes
    if asked == AUTO:
        if options.episode_topic:
            return TOPIC
        return RECORDED if transitions and options.action == COMMAND else STATE if state else BAG
    for mode, topic, name in ((RECORDED, transitions, names.TRANSITIONS), (STATE, state, names.RUN_STATE)):
        if asked == mode and not topic:
            raise finder.missing(name, f"which --episodes {mode} reads")
    return asked if asked in (RECORDED, STATE, TOPIC, IDLE) else BAG


class _Finder:
    def __init__(self, topics: Mapping[str, str], remap: Mapping[str, str], where: str):
        self._topics, self._remap, self._where = topics, remap, where

    def ours(self, name: str, kind: str) -> str:
        """A topic of ours by the robot's name for it, at the root or in the one namespace that has it; empty: none."""
        wanted = self._remap.get(name, name).lstrip("/~")
        found = [topic for topic, its in self._topics.items() if its == kind and topic.lstrip("/") == wanted]
        if not found:
            found = [t for t, its in self._topics.items() if its == kind and t.endswith(f"/{wanted}")]
        if len(found) > 1:
            raise self._error(
                Reason.SEVERAL_TOPICS, wanted, f"{wanted} is there {len(found)} times: {', '.join(found)}"
            )
        return found[0] if found else ""

    def required(self, name: str, kind: str, else_: str, must: bool) -> str:
        found = self.ours(name, kind)
        if must and not found:
            raise self.missing(self._remap.get(name, name), else_)
        return found

    def named(self, name: str, kinds: tuple[str, ...]) -> str:
        """A topic that was asked for; empty: none was."""
        if not name:
            return ""
        topic = name if name in self._topics else f"/{name.lstrip('/')}"
        if topic not in self._topics:
            raise self.missing(name)
        if self._topics[topic] not in kinds:
            text = f"{topic} is a {self._topics[topic]}; expected {' or '.join(kinds)}"
            raise self._error(Reason.TYPE, topic, text)
        return topic

    def cameras(self, options: BuildOptions) -> tuple[Camera, ...]:
        if not options.camera_names:
            return (Camera("", self.camera(options.cameras[0][1] if options.cameras else "")),)
        given, specs = dict(options.cameras), {spec.name: spec for spec in options.declared}
        return tuple(self._named_camera(name, given.get(name, ""), specs.get(name)) for name in options.camera_names)

    def _named_camera(self, name: str, asked: str, spec: CameraSpec | None) -> Camera:
        """By --camera, as our camera node publishes it, or (uncropped yet) as the driver that its source names does."""
        crop = () if spec is None else tuple(spec.crop)
        if asked:
            topic = self.named(asked, (RAW, COMPRESSED))
            ours = topic.removesuffix("/compressed").endswith(f"/{names.NAMED_IMAGE.format(name)}")
            return Camera(name, topic, () if ours else crop)
        compressed = self.ours(names.NAMED_IMAGE_COMPRESSED.format(name), COMPRESSED)
        if found := compressed or self.ours(names.NAMED_IMAGE.format(name), RAW):
            return Camera(name, found)
        kind, _, driver = ("", "", "") if spec is None else spec.source.partition(":")
        if kind == TOPIC_SOURCE and (found := self.ours(f"{driver}/compressed", COMPRESSED) or self.ours(driver, RAW)):
            return Camera(name, found, crop)
        raise self.missing(f"images of the camera '{name}'", f"say where: --camera {name}=TOPIC")

    def camera(self, asked: str) -> str:
        if asked:
            return self.named(asked, (RAW, COMPRESSED))
        kinds = (COMPRESSED, RAW)
        for name in (names.POLICY_IMAGE_COMPRESSED, names.POLICY_IMAGE, names.IMAGE_COMPRESSED, names.IMAGE):
            found = self.ours(name, COMPRESSED if name.endswith("/compressed") else RAW)
            if found:
                return found
        images = [t for t, kind in self._topics.items() if kind in kinds and "depth" not in t.lower()]
        cameras = {topic.removesuffix("/compressed") for topic in images}
        if not cameras:
            raise self.missing("camera images", "sensor_msgs Image or CompressedImage")
        if len(cameras) > 1:
            text = f"choose --camera from {', '.join(sorted(images))}"
            raise self._error(Reason.SEVERAL_TOPICS, "", text)
        camera = cameras.pop()
        return f"{camera}/compressed" if f"{camera}/compressed" in images else camera

    def joints(self, options: BuildOptions) -> tuple[str, ...]:
        wanted = options.robot.joint_states
        found = tuple(topic for topic in (self.ours(name, JOINT_STATE) for name in wanted) if topic)
        if not found:
            raise self.missing(" or ".join(wanted), "the robot file's joint_states names the topics")
        return found

    def command(self, asked: str) -> str:
        if asked:
            return self.named(asked, COMMANDS)
        for name in _COMMANDS:
            for kind in (TWIST_STAMPED, TWIST):
                if found := self.ours(name, kind):
                    return found
        if found := self.ours(names.ARM_JOINT_COMMANDS, ARRAY):
            return found
        tried = ", ".join(self._remap.get(name, name) for name in _COMMANDS)
        raise self.missing(f"command ({tried})", "name it with --command, or take the motion: --action next-pose")

    def width(self, asked: str) -> str:
        if asked:
            return self.named(asked, (ARRAY,))
        return self.ours(names.POLICY_GRIPPER, ARRAY) or self.ours(names.ARM_GRIPPER, ARRAY)

    def missing(self, what: str, hint: str = "") -> RecordingError:
        text = f"no {what}{f' ({hint})' if hint else ''}; it has {', '.join(sorted(self._topics)) or 'no topics'}"
        return self._error(Reason.NO_TOPIC, what, text)

    def _error(self, reason: Reason, topic: str, text: str) -> RecordingError:
        return RecordingError(reason, f"{self._where}: {text}", topic=topic, file=self._where)
