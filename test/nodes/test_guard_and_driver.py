# SPDX-License-Identifier: Apache-2.0
"""The whole way of a command: policy, safety_guard with a joint adapter, an imitated driver, the simulated arm."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from erl_vlm_ros.common import names
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import JOINT_NAMES
from erl_vlm_ros.sim.urdf import arm_urdf

DRIVER_JOINTS = list(load_robot("sim_arm").controller_joints)
SENSOR = qos.sensor(True, 100)


class Arm:
    """sim_bridge and safety_guard, armed, with the policy's end of the topics."""

    def __init__(self, ros, adapter):
        self.ros = ros
        (ros.folder / "arm.urdf").write_text(arm_urdf())
        self.joints = ros.collect(JointState, names.JOINT_STATES, SENSOR)
        self.ee = ros.collect(PoseStamped, names.EE_POSE, SENSOR)
        ros.start("sim_bridge", lock_step=False, adapter=adapter)
        if adapter == "joint_velocity":
            ros.start("guard_watchdog", adapter=adapter)
        ros.start(
            "safety_guard", lock_step=False, adapter=adapter, controller_joints=DRIVER_JOINTS, urdf_file="arm.urdf"
        )
        self.policy = ros.publisher(TwistStamped, names.POLICY_TWIST, qos.command())
        self.home = ros.publisher(JointTrajectory, names.POLICY_HOME, qos.command())
        self._sent = 0
        ros.until(lambda: self.joints and self.ee, "the arm's state")
        ros.until(self._armed, "the guard to arm")

    def _armed(self):
        for _ in range(5):
            self.command((0.0, 0.0, 0.0))
            self.ros.serve(0.05)
        return self.ros.call(SetBool, names.ARM, SetBool.Request(data=True)).success

    def command(self, linear):
        now = self.ros.node.get_clock().now().nanoseconds
        if now - self._sent > 5e7:
            self.policy.publish(convert.twist_message(linear, now, "base_link"))
            self._sent = now

    @property
    def tool(self):
        return np.array(convert.position_of(self.ee[-1]))

    @property
    def q(self):
        return convert.joints_by_name(self.joints[-1], JOINT_NAMES)

    @property
    def speed(self):
        return max(abs(v) for v in self.joints[-1].velocity)


@pytest.mark.parametrize("adapter", ["joint_velocity", "joint_trajectory"])
def test_the_arm_obeys_the_policy_stops_in_its_silence_and_drives_home(ros, adapter):
    arm = Arm(ros, adapter)
    start, home = arm.tool, arm.q
    ros.until(lambda: arm.command((0.0, 0.1, 0.05)) or np.linalg.norm(arm.tool - start) > 0.05, "the motion", 20.0)
    way = arm.tool - start
    assert np.allclose(way / np.linalg.norm(way), np.array([0, 2, 1]) / np.sqrt(5), atol=0.1)
    ros.until(lambda: arm.speed < 0.01, "standstill in the policy's silence", 10.0)
    away = arm.q

    def go_home():
        now = ros.node.get_clock().now().nanoseconds
        if now - arm._sent > 1e8:
            point = JointTrajectoryPoint(positions=home.tolist())
            arm.home.publish(JointTrajectory(joint_names=list(JOINT_NAMES), points=[point]))
            arm._sent = now
        return np.abs(arm.q - home).max() < 0.03

    assert np.abs(away - home).max() > 0.03
    ros.until(go_home, "home", 40.0)
    ros.until(lambda: arm.speed < 0.01, "standstill at home", 10.0)


def test_wrong_joint_names_are_refused_at_start(ros):
    (ros.folder / "arm.urdf").write_text(arm_urdf())
    process = ros.start(
        "safety_guard",
        lock_step=False,
        adapter="joint_velocity",
        urdf_file="arm.urdf",
        controller_joints=["shoulder", "elbow"],
    )
    ros.until(lambda: process.poll() is not None, "the guard to refuse")
    assert process.returncode == 2
    assert "'controller_joints' is shoulder, elbow; it must name exactly the joints" in ros.log("safety_guard")
