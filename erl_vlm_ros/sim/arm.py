# SPDX-License-Identifier: Apache-2.0
"""The simulated arm with its camera, commanded like the real one; no ROS and no Gymnasium in here."""

from __future__ import annotations

import mujoco
import numpy as np

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.paths import resource
from erl_vlm_ros.sim.ik import DifferentialIK
from erl_vlm_ros.sim.render import CameraRenderer, check_image_size
from erl_vlm_ros.sim.state import MAX_WIDTH, SimState
from erl_vlm_ros.sim.tasks import make_task
from erl_vlm_ros.tasks import load_task

JOINT_NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")
FINGER_NAMES = ("finger_left", "finger_right")
_HOME = np.array([0.0, 0.2, 1.9, 0.0, 1.04, 0.0])
_CHUNKS = 4  # the joint reference moves in this many pieces a control period, each at the middle of its time
_SERVO_LAG = 0.03  # s: kv / kp of the position servos in sim/arm.xml, fed forward
_LEASH = 0.03  # m: how far the last reference may be from the measured tool when a command arrives


def _load_model(path: str, use_gripper: bool) -> mujoco.MjModel:
    """The scene; without the gripper's joints when the task keeps it shut: rigid fingers, and cheaper."""
    spec = mujoco.MjSpec.from_file(path)
    if not use_gripper:
        for element in (
            *spec.equalities,
            *(spec.actuator(n) for n in FINGER_NAMES),
            *(spec.joint(n) for n in FINGER_NAMES),
        ):
            spec.delete(element)
    return spec.compile()


class SimArm:
    """A 6-axis arm, a task's scene and a fixed camera.

    A command is the tool's linear velocity for one control period and the gripper's opening width; the tool
    keeps pointing down. The velocity is integrated from the LAST COMMANDED pose, not from the measured one:
    a real arm sags and lags, and a reference rebuilt from measurements would creep. Only when something
    holds the arm back is the reference drawn back to within 3 cm of the measured tool before the next
    command is added, so that it does not wind up. It is kept inside the task's workspace box, and the joints
    inside their limits.

    The same seed and the same commands give the same states and images, byte for byte, on one machine.
    """

    def __init__(self, task_name: str, image_size: tuple[int, int] = (128, 128)) -> None:
        """``image_size`` is (width, height) in pixels, up to 640 x 480.

        ConfigError for an unknown task or a bad size.
        """
        self.task = make_task(task_name)
        self.config = load_task(task_name)
        if abs(self.config.control_hz - 10.0) > 1e-9:
            raise ConfigError(
                f"{self.config.path}: control_hz is {self.config.control_hz}; the simulated arm runs at 10 Hz"
            )
        self.image_width, self.image_height = int(image_size[0]), int(image_size[1])
        check_image_size(self.image_width, self.image_height)
        self.model = _load_model(str(resource(self.task.scene)), self.config.use_gripper)
        self.data = mujoco.MjData(self.model)
        self.control_period = 0.1
        self._chunk_steps = round(self.control_period / _CHUNKS / self.model.opt.timestep)
        joints = [self.model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._dofs = np.array([j.dofadr[0] for j in joints])
        fingers = FINGER_NAMES if self.config.use_gripper else ()
        self._fingers = np.array([self.model.joint(name).qposadr[0] for name in fingers], dtype=int)
        self._finger_dofs = np.array([self.model.joint(name).dofadr[0] for name in fingers], dtype=int)
        self._controls = np.array([self.model.actuator(name).id for name in JOINT_NAMES])
        self._finger_controls = np.array([self.model.actuator(name).id for name in fingers], dtype=int)
        self._ee, self._object = self.model.site("ee").id, self.model.site("object").id
        hand = {self.model.body(name).id for name in ("link6", *FINGER_NAMES)}
        self._on_tool = [int(body) in hand for body in self.model.geom_bodyid]
        self._drawer = self.model.joint("drawer").qposadr[0] if self.task.name == "drawer_open" else None
        self._ik = DifferentialIK(self.model, self._ee, self._dofs)
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
        self._joints = self._ik.solve(_HOME, start, iterations=60, tolerance=1e-6)
        self.data.qpos[self._qpos] = self._joints
        self.data.qpos[self._fingers] = self.task.start_width / 2
        self.data.ctrl[self._controls] = self._joints
        self.data.ctrl[self._finger_controls] = self.task.start_width / 2
        mujoco.mj_forward(self.model, self.data)

    def apply(self, linear_velocity: np.ndarray, gripper_width: float) -> None:
        """Obey one command for one control period (0.1 s).

        Args:
            linear_velocity: [3] m/s of the tool point in the base frame.
            gripper_width: opening in metres, clipped to 0..0.08; ignored in tasks without ``use_gripper``,
                where the fingers are locked shut, as a self-locking gripper's are.

        Raises:
            ValueError: a wrong length or a non-finite number; nothing moves then.
        """
        velocity = np.asarray(linear_velocity, dtype=np.float64).reshape(-1)
        if velocity.size != 3 or not np.isfinite(velocity).all() or not np.isfinite(gripper_width):
            raise ValueError(
                f"command must be 3 finite velocities and a finite width, got {linear_velocity!r}, {gripper_width!r}"
            )
        measured = self.data.site_xpos[self._ee]
        ahead = self._reference - measured
        distance = np.linalg.norm(ahead)
        if distance > _LEASH:
            ahead *= _LEASH / distance
        target = measured + ahead + velocity * self.control_period
        self._reference = np.minimum(np.maximum(target, self._low), self._high)
        joints = self._ik.solve(self._joints, self._reference)
        self._drive(joints, gripper_width, self.control_period, _CHUNKS, self._chunk_steps)

    def track(self, joints: np.ndarray, gripper_width: float, seconds: float) -> None:
        """Move the joint reference to ``joints`` [6] rad within ``seconds``, a multiple of the physics' time step.

        What a joint controller does; the box and the tool's direction are nobody's business here.
        """
        self._drive(joints, gripper_width, seconds, 1, max(1, round(seconds / self.model.opt.timestep)))

    def _drive(self, joints: np.ndarray, width: float, seconds: float, chunks: int, steps: int) -> None:
        """Simulate ``chunks`` times ``steps`` time steps while the joint reference moves to ``joints``."""
        previous, self._joints = self._joints, joints
        change = joints - previous
        lead = change * (_SERVO_LAG / seconds)
        control = self.data.ctrl
        control[self._finger_controls] = min(max(float(width), 0.0), MAX_WIDTH) / 2
        for chunk in range(1, chunks + 1):
            control[self._controls] = previous + change * ((chunk - 0.5) / chunks) + lead
            mujoco.mj_step(self.model, self.data, nstep=steps)
        mujoco.mj_kinematics(self.model, self.data)  # positions of the state after the last step

    # What the arm's driver, the tracker and the camera report.

    @property
    def joint_positions(self) -> np.ndarray:
        """[6] rad, in the order of JOINT_NAMES."""
        return self.data.qpos[self._qpos].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """[6] rad/s."""
        return self.data.qvel[self._dofs].copy()

    @property
    def joint_efforts(self) -> np.ndarray:
        """[6] N m of the drives."""
        return self.data.actuator_force[self._controls].copy()

    @property
    def finger_velocities(self) -> np.ndarray:
        """[2] m/s; zeros where the fingers are locked."""
        return self.data.qvel[self._finger_dofs].copy() if len(self._finger_dofs) else np.zeros(2)

    @property
    def ee_position(self) -> np.ndarray:
        """Tool point [3] m."""
        return self.data.site_xpos[self._ee].copy()

    @property
    def ee_quaternion(self) -> np.ndarray:
        """Tool orientation [4], x y z w."""
        out = np.zeros(4)
        mujoco.mju_mat2Quat(out, self.data.site_xmat[self._ee])
        return out[[1, 2, 3, 0]]

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return float(self.data.qpos[self._fingers].sum())

    @property
    def tool_wrench(self) -> np.ndarray:
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
        """Handle or block centre [3] m."""
        return self.data.site_xpos[self._object].copy()

    @property
    def object_quaternion(self) -> np.ndarray:
        """Object orientation [4], x y z w."""
        out = np.zeros(4)
        mujoco.mju_mat2Quat(out, self.data.site_xmat[self._object])
        return out[[1, 2, 3, 0]]

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
            object_rotation=self.data.site_xmat[self._object].reshape(3, 3).copy(),
            goal=self.goal,
            opening=0.0 if self._drawer is None else float(self.data.qpos[self._drawer]),
            time=self.time,
        )

    def render(self) -> np.ndarray:
        """The camera's picture, uint8 [height, width, 3] RGB. ConfigError when no OpenGL back end works."""
        if self._renderer is None:
            self._renderer = CameraRenderer(self.model, self.image_width, self.image_height)
        return self._renderer.render(self.data)

    def camera_matrix(self) -> np.ndarray:
        """Intrinsics K [3, 3] in pixels; pixel centres at whole numbers, as in OpenCV and ROS.

        No distortion.
        """
        focal = 0.5 * self.image_height / np.tan(0.5 * np.deg2rad(self.model.camera("camera").fovy[0]))
        return np.array(
            [
                [focal, 0.0, (self.image_width - 1) / 2],
                [0.0, focal, (self.image_height - 1) / 2],
                [0.0, 0.0, 1.0],
            ]
        )

    def camera_pose(self) -> np.ndarray:
        """Pose [4, 4] of the camera's optical frame (z forward, x right, y down) in the base frame."""
        camera = self.data.camera("camera")
        pose = np.eye(4)
        pose[:3, :3] = camera.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
        pose[:3, 3] = camera.xpos
        return pose

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
