# SPDX-License-Identifier: Apache-2.0
"""MetaWorld v3 as a simulation backend: ``metaworld/SCENE`` (random placements) and ``metaworld/SCENE-paper``.

Physics, observation, success and dense reward are MetaWorld's own. Ours: the placement follows from the episode's seed,
the first observation is not stale, an action is repeated as often as the task's control rate asks, images are drawn
55 times faster, and the mocap target stays in the task's workspace too. The frame is MetaWorld's world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import NONE, Task
from erl_vlm_ros.common.worlds import scene_of
from erl_vlm_ros.control.command import STILL
from erl_vlm_ros.data.spaces import MAX_WIDTH
from erl_vlm_ros.sim.backend import ArmState, checked_command
from erl_vlm_ros.sim.metaworld_expert import MetaWorldState
from erl_vlm_ros.sim.metaworld_scenes import COLOURS, OTHERS, PLACEMENTS, VIEWS, classes_of, progress_of
from erl_vlm_ros.sim.render import CameraRenderer, check_image_size, pinhole

JOINT_NAMES = tuple(f"right_j{i}" for i in range(7))
FINGER_NAMES = ("r_close", "l_close")
RATE_HZ = 80.0  # MetaWorld's own control steps a second
MAX_REPEAT = 20
_STEP_M = 0.01  # the mocap target moves this far at most in one of them, per axis
_TOP_REWARD = 10.0
_NO_DISTANCE = 1e-3  # m: nearer than this at the start is no distance
_CAMERA = "corner"  # the fixed camera that is put where the view asks
_INSTALL = "pip install --no-deps metaworld, and pip install scipy imageio gymnasium mujoco"


def action_repeat(task: Task) -> int:
    """How many of MetaWorld's control steps one step of the task is. ConfigError unless a whole number of them."""
    repeat = round(RATE_HZ / task.control_hz)
    if not 1 <= repeat <= MAX_REPEAT or abs(repeat * task.control_hz - RATE_HZ) > 1e-9 * RATE_HZ:
        text = (
            f"{task.path}: control_hz is {task.control_hz:g}; MetaWorld makes {RATE_HZ:g} control steps a second and "
            f"repeats an action a whole number of times: {RATE_HZ:g} (each once), 40, 20 (four times) .. 4"
        )
        raise ConfigError(text, parameter="control_hz", file=task.path)
    return repeat


def _environment(scene: str) -> Any:
    """MetaWorld's environment, placements seeded, goal visible. ConfigError: no package, or no such scene."""
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS as known
    except ImportError as error:
        text = f"tasks of MetaWorld need the package metaworld ({error}): {_INSTALL}"
        raise ConfigError(text, code=Code.MISSING_PACKAGE, parameter="task", remedy=_INSTALL) from error
    if scene not in known:
        raise ConfigError(
            f"MetaWorld has no task '{scene}'; it has {', '.join(sorted(known))}", code=Code.UNKNOWN, parameter="task"
        )
    # a subclass with one method of its own: MetaWorld 3.1 sets 11 numbers of a weld, MuJoCo has 12 since 3.4
    env = type(known[scene].__name__, (known[scene],), {"reset_mocap_welds": _reset_welds})()
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    env._partially_observable = False
    env.__dict__.pop("sawyer_observation_space", None)  # cached while the goal was hidden
    return env


def _reset_welds(env: Any) -> None:
    welds = env.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    env.model.eq_data[welds, :11] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0]


class MetaWorld:
    """One task of MetaWorld. An arm moved by its hand: linear velocity and gripper; the hand does not turn."""

    joint_names, finger_names = JOINT_NAMES, FINGER_NAMES

    def __init__(self, task: Task, image_size: tuple[int, int] = (128, 128)) -> None:
        """``image_size`` is (width, height) in pixels.

        Raises:
            ConfigError: no such task, its package is not installed, or a rate, rotation or size that cannot be.
        """
        if task.world != "metaworld":
            text = f"{task.path}: task '{task.name}' is none of MetaWorld's: their names are metaworld/SCENE"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="name", file=task.path)
        if task.rotation != NONE:
            text = f"{task.path}: action.rotation is {task.rotation}, but MetaWorld's hand does not turn"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="action.rotation", file=task.path)
        self.config, self.repeat = task, action_repeat(task)
        self.control_period, self.use_gripper = self.repeat / RATE_HZ, task.use_gripper
        self.scene, self.paper = scene_of(task.name)
        self.image_width, self.image_height = int(image_size[0]), int(image_size[1])
        check_image_size(self.image_width, self.image_height)
        if self.paper and self.scene not in PLACEMENTS:
            text = f"{task.name}: the papers have no such task; they have {', '.join(sorted(PLACEMENTS))}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="task")
        self.env = _environment(self.scene)
        self.model, self.data = self.env.model, self.env.data
        if self.paper:
            place = PLACEMENTS[self.scene]
            self.env._freeze_rand_vec, self.env._last_rand_vec = True, np.array(place.vector)
            self.env.hand_init_pos = np.array(place.hand)
        self.env.mocap_low = np.maximum(self.env.mocap_low, task.workspace_min)
        self.env.mocap_high = np.minimum(self.env.mocap_high, task.workspace_max)
        joints = [self.model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._dofs = np.array([j.dofadr[0] for j in joints])
        self._finger_dofs = np.array([self.model.joint(name).dofadr[0] for name in FINGER_NAMES])
        self._goal = np.array(task.goal)
        self.view = VIEWS.get(self.scene, OTHERS)
        self._dress()
        self._renderer: CameraRenderer | None = None
        self.reset(0)

    def _dress(self) -> None:
        """Camera, colours, and what is not to be seen: goal and finger marks, and the arm where the view hides it."""
        model, view = self.model, self.view
        camera = model.camera(_CAMERA).id
        quaternion = np.zeros(4)
        mujoco.mju_euler2Quat(quaternion, np.array(view.euler), "xyz")
        model.cam_mode[camera] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED
        model.cam_pos[camera], model.cam_quat[camera], model.cam_fovy[camera] = view.position, quaternion, view.fovy
        model.site_rgba[:, 3] = 0.0
        model.vis.quality.offsamples = 0
        if not view.arm:
            arm = model.body_rootid[model.geom_bodyid] == model.body("base").id  # and what it is mounted on
            model.geom_rgba[arm, 3] = 0.0
        if self.scene in COLOURS:
            name, colour = COLOURS[self.scene]
            geom = model.geom(name).id
            model.geom_matid[geom], model.geom_rgba[geom] = -1, colour

    def reset(self, seed: int) -> None:
        """Start an episode; placements are drawn from ``seed`` alone, or the paper's."""
        self.env.seed(int(seed))
        self.env.reset()
        mujoco.mj_forward(self.model, self.data)  # else the object is seen where it was drawn before
        self._judge(np.zeros(4))
        self._told = self._info["obj_to_target"] > _NO_DISTANCE
        self._at_start = self._distance()

    def apply(
        self, linear_velocity: np.ndarray, gripper_width: float, angular_velocity: Sequence[float] = STILL
    ) -> None:
        """Obey one command for one control period; each number is clipped to what MetaWorld allows.

        Args:
            linear_velocity: [3] m/s of the mocap target that draws the hand, at most 0.8 per axis.
            gripper_width: 0 closes with full effort, 0.08 m opens with full effort: MetaWorld knows efforts alone.
            angular_velocity: [3], not obeyed: the hand does not turn.

        Raises:
            ValueError: a wrong length or a non-finite number; nothing moves then.
        """
        velocity, _ = checked_command(linear_velocity, gripper_width, angular_velocity)
        effort = 1.0 - 2.0 * float(np.clip(gripper_width / MAX_WIDTH, 0.0, 1.0))
        action = np.append(np.clip(velocity / (_STEP_M * RATE_HZ), -1.0, 1.0), effort)
        for _ in range(self.repeat):
            self.env.set_xyz_action(action[:3])
            self.env.do_simulation([effort, -effort], n_frames=self.env.frame_skip)
            mujoco.mj_forward(self.model, self.data)
        self._judge(action)

    def track(self, joints: np.ndarray, gripper_width: float, seconds: float) -> None:
        """ConfigError: MetaWorld's arm has no joint controller."""
        text = "MetaWorld's arm is moved by its hand alone: parameter 'lock_step' must be true"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="lock_step")

    def _judge(self, action: np.ndarray) -> None:
        """Observation, MetaWorld's information and reward at this instant; ``action`` [4] led here."""
        env = self.env
        for site in env._target_site_config:
            env._set_pos_site(*site)
        space = env.sawyer_observation_space
        self.observation = np.clip(env._get_obs(), space.low, space.high)
        reward, self._info = env.evaluate_state(self.observation, action)
        self.reward = float(reward)

    def _distance(self) -> float:
        """m from the object to its target, as MetaWorld tells, or, where a task of its tells 0 throughout, by place."""
        if self._told:
            return float(self._info["obj_to_target"])
        return float(np.linalg.norm(self.observation[4:7] - self.env._target_pos))

    def observe(self) -> ArmState:
        """Joints, hand, gripper and MetaWorld's first object."""
        width = self.gripper_width
        return ArmState(
            joints=self.joint_positions,
            joint_velocities=self.data.qvel[self._dofs].copy(),
            joint_efforts=np.zeros(len(JOINT_NAMES)),  # no drives: the hand is drawn by a weld
            fingers=np.full(2, 0.5 * width),
            finger_velocities=self.data.qvel[self._finger_dofs].copy(),
            ee_position=self.observation[:3].copy(),
            ee_quaternion=self.data.body("hand").xquat[[1, 2, 3, 0]],
            gripper_width=width,
            object_position=self.observation[4:7].copy(),
            object_quaternion=np.array([0.0, 0.0, 0.0, 1.0]),  # not told: MetaWorld's tasks differ in its order
        )

    def state(self) -> MetaWorldState:
        """What MetaWorld's scripted policies look at; the learner never sees it."""
        return MetaWorldState(self.observation, self.observation[:3])

    @property
    def joint_positions(self) -> np.ndarray:
        """[7] rad."""
        return self.data.qpos[self._qpos].copy()

    @property
    def gripper_width(self) -> float:
        """Distance of the fingers, m, 0..0.1, as MetaWorld observes it."""
        return 0.1 * float(self.observation[3])

    @property
    def goal(self) -> np.ndarray:
        """The task file's goal [3] m, which the graph knows too; random goals are not told."""
        return self._goal.copy()

    def truth(self) -> dict[str, float]:
        """progress, success and class_n as of SimBackend; ``reward``: MetaWorld's dense reward, 0..1."""
        success = bool(self._info["success"] > 0)
        progress = progress_of(self._distance(), self._at_start, success)
        own = {"progress": progress, "success": float(success), "reward": self.reward / _TOP_REWARD}
        return own | classes_of(progress, success)

    def wrench(self) -> np.ndarray:
        """ConfigError: there is no force-torque sensor."""
        text = "MetaWorld's arm has no force-torque sensor: set sim_bridge.publish_wrench false"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="sim_bridge.publish_wrench")

    def render(self) -> np.ndarray:
        """The view's image, uint8 [height, width, 3] RGB. ConfigError when no OpenGL back end works."""
        if self._renderer is None:
            self._renderer = CameraRenderer(self.model, self.image_width, self.image_height, _CAMERA)
        image = self._renderer.render(self.data)
        return np.ascontiguousarray(image[::-1, ::-1]) if self.view.turned else image

    def camera_matrix(self) -> np.ndarray:
        """Intrinsics K [3, 3] in pixels; no distortion."""
        return pinhole(self.image_width, self.image_height, self.view.fovy)

    def urdf(self, base_frame: str, tool_frame: str) -> str:
        """An empty text: there is none, so only lock-step works."""
        return ""

    def link_poses(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The hand's frame."""
        return {"hand": (self.data.body("hand").xpos.copy(), self.data.body("hand").xquat[[1, 2, 3, 0]])}

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
