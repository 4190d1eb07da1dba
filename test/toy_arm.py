# SPDX-License-Identifier: Apache-2.0
"""Arms of any number of joints behind the SimBackend seam: kinematics without dynamics, a point to be reached.

``toy_arm:NAME`` is the arm of config/robots/NAME.yaml, or of the robot file that the variable TOY_ROBOT names:
its joints, frames and gripper, in a chain of links that is none of the real arm's.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.robot.ik import twist_to_joint_velocity
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion, rotation_vector
from erl_vlm_ros.robot.spec import RobotSpec, load_robot
from erl_vlm_ros.sim.backend import ArmState

_AXES = {2: "zy", 5: "zyyyz", 6: "zyyzyz", 7: "zyzyzyz"}
_REACH = 1.2  # m, of all links together
_DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])


def chain_urdf(robot: RobotSpec, base_frame: str, tool_frame: str) -> str:
    """A serial chain with the robot's joints, fingers and frames."""
    out = ElementTree.Element("robot", name=f"toy_{robot.name}")
    ElementTree.SubElement(out, "link", name=base_frame)

    def add(name: str, parent: str, child: str, xyz: str, axis: str, kind: str = "revolute", span: float = 2.9):
        ElementTree.SubElement(out, "link", name=child)
        joint = ElementTree.SubElement(out, "joint", name=name, type=kind)
        ElementTree.SubElement(joint, "parent", link=parent)
        ElementTree.SubElement(joint, "child", link=child)
        ElementTree.SubElement(joint, "origin", xyz=xyz)
        if kind != "fixed":
            ElementTree.SubElement(joint, "axis", xyz=axis)
            low = "0" if kind == "prismatic" else str(-span)
            ElementTree.SubElement(joint, "limit", lower=low, upper=str(span), effort="10", velocity="2.0")

    parent, count = base_frame, len(robot.joints)
    for i, (name, axis) in enumerate(zip(robot.joints, _AXES[count])):
        height = 0.3 if i == 0 else _REACH / count
        child = f"toy_link{i + 1}"
        add(name, parent, child, f"0 0 {height}", {"z": "0 0 1", "y": "0 1 0"}[axis])
        parent = child
    add("toy_tool", parent, tool_frame, f"0 0 {_REACH / count}", "0 0 1", "fixed")
    for i, name in enumerate(robot.gripper.joints):
        add(name, parent, f"toy_finger{i}", "0 0 0.1", "0 1 0", "prismatic", 1.0)
    return ElementTree.tostring(out, encoding="unicode")


class ToyArm:
    """Moves its joints as commanded; success is a tool within 3 cm of the goal."""

    robot: RobotSpec
    control_period = 0.1

    def __init__(self, task: Task, image_size: tuple[int, int]):
        self.task, (self.width, self.height) = task, image_size
        robot = self.robot
        self.joint_names, self.finger_names = robot.joints, robot.gripper.joints
        self.use_gripper = task.use_gripper
        self.arm = Kinematics.from_text(self.urdf("base", "tool"), "base", "tool")
        self._low, self._high = np.array(task.workspace_min), np.array(task.workspace_max)
        self._ready = self._reach(0.5 * (self._low + self._high))
        self.reset(0)

    def _reach(self, target: np.ndarray) -> np.ndarray:
        """Joints with the tool at ``target``, pointing down as far as the arm can."""
        bent = np.array([0.9 if axis == "y" else 0.0 for axis in _AXES[len(self.joint_names)]])
        q = bent + 0.01 * np.arange(len(bent))
        for _ in range(2000):
            at, rotation = self.arm.forward(q)
            error = np.concatenate([target - at, 0.3 * rotation_vector(_DOWN @ rotation.T)])
            jacobian = self.arm.jacobian(q)
            jacobian[3:] *= 0.3
            q = q + 0.2 * jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-3 * np.eye(6), error)
            q = np.clip(q, self.arm.lower + 0.1, self.arm.upper - 0.1)
        return q

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.q = self._ready.copy()
        self._velocity = np.zeros(len(self.q))
        self.opening = 0.0
        self._start = float(np.linalg.norm(self.goal - self._tool()[0]))
        for _ in range(10):  # a little way from the middle
            self.apply(rng.uniform(-0.1, 0.1, 3), 0.0)

    def apply(self, linear_velocity, gripper_width, angular_velocity=(0.0, 0.0, 0.0)) -> None:
        twist = np.concatenate([linear_velocity, angular_velocity]).astype(float)
        if twist.shape != (6,) or not np.isfinite([*twist, gripper_width]).all():
            raise ValueError(f"bad command {linear_velocity}, {gripper_width}, {angular_velocity}")
        for _ in range(4):
            motion = twist_to_joint_velocity(self.arm, self.q, twist, self.arm.velocity)
            self._move(self.q + motion.velocity * self.control_period / 4)
        self._velocity, self.opening = motion.velocity, float(np.clip(gripper_width, 0.0, self.robot.gripper.max_width))

    def _move(self, q: np.ndarray) -> None:
        self.q = np.clip(q, self.arm.lower, self.arm.upper)

    def track(self, joints, gripper_width, seconds) -> None:
        before = self.q
        self._move(np.asarray(joints, float))
        self._velocity, self.opening = (self.q - before) / seconds, float(gripper_width)

    def _tool(self) -> tuple[np.ndarray, np.ndarray]:
        return self.arm.forward(self.q)

    def observe(self) -> ArmState:
        at, rotation = self._tool()
        fingers = np.zeros(len(self.finger_names))
        if len(fingers):
            gripper = self.robot.gripper
            fingers[:] = (self.opening - gripper.measured_offset) / gripper.measured_scale / len(fingers)
        thing = None if self.task.observed_object == "none" else self.goal
        turn = None if thing is None else np.array([0.0, 0.0, 0.0, 1.0])
        zeros = np.zeros(len(fingers))
        return ArmState(
            self.q.copy(), self._velocity.copy(), np.zeros(len(self.q)), fingers, zeros, at, quaternion(rotation),
            self.opening, thing, turn,
        )  # fmt: skip

    @property
    def joint_positions(self) -> np.ndarray:
        return self.q.copy()

    @property
    def gripper_width(self) -> float:
        return self.opening

    @property
    def goal(self) -> np.ndarray:
        return self._low + 0.7 * (self._high - self._low)

    def truth(self) -> dict[str, float]:
        distance = float(np.linalg.norm(self.goal - self._tool()[0]))
        progress = float(np.clip(1.0 - distance / 0.3, 0.0, 1.0))
        return {"progress": progress, "success": float(distance < 0.03)} | {
            f"class_{n}": float(min(int(progress * n), n - 1)) for n in (2, 3, 4, 5)
        }

    def wrench(self) -> np.ndarray:
        return np.zeros(6)

    def render(self) -> np.ndarray:
        """Seen from above: a grey point for the goal, a bright one for the tool, larger the higher it is."""
        image = np.zeros((self.height, self.width, 3), np.uint8)
        for where, colour in ((self.goal, (90, 90, 90)), (self._tool()[0], (255, 200, 40))):
            share = (where - self._low) / (self._high - self._low)
            centre = (int(share[1] * self.width), int(share[0] * self.height))
            cv2.circle(image, centre, max(2, int(2 + 8 * share[2])), colour, -1)
        return image

    def camera_matrix(self) -> np.ndarray:
        return np.array([[100.0, 0, self.width / 2], [0, 100.0, self.height / 2], [0, 0, 1]])

    def urdf(self, base_frame: str, tool_frame: str) -> str:
        return chain_urdf(self.robot, base_frame, tool_frame)

    def link_poses(self) -> dict:
        return {}

    def close(self) -> None:
        pass


def __getattr__(name: str) -> type:
    if name.startswith("_"):
        raise AttributeError(name)
    return type(name, (ToyArm,), {"robot": load_robot(os.environ.get("TOY_ROBOT") or name)})
