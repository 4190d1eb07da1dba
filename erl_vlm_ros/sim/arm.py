# SPDX-License-Identifier: Apache-2.0
"""The simulated arm with its camera, commanded like the real one; no ROS and no Gymnasium in here."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import Task, load_task
from erl_vlm_ros.control.command import STILL
from erl_vlm_ros.robot.rotation import rotation_by
from erl_vlm_ros.robot.spec import OUR_ARM, RobotSpec
from erl_vlm_ros.sim import attach
from erl_vlm_ros.sim.backend import ArmState, checked_command
from erl_vlm_ros.sim.cameras import WRIST, SceneCameras, SimCamera, add_wrist_camera
from erl_vlm_ros.sim.ik import DifferentialIK
from erl_vlm_ros.sim.layout import TOOL_DOWN, ArmLayout
from erl_vlm_ros.sim.own_scene import OwnTask, join
from erl_vlm_ros.sim.quaternion import xyzw_of
from erl_vlm_ros.sim.render import CameraRenderer, check_image_size, pinhole
from erl_vlm_ros.sim.state import SimState
from erl_vlm_ros.sim.tasks import make_task
from erl_vlm_ros.sim.urdf import BASE_FRAME, CAMERA_FRAME, CAMERA_LINK, OPTICAL_IN_CAMERA_LINK, TOOL_FRAME, arm_urdf
from erl_vlm_ros.sim.urdf_of_model import attached_urdf, link_poses

JOINT_NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")
FINGER_NAMES = ("finger_left", "finger_right")
_OWN_SCENE_SPEED = 3.0  # rad/s of the built-in arm's joints, where no table of them is at hand
_HOME = np.array([0.0, 0.2, 1.9, 0.0, 1.04, 0.0])
_CHUNKS = 4  # the joint reference moves in this many pieces a control period, each at the middle of its time
_SERVO_LAG = 0.03  # s: kv / kp of the position servos in sim/arm.xml, fed forward
_MAX_TRACKING_ERROR = 0.03  # m: how far the last reference may be from the measured tool when a command arrives


Loaded = tuple[mujoco.MjModel, ArmLayout]


def _load_model(scene: mujoco.MjSpec, use_gripper: bool, max_joint_speed: float | None, wrist: bool) -> Loaded:
    """The scene; without the gripper's joints when the task keeps it shut: rigid fingers, and cheaper."""
    if not use_gripper:
        attach.lock_fingers(scene, FINGER_NAMES)
    forearm_roll = np.array([0.0, 0.0, 0.0, 0.2, 0.0, 0.0])  # settles the wrist singularity, forearm vertical
    layout = ArmLayout(
        JOINT_NAMES, FINGER_NAMES, FINGER_NAMES if use_gripper else (), home=_HOME, rest=np.zeros(6), pull=forearm_roll,
        tool_site="ee", tool_bodies=("link6", *FINGER_NAMES), tool_rotation=TOOL_DOWN, max_joint_speed=max_joint_speed,
    )  # fmt: skip
    if wrist:
        add_wrist_camera(scene, layout.tool_site)
    return attach.compiled(scene, "the scene", "scene"), layout


def _load_robot(scene: mujoco.MjSpec, robot: RobotSpec, task: Task, wrist: bool) -> Loaded:
    """The scene with the model of ``robot`` in the built-in arm's place. ConfigError: what of it does not fit."""
    attach.clear_arm(scene)
    arm = attach.Attached(scene, robot, task.use_gripper)
    if wrist:
        add_wrist_camera(scene, attach.PREFIX + attach.TOOL)
    model = attach.compiled(scene, f"the scene of {task.name} with robot {robot.name}", "model")
    return model, arm.layout(model, np.array(task.workspace_min), np.array(task.workspace_max))


class SimArm:
    """An arm, a task's scene and a fixed camera.

    A command is the tool's linear velocity for one control period and the gripper's opening width; the tool
    keeps pointing down. The velocity is integrated from the LAST COMMANDED pose, not from the measured one:
    a real arm sags and lags, and a reference rebuilt from measurements would creep. Only when something
    holds the arm back is the reference drawn back to within 3 cm of the measured tool before the next
    command is added, so that it does not wind up. It is kept inside the task's workspace box, and the joints
    inside their limits.

    The same seed and the same commands give the same states and images, byte for byte, on one machine.
    """

    def __init__(
        self,
        task: Task | str,
        image_size: tuple[int, int] = (128, 128),
        robot: RobotSpec | None = None,
        cameras: Sequence[SimCamera] = (),
    ) -> None:
        """``task``: its name tells the scene. ``image_size`` is (width, height) in pixels, up to 640 x 480. ``robot``:
        whose model stands in the scene; None: the built-in arm. ``cameras``: for ``render_all``.

        ConfigError for a task without a scene, a bad size, a robot without a model that fits, or a camera that the
        scene lacks.
        """
        self.config = load_task(task) if isinstance(task, str) else task
        own = bool(self.config.scene)
        self.task = OwnTask(self.config) if own else make_task(self.config.name)
        self.image_width, self.image_height = int(image_size[0]), int(image_size[1])
        check_image_size(self.image_width, self.image_height)
        self.use_gripper = self.config.use_gripper
        scene = join(self.config) if own else mujoco.MjSpec.from_file(str(resource(self.task.scene)))
        wrist = any(camera.view == WRIST for camera in cameras)
        if robot is None or robot.model == OUR_ARM:
            self.model, self.layout = _load_model(scene, self.use_gripper, _OWN_SCENE_SPEED if own else None, wrist)
        else:
            self.model, self.layout = _load_robot(scene, robot, self.config, wrist)
        self._cameras = SceneCameras(self.model, cameras)
        layout = self.layout
        self.joint_names, self.finger_names = layout.joints, layout.fingers
        self.data = mujoco.MjData(self.model)
        self.control_period = 0.1
        self._chunk_steps = round(self.control_period / _CHUNKS / self.model.opt.timestep)
        joints = [self.model.joint(name) for name in layout.joints]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._dofs = np.array([j.dofadr[0] for j in joints])
        fingers = layout.driven
        self._fingers = np.array([self.model.joint(name).qposadr[0] for name in fingers], dtype=int)
        self._finger_dofs = np.array([self.model.joint(name).dofadr[0] for name in fingers], dtype=int)
        self._controls = np.array([self.model.actuator(name).id for name in layout.joints])
        self._finger_controls = np.array([self.model.actuator(name).id for name in fingers], dtype=int)
        self.task.bind(self.model, self.data, layout)
        self._ee, seen = self.model.site(layout.tool_site).id, self.task.object_site
        self._object = self.model.site(seen).id if seen else None
        gripper = {self.model.body(name).id for name in layout.tool_bodies}
        self._on_tool = [int(body) in gripper for body in self.model.geom_bodyid]
        self._drawer = self.model.joint("drawer").qposadr[0] if self.task.name == "drawer_open" else None
        self._ik = DifferentialIK(self.model, self._ee, self._dofs, layout.rest, layout.pull)
        self._low, self._high = np.array(self.config.workspace_min), np.array(self.config.workspace_max)
        self._goal = np.array(self.config.goal)
        self._renderer: CameraRenderer | None = None
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start an episode: object and tool at random places drawn from ``np.random.default_rng(seed)``."""
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self.task.place(self.model, self.data, rng)
        start = rng.uniform(self.task.start_min, self.task.start_max)
        self._reference = np.array(start)
        self._direction = self.layout.tool_rotation
        self._joints = self._ik.solve(self.layout.home, start, 60, 1e-6, self._direction)
        self.data.qpos[self._qpos] = self._joints
        finger = self.layout.finger_target(min(self.task.start_width, self.layout.max_width))
        self.data.qpos[self._fingers] = finger
        self.data.ctrl[self._controls] = self._joints
        self.data.ctrl[self._finger_controls] = finger
        mujoco.mj_forward(self.model, self.data)

    def apply(
        self, linear_velocity: np.ndarray, gripper_width: float, angular_velocity: Sequence[float] = STILL
    ) -> None:
        """Obey one command for one control period (0.1 s).

        Args:
            linear_velocity: [3] m/s of the tool point in the base frame.
            angular_velocity: [3] rad/s of the tool in the base frame; without any the tool keeps its direction.
            gripper_width: opening in metres, clipped to 0..0.08; ignored in tasks without ``use_gripper``,
                where the fingers are locked shut, as a self-locking gripper's are.

        Raises:
            ValueError: a wrong length or a non-finite number; nothing moves then.
        """
        velocity, turn = checked_command(linear_velocity, gripper_width, angular_velocity)
        if turn.any():
            self._direction = rotation_by(turn * self.control_period) @ self._direction
        measured = self.data.site_xpos[self._ee]
        ahead = self._reference - measured
        distance = np.linalg.norm(ahead)
        if distance > _MAX_TRACKING_ERROR:
            ahead *= _MAX_TRACKING_ERROR / distance
        target = measured + ahead + velocity * self.control_period
        self._reference = np.minimum(np.maximum(target, self._low), self._high)
        joints = self._ik.solve(self._joints, self._reference, rotation=self._direction)
        self._drive(joints, gripper_width, self.control_period, _CHUNKS, self._chunk_steps)

    def track(self, joints: np.ndarray, gripper_width: float, seconds: float) -> None:
        """Move the joint reference to ``joints`` [J] rad within ``seconds``, a multiple of the physics' time step.

        What a joint controller does; the box and the tool's direction are not looked at here.
        """
        self._drive(joints, gripper_width, seconds, 1, max(1, round(seconds / self.model.opt.timestep)))

    def _drive(self, joints: np.ndarray, width: float, seconds: float, chunks: int, steps: int) -> None:
        """Simulate ``chunks`` times ``steps`` time steps while the joint reference moves to ``joints``."""
        previous, self._joints = self._joints, joints
        change = joints - previous
        lead = change * (_SERVO_LAG / seconds)
        control = self.data.ctrl
        opening = min(max(float(width), 0.0), self.layout.max_width)
        control[self._finger_controls] = self.layout.finger_target(opening if self.use_gripper else 0.0)
        for chunk in range(1, chunks + 1):
            control[self._controls] = previous + change * ((chunk - 0.5) / chunks) + lead
            mujoco.mj_step(self.model, self.data, nstep=steps)
        mujoco.mj_kinematics(self.model, self.data)  # positions of the state after the last step

    def inverse(self, position: np.ndarray, rotation: np.ndarray, iterations: int = 60) -> np.ndarray:
        """Joints [J] rad, from the home pose, with the tool at ``position`` [3] m and ``rotation`` [3, 3]."""
        return self._ik.solve(self.layout.home, position, iterations, 1e-3, rotation)

    # What the arm's driver, the tracker and the camera report.

    @property
    def joint_positions(self) -> np.ndarray:
        """[J] rad, in the order of joint_names."""
        return self.data.qpos[self._qpos].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """[J] rad/s."""
        return self.data.qvel[self._dofs].copy()

    @property
    def joint_efforts(self) -> np.ndarray:
        """[J] N m of the drives."""
        return self.data.actuator_force[self._controls].copy()

    @property
    def finger_velocities(self) -> np.ndarray:
        """[F] m/s; zeros where they are rigid, or those of another gripper."""
        same = len(self._finger_dofs) == len(self.finger_names)
        return self.data.qvel[self._finger_dofs].copy() if same else np.zeros(len(self.finger_names))

    @property
    def ee_position(self) -> np.ndarray:
        """Tool point [3] m."""
        return self.data.site_xpos[self._ee].copy()

    @property
    def ee_quaternion(self) -> np.ndarray:
        """Tool orientation [4], x y z w."""
        return xyzw_of(self.data.site_xmat[self._ee])

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return self.layout.width(self.data.qpos[self._fingers])

    def observe(self) -> ArmState:
        """What the driver and the tracker report; all fingers of a gripper move alike."""
        width = self.gripper_width
        return ArmState(
            joints=self.joint_positions,
            joint_velocities=self.joint_velocities,
            joint_efforts=self.joint_efforts,
            fingers=self.layout.measured_joints(width),
            finger_velocities=self.finger_velocities,
            ee_position=self.ee_position,
            ee_quaternion=self.ee_quaternion,
            gripper_width=width,
            object_position=None if self._object is None else self.object_position,
            object_quaternion=None if self._object is None else self.object_quaternion,
        )

    def truth(self) -> dict[str, float]:
        """progress in [0, 1], success 0 or 1, and class_n: the true class among n = 2..5."""
        task, state = self.task, self.state()
        truth = {"progress": float(task.progress(state)), "success": float(task.success(state))}
        return truth | {f"class_{n}": float(task.truth_class(state, n)) for n in task.merge}

    def wrench(self) -> np.ndarray:
        """[6] force N and torque N m that the world puts on the gripper, about the tool point, in the tool's axes.

        What a force-torque sensor behind the gripper shows without the gripper's own weight.
        """
        total, contact = np.zeros(6), np.zeros(6)
        tool = self.data.site_xpos[self._ee]
        for i, found in enumerate(self.data.contact):
            first, second = self._on_tool[found.geom1], self._on_tool[found.geom2]
            if first == second:
                continue
            mujoco.mj_contactForce(self.model, self.data, i, contact)
            axes = found.frame.reshape(3, 3)  # rows; the force is the one that geom1 puts on geom2
            force = (axes.T @ contact[:3]) * (1.0 if second else -1.0)
            torque = (axes.T @ contact[3:]) * (1.0 if second else -1.0)
            total[:3] += force
            total[3:] += torque + np.cross(found.pos - tool, force)
        rotation = self.data.site_xmat[self._ee].reshape(3, 3)
        return np.concatenate([rotation.T @ total[:3], rotation.T @ total[3:]])

    @property
    def object_position(self) -> np.ndarray:
        """Handle or block centre [3] m; the base where nothing is tracked."""
        return np.zeros(3) if self._object is None else self.data.site_xpos[self._object].copy()

    @property
    def object_quaternion(self) -> np.ndarray:
        """Object orientation [4], x y z w."""
        return xyzw_of(self._object_matrix())

    def _object_matrix(self) -> np.ndarray:
        return np.eye(3) if self._object is None else self.data.site_xmat[self._object].reshape(3, 3).copy()

    @property
    def goal(self) -> np.ndarray:
        """The task's goal [3] m."""
        return self._goal.copy()

    @property
    def time(self) -> float:
        """Simulated seconds since reset."""
        return float(self.data.time)

    def state(self) -> SimState:
        """Everything at this instant, for ground truth."""
        return SimState(
            joint_positions=self.joint_positions,
            joint_velocities=self.joint_velocities,
            ee_position=self.ee_position,
            ee_quaternion=self.ee_quaternion,
            gripper_width=self.gripper_width,
            object_position=self.object_position,
            object_rotation=self._object_matrix(),
            goal=self.goal,
            opening=0.0 if self._drawer is None else float(self.data.qpos[self._drawer]),
            time=self.time,
        )

    def render(self) -> np.ndarray:
        """The camera's image, uint8 [height, width, 3] RGB. ConfigError when no OpenGL back end works."""
        if self._renderer is None:
            self._renderer = CameraRenderer(self.model, self.image_width, self.image_height)
        return self._renderer.render(self.data)

    @property
    def cameras(self) -> tuple[SimCamera, ...]:
        """The named cameras; none in a run of one without a name."""
        return self._cameras.cameras

    def render_all(self) -> dict[str, np.ndarray]:
        """Name -> image uint8 [h, w, 3] RGB of every named camera. ConfigError when no OpenGL back end works."""
        return self._cameras.render(self.data)

    def matrix_of(self, camera: SimCamera) -> np.ndarray:
        """Intrinsics K [3, 3] of a named camera, in pixels."""
        return self._cameras.matrix(camera)

    def camera_matrix(self) -> np.ndarray:
        """Intrinsics K [3, 3] in pixels; pixel centres at whole numbers, as in OpenCV and ROS.

        No distortion.
        """
        return pinhole(self.image_width, self.image_height, float(self.model.camera("camera").fovy[0]))

    def camera_pose(self) -> np.ndarray:
        """Pose [4, 4] of the camera's optical frame (z forward, x right, y down) in the base frame."""
        camera = self.data.camera("camera")
        pose = np.eye(4)
        pose[:3, :3] = camera.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
        pose[:3, 3] = camera.xpos
        return pose

    def urdf(self, base_frame: str = BASE_FRAME, tool_frame: str = TOOL_FRAME) -> str:
        """The arm with its camera, written from the MJCF."""
        if self.layout.max_joint_speed is None:
            return arm_urdf(self.config, base_frame, tool_frame)
        return attached_urdf(self.model, self.layout, base_frame, tool_frame)

    def link_poses(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Frames of the URDF: position [3] m and quaternion [4] x y z w in the base frame."""
        if self.layout.max_joint_speed is None:
            bodies = {name: self.data.body(name) for name in (*(f"link{i}" for i in range(1, 7)), *FINGER_NAMES)}
            out = {name: (body.xpos.copy(), xyzw_of(body.xmat)) for name, body in bodies.items()}
        else:
            frames = link_poses(self.model, self.data, self.layout)
            out = {name: (place.copy(), xyzw_of(turn)) for name, (place, turn) in frames.items()}
        out[TOOL_FRAME] = (self.ee_position, self.ee_quaternion)
        camera = self.camera_pose()
        out[CAMERA_LINK] = (camera[:3, 3], xyzw_of(camera[:3, :3] @ OPTICAL_IN_CAMERA_LINK.T))
        out[CAMERA_FRAME] = (camera[:3, 3], xyzw_of(camera[:3, :3]))
        return out

    def close(self) -> None:
        """Free the renderers."""
        self._cameras.close()
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
