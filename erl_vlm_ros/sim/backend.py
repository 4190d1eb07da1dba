# SPDX-License-Identifier: Apache-2.0
"""SimBackend: the world behind the topics. sim_bridge, the environments and the local loop know nothing else of it.

To add one: write a class with these members whose ``__init__`` takes a Task and an image size, and name it in
``BACKENDS``, or give it as ``package.module:Class`` in the parameter ``sim_bridge.backend``. No ROS in here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.control.command import STILL, action_to_command
from erl_vlm_ros.data.choices import CHOICE, OBJECT_CHOICE, Moves
from erl_vlm_ros.data.spaces import COMMANDED, MEASURED, ActionSpec, Spaces, spaces_of, with_cameras
from erl_vlm_ros.robot.spec import load_robot

if TYPE_CHECKING:
    from erl_vlm_ros.sim.cameras import SimCamera


@dataclass(frozen=True)
class ArmState:
    """What the arm's driver and a tracker report at one instant; J joints, F finger joints; base frame, SI units.

    Quaternions are x y z w. ``object_*`` is None in a world without a tracked object.
    """

    joints: np.ndarray  # [J] rad
    joint_velocities: np.ndarray  # [J] rad/s
    joint_efforts: np.ndarray  # [J] N m
    fingers: np.ndarray  # [F] m
    finger_velocities: np.ndarray  # [F] m/s
    ee_position: np.ndarray  # [3] m
    ee_quaternion: np.ndarray  # [4]
    gripper_width: float  # m
    object_position: np.ndarray | None  # [3] m
    object_quaternion: np.ndarray | None  # [4]


class SimBackend(Protocol):
    """A simulated arm, its scene and its camera. The same seed and commands give the same states and images."""

    joint_names: Sequence[str]
    finger_names: Sequence[str]  # on joint_states as well; none where the gripper is not there or not seen
    use_gripper: bool  # whether a command needs a gripper opening
    control_period: float  # s that ``apply`` simulates

    def reset(self, seed: int) -> None:
        """Start an episode, drawn from ``seed`` alone."""

    def apply(
        self, linear_velocity: np.ndarray, gripper_width: float, angular_velocity: Sequence[float] = STILL
    ) -> None:
        """Obey one command for one control period: [3] m/s of the tool point and [3] rad/s of the tool in the base
        frame, opening in m.

        Raises:
            ValueError: a wrong length or a non-finite number; nothing moves then.
        """

    def track(self, joints: np.ndarray, gripper_width: float, seconds: float) -> None:
        """Move the joint reference to ``joints`` [J] rad within ``seconds``: what a joint controller does."""

    def observe(self) -> ArmState:
        """The arm and the object now."""

    @property
    def joint_positions(self) -> np.ndarray:
        """[J] rad; what ``observe`` gives, without the rest: asked for at every tick of a driver."""

    @property
    def gripper_width(self) -> float:
        """Opening, m."""

    @property
    def goal(self) -> np.ndarray:
        """The task's goal [3] m."""

    def truth(self) -> dict[str, float]:
        """Ground truth for evaluation only: progress in [0, 1], success 0 or 1, and class_n for n in 2..5."""

    def wrench(self) -> np.ndarray:
        """[6] force N and torque N m on the gripper about the tool point, in the tool's axes."""

    def render(self) -> np.ndarray:
        """The camera's image, uint8 [height, width, 3] RGB."""

    def camera_matrix(self) -> np.ndarray:
        """Intrinsics K [3, 3] in pixels."""

    def urdf(self, base_frame: str, tool_frame: str) -> str:
        """The arm's URDF with frames of these names; its joints are ``joint_names`` and ``finger_names``.

        An empty text where there is none: then only lock-step works.
        """

    def link_poses(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Frame -> position [3] m and quaternion [4] in the base frame, for /tf."""

    def close(self) -> None:
        """Free what rendering needs."""


class DiscreteBackend(Protocol):
    """A world without an arm, of discrete actions. The local loop and rollouts play it; the graph, whose guard commands
    velocities, does not. ``control_period``, ``reset``, ``truth``, ``render`` and ``close`` are those of SimBackend.
    """

    spaces: Spaces  # its action a choice (data/choices.py)
    control_period: float
    missions: int  # kinds of mission: the seed s brings that of number s modulo their count
    instruction: str  # the mission of this episode

    def reset(self, seed: int) -> None:
        """Start an episode, its mission too, drawn from ``seed`` alone."""

    def choose(self, choices: Mapping[str, int]) -> None:
        """Obey one choice: of each part of the action which of its entries. DataError: there is none such."""

    def observation(self) -> np.ndarray:
        """The numbers that ``spaces.observation`` names, float32 [O]."""

    def truth(self) -> dict[str, float]:
        """As of SimBackend."""

    def render(self) -> np.ndarray:
        """As of SimBackend."""

    def close(self) -> None:
        """As of SimBackend."""


class BackendType(Protocol):
    """The class of a backend. One whose arm is another's to choose takes ``robot`` as well, a RobotSpec or None; one
    with named cameras takes ``cameras``, SimCameras, and has them as ``cameras``, with ``render_all`` and
    ``matrix_of`` as of SimArm."""

    def __call__(self, task: Task, image_size: tuple[int, int]) -> SimBackend:
        """The world with a task's scene; ``image_size`` is (width, height) in pixels. ConfigError: refused."""


_OURS = "mujoco_arm"
BACKENDS: Registry[BackendType] = Registry(
    "simulation backend",
    {
        _OURS: "erl_vlm_ros.sim.arm:SimArm",
        "metaworld": "erl_vlm_ros.sim.metaworld:MetaWorld",
        "minigrid": "erl_vlm_ros.sim.minigrid:MiniGrid",
    },
)


def checked_command(
    linear_velocity: np.ndarray, gripper_width: float, angular_velocity: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Linear and angular velocity [3] of a command. ValueError: a wrong length or a number that is not finite."""
    velocity = np.asarray(linear_velocity, dtype=np.float64).reshape(-1)
    turn = np.asarray(angular_velocity, dtype=np.float64).reshape(-1)
    if velocity.size != 3 or turn.size != 3 or not np.isfinite([*velocity, *turn, gripper_width]).all():
        raise DataError(
            "command must be 3 finite velocities, 3 angular ones and a width, got "
            f"{linear_velocity!r}, {angular_velocity!r}, {gripper_width!r}",
            field="action",
        )
    return velocity, turn


def backend_spaces(backend: SimBackend, task: Task, image_size: int = 128) -> Spaces:
    """What a policy sees and does in this world; images of named cameras are kept as squares of ``image_size`` px."""
    if is_discrete(backend):
        return backend.spaces
    measured = len(backend.finger_names) > 0
    spaces = spaces_of(task, backend.joint_names, MEASURED if measured else COMMANDED if task.use_gripper else "")
    return with_cameras(spaces, [camera.name for camera in named_cameras(backend)], image_size)


def is_discrete(backend: SimBackend | DiscreteBackend) -> bool:
    """Whether a world has choices in place of an arm."""
    return hasattr(backend, "choose")


def obey(backend: SimBackend | DiscreteBackend, action: np.ndarray, spec: ActionSpec) -> None:
    """Do an action [A] of the policy for one control period: the arm's command, or the choices that it makes."""
    if is_discrete(backend):
        moves = Moves.of(spec)
        chosen, thing = moves.pairs[int(moves.numbers(np.asarray(action))[0])].tolist()
        backend.choose({CHOICE: chosen} if thing < 0 else {CHOICE: chosen, OBJECT_CHOICE: thing})
        return
    linear, angular, width = action_to_command(action, spec)
    backend.apply(np.array(linear), width, np.array(angular))


def named_cameras(backend: SimBackend) -> tuple[SimCamera, ...]:
    """The named cameras of a world; none: one without a name."""
    return tuple(getattr(backend, "cameras", ()))


def check_control_rate(backend: SimBackend, task: Task) -> None:
    """Refuse a task whose control rate is not the backend's own: without a wall clock, a step is a control period."""
    if abs(task.control_hz * backend.control_period - 1.0) > 1e-9:
        text = (
            f"{task.path}: control_hz is {task.control_hz:g}; in lock-step the simulated arm makes "
            f"{1.0 / backend.control_period:g} steps a second (other rates: parameter 'lock_step' false)"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="control_hz", file=task.path)


def make_backend(
    name: str, task: Task, image_size: tuple[int, int], robot: str = "", cameras: Sequence[SimCamera] = ()
) -> SimBackend:
    """The world ``name`` with a task's scene, by default the task's own; ``image_size`` is (width, height) in pixels.

    ``robot``: name or path of the robot file whose model is simulated; empty: the world's own arm. A world that brings
    its own arm is not told. ``cameras``: named ones; none: one without a name.

    Raises:
        ConfigError: an unknown backend, or a task, a size, a robot or cameras that it refuses.
    """
    kind = BACKENDS.load(name or task.world or _OURS)
    known, options = inspect.signature(kind).parameters, {}
    if robot and "robot" in known:
        options["robot"] = load_robot(robot)
    if cameras and "cameras" not in known:
        raise ConfigError(
            f"the backend '{name or task.world}' has one camera without a name: leave cameras out of robot and task "
            "file",
            parameter="cameras",
        )
    return kind(task, image_size, **options, **({"cameras": tuple(cameras)} if cameras else {}))
