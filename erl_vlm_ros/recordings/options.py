# SPDX-License-Identifier: Apache-2.0
"""How recordings are made into episodes."""

from __future__ import annotations

from dataclasses import dataclass

from erl_vlm_ros.common.cameras import CameraSpec, merged
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.robot.spec import RobotSpec

AUTO = "auto"
COMMAND, NEXT_POSE = "command", "next-pose"  # where an action comes from
RECORDED, STATE, TOPIC, IDLE, BAG = "recorded", "state", "topic", "idle", "bag"  # where an episode begins and ends
HEADER, RECEIVED = "header", "received"  # which clock counts
PERSON, POLICY = "person", "policy"  # who drove
OBJECT, IMAGES = "state", "images"  # with the tracked object, or without
ACTIONS, EPISODES = (COMMAND, NEXT_POSE), (AUTO, RECORDED, STATE, TOPIC, IDLE, BAG)
CLOCKS, DRIVERS, OBSERVED = (HEADER, RECEIVED), (AUTO, PERSON, POLICY), (AUTO, OBJECT, IMAGES)
YES, NO = "yes", "no"


@dataclass(frozen=True)
class BuildOptions:
    """Topics that are not named are found by the robot file and our own names; times in s.

    tolerance_s: how far a control step may differ from the control period, and a state from its frame; None: half a
    control period. late_s: how much later (earlier) than its episode a topic may begin (end): so much is cut off.
    command_hold_s: so long a command counts without a next one; after it the arm stands. command_scale: m/s and rad/s
    of a 1 in the command. idle_s: so long a pause ends an episode, with ``episodes`` IDLE.
    """

    robot: RobotSpec
    task: Task
    cameras: tuple[tuple[str, str], ...] = ()  # (name, topic); one without a name has an empty one
    command: str = ""
    gripper_command: str = ""
    action: str = COMMAND
    episodes: str = AUTO
    episode_topic: str = ""
    idle_s: float = 2.0
    success_topic: str = ""
    clock: str = HEADER
    observe: str = AUTO
    urdf: str = ""
    driven_by: str = AUTO
    image_size: int = 128
    jpeg_quality: int = 90
    tolerance_s: float | None = None
    late_s: float = 1.0
    min_steps: int = 5
    command_hold_s: float = 0.5
    command_scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("action", ACTIONS), ("episodes", EPISODES), ("clock", CLOCKS), ("driven_by", DRIVERS),
            ("observe", OBSERVED),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                text = f"--{name.replace('_', '-')} must be one of {', '.join(allowed)}, got {getattr(self, name)}"
                raise ConfigError(text, parameter=name)
        for name in ("idle_s", "command_hold_s", "tolerance_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"--{name[:-2].replace('_', '-')} must be above 0, got {value}", parameter=name)
        if len(self.cameras) > 1 and not all(name for name, _ in self.cameras):
            raise ConfigError("--camera: several cameras need names: --camera NAME=TOPIC", parameter="camera")
        if len({name for name, _ in self.cameras}) < len(self.cameras):
            raise ConfigError("--camera names a camera twice", parameter="camera")
        if self.declared and self.cameras and not self.cameras[0][0]:
            told = ", ".join(camera.name for camera in self.declared)
            text = f"--camera TOPIC: the files of robot and task name cameras ({told}): --camera NAME=TOPIC"
            raise ConfigError(text, parameter="camera")
        if not 0 <= self.late_s < float("inf"):
            raise ConfigError(f"--late must be 0 or more, got {self.late_s}", parameter="late_s")
        if self.min_steps < 1:
            raise ConfigError(f"--min-steps must be at least 1, got {self.min_steps}", parameter="min_steps")
        if self.episodes == TOPIC and not self.episode_topic:
            raise ConfigError("--episodes topic needs --episode-topic NAME", parameter="episode_topic")
        if self.episode_topic and self.episodes not in (AUTO, TOPIC):
            raise ConfigError(f"--episode-topic and --episodes {self.episodes}: one of them", parameter="episode_topic")

    @property
    def declared(self) -> tuple[CameraSpec, ...]:
        """The cameras that robot and task file name; none: one without a name."""
        return merged(self.robot.cameras, self.task.cameras)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, the first paces the episodes; empty: one without a name. Those that --camera alone
        names come last."""
        names = [camera.name for camera in self.declared]
        return tuple(dict.fromkeys((*names, *(name for name, _ in self.cameras if name))))

    @property
    def period_s(self) -> float:
        """The control period."""
        return 1.0 / self.task.control_hz

    @property
    def tolerance(self) -> float:
        """``tolerance_s``, or its default."""
        return 0.5 * self.period_s if self.tolerance_s is None else self.tolerance_s
