# SPDX-License-Identifier: Apache-2.0
"""The real safety_guard node on a clock of ours, and an arm that obeys; for guard_faults.py and tests."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import WrenchStamped
from rclpy.logging import LoggingSeverity
from sensor_msgs.msg import CameraInfo, Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

import erl_vlm_ros
from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.nodes import safety_guard
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion
from erl_vlm_ros.ros import convert, guard_sources, guard_state, guarded_node
from erl_vlm_ros.ros.adapters import base, joints
from erl_vlm_ros.sim.urdf import arm_urdf

TASK = "drawer_open"
PERIOD = 0.01  # s
MAX_SPEED = 0.25  # m/s
MAX_TURN = 0.5  # rad/s
READY = np.array([0.0, 0.2, 1.9, 0.0, 1.04, 0.0])  # above the middle of the workspace, pointing down
MIDDLE = np.array([0.45, -0.05, 0.18])  # m, where the motion starts
VELOCITY = (0.05, 0.1, 0.05)  # m/s, what the policy keeps asking for
TIMED = (safety_guard, joints, base, guard_sources, guard_state, guarded_node)  # modules that ask for the time
PACKAGE = str(Path(erl_vlm_ros.__file__).parent)


class Clock:
    """Stands for the module ``time`` in the guard's modules."""

    def __init__(self) -> None:
        self.s = 1e8  # later than any machine has been up: a real time among these is old, and seen

    def monotonic(self) -> float:
        return self.s

    def sleep(self, seconds: float) -> None:
        self.s += seconds

    def time_ns(self) -> int:
        return round(self.s * 1e9)


class Cell:
    """A guard, and an arm that does what it is sent."""

    def __init__(self, adapter: str, folder: Path) -> None:
        urdf = folder / "arm.urdf"
        urdf.write_text(arm_urdf(TASK))
        given = {
            "task": TASK, "lock_step": False, "adapter": adapter, "urdf_file": str(urdf), "rate_hz": 1.0 / PERIOD,
            "max_speed": MAX_SPEED, "max_acceleration": 8.0, "max_jerk": 400.0, "max_angular_speed": MAX_TURN,
            "joint_margin": 0.05, "camera_timeout_s": 0.5, "heartbeat_timeout_s": 0.5, "deadman_button": 0,
            "max_force": 50.0, "command_timeout_s": 0.15, "realtime_priority": 0, "gripper": "position",
            "watchdog.use": "off",
        }  # fmt: skip
        words = [f"-p {key}:={json.dumps(value)}" for key, value in given.items()]
        rclpy.init(args=["--ros-args", *" ".join(words).split()])
        self.clock = Clock()
        for module in TIMED:
            module.time = self.clock
        self.node = safety_guard.SafetyGuard()
        self.node._clock_ns = self.clock.time_ns
        self.node.get_logger().set_level(LoggingSeverity.FATAL)
        self.arm = Kinematics.from_file(str(urdf), "base_link", "tool0")
        self.task, self.adapter = load_task(TASK), adapter
        self.callbacks = {sub.topic_name.lstrip("/"): sub.callback for sub in self.node.subscriptions}
        self.home = self._reach(MIDDLE)
        self.q = self.home.copy()
        self.sent: list[Any] = []
        self.sent_at = 0.0  # of the newest, perf_counter
        self.wrong: list[str] = []
        driver = self.node.adapter._publisher
        publish = driver.publish

        def record(message: Any) -> None:
            self.sent_at = time.perf_counter()
            self.sent.append(message)
            publish(message)

        driver.publish = record
        self.instead: dict[str, Any] = {}  # topic -> message that takes the place of the good one

    def _reach(self, position: np.ndarray) -> np.ndarray:
        """Joints with which the tool is at ``position`` m and points as in READY."""
        q = READY.copy()
        for _ in range(60):
            away = position - self.arm.forward(q)[0]
            q = q + np.linalg.pinv(self.arm.jacobian(q)) @ np.array([*away, 0.0, 0.0, 0.0])
        return q

    # -- the world

    def messages(self) -> dict[str, Any]:
        """Topic -> what is said in this period; all as it should be."""
        now = self.clock.time_ns()
        position, rotation = self.arm.forward(self.q)
        state = convert.joint_message(self.arm.joint_names, self.q.tolist(), [0.0] * len(self.q), now)
        wrench, info, joy = WrenchStamped(), CameraInfo(), Joy(buttons=[1])
        convert.set_stamp(wrench.header.stamp, now)
        return {
            names.JOINT_STATES: state,
            names.EE_POSE: convert.pose_message(position, quaternion(rotation), now, "base_link"),
            names.POLICY_TWIST: convert.twist_message(VELOCITY, now, "base_link"),
            names.POLICY_GRIPPER: convert.width_message(0.04, now),
            names.CAMERA_INFO: info, names.HEARTBEAT: Bool(data=True), names.JOY: joy, names.WRENCH: wrench,
        }  # fmt: skip

    def home_request(self) -> JointTrajectory:
        point = JointTrajectoryPoint(positions=self.home.tolist())
        return JointTrajectory(joint_names=list(self.arm.joint_names), points=[point])

    def period(self) -> None:
        """Messages in, one tick, and the arm moves."""
        for topic, message in self.messages().items():
            self.callbacks[topic](self.instead.pop(topic, message))
        for topic, message in list(self.instead.items()):
            self.callbacks[topic](message)
        self.instead.clear()
        before = len(self.sent)
        self.clock.s += PERIOD
        self.node._tick_callback()
        for message in self.sent[before:]:
            self._judge(message)
        self._obey(self.sent[-1] if len(self.sent) > before else None)

    def _obey(self, message: Any) -> None:
        if message is None:
            return
        if self.adapter == "servo_twist":
            twist = np.array([*convert.linear_of(message), *convert.angular_of(message)])
            self.q = self.q + np.linalg.pinv(self.arm.jacobian(self.q), rcond=1e-2) @ twist * PERIOD
        elif self.adapter == "joint_velocity":
            self.q = self.q + np.array(message.data) * PERIOD
        else:
            aim = np.array(message.data if self.adapter == "joint_position" else message.points[0].positions)
            self.q = self.q + np.clip(aim - self.q, -0.02, 0.02)

    def _judge(self, message: Any) -> None:
        """Whether a command may leave: finite, and not faster or further than the envelope."""
        if self.adapter == "servo_twist":
            linear, angular = convert.linear_of(message), convert.angular_of(message)
            good = all(map(math.isfinite, (*linear, *angular)))
            good = good and math.hypot(*linear) <= MAX_SPEED * 1.001 and math.hypot(*angular) <= MAX_TURN * 1.001
        elif self.adapter == "joint_velocity":
            rates = np.array(message.data)
            good = rates.shape == self.q.shape and bool(np.isfinite(rates).all())
            good = good and np.linalg.norm((self.arm.jacobian(self.q) @ rates)[:3]) <= MAX_SPEED * 1.1
        else:
            aim = np.array(message.data if self.adapter == "joint_position" else message.points[0].positions)
            good = aim.shape == self.q.shape and bool(np.isfinite(aim).all())
            good = good and bool((aim >= self.arm.lower).all() and (aim <= self.arm.upper).all())
            if good:
                low, high = np.array(self.task.workspace_min) - 0.02, np.array(self.task.workspace_max) + 0.02
                at = self.arm.forward(aim)[0]
                good = bool((at >= low).all() and (at <= high).all())
        if not good:
            self.wrong.append(str(message)[:200])

    # -- what a person does

    def recover(self) -> None:
        """Back at the start, cleared, armed and moving."""
        self.q = self.home.copy()
        self.clock.s += 2.0  # all that was said is too old
        core = self.node.core
        core.watchdog.clear_estop()
        core.arm(False, self.clock.s)
        self.node.adapter._follower.stop() if hasattr(self.node.adapter, "_follower") else None
        core.linear.reset()
        if core.angular is not None:
            core.angular.reset()
        self.node._periods = type(self.node._periods)(PERIOD)
        for _ in range(3):
            self.period()
        response = self.node._on_arm(SetBool.Request(data=True), SetBool.Response())
        if not response.success:
            raise SystemExit(f"{self.adapter}: cannot arm: {response.message}")
        for _ in range(4):
            self.period()

    def close(self) -> None:
        try:
            self.node.destroy_node()
        finally:
            rclpy.shutdown()
        for module in TIMED:
            module.time = time
