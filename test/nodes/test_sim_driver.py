# SPDX-License-Identifier: Apache-2.0
"""sim_bridge in real time as a process: the topics and manners of a real arm's driver, over real DDS."""

from __future__ import annotations

import json

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.common import names
from erl_vlm_ros.params.param import namespace, resolve
from erl_vlm_ros.params.tables._adapters import ADAPTER_PARAMETERS
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.adapters import make_adapter
from erl_vlm_ros.ros.frames import transforms
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.urdf import arm_urdf

DRIVER_JOINTS = list(load_robot("sim_arm").controller_joints)
SENSOR = qos.sensor(True, 100)
COMMANDS = {
    "servo_twist": (TwistStamped, names.ARM_TWIST),
    "joint_velocity": (Float64MultiArray, names.ARM_JOINT_COMMANDS),
    "joint_position": (Float64MultiArray, names.ARM_JOINT_COMMANDS),
    "joint_trajectory": (JointTrajectory, names.ARM_TRAJECTORY),
}
STILL = (0.0, 0.0, 0.0)
PATIENCE = 15.0  # s; the machine of the tests may be busy


class Driver:
    """A running sim_bridge and what it publishes."""

    def __init__(self, ros, **parameters):
        self.ros = ros
        self.joints = ros.collect(JointState, names.JOINT_STATES, SENSOR)
        self.ee = ros.collect(PoseStamped, names.EE_POSE, SENSOR)
        self.images = ros.collect(Image, names.IMAGE, SENSOR)
        ros.start("sim_bridge", lock_step=False, **parameters)
        ros.until(lambda: self.joints and self.ee and self.images, "the first observation")

    @property
    def now(self):
        return self.ros.node.get_clock().now().nanoseconds

    @property
    def tool(self):
        return np.array(convert.position_of(self.ee[-1]))

    @property
    def speed(self):
        return max(abs(v) for v in self.joints[-1].velocity)

    def adapter(self, name, **changes):
        """The adapter that safety_guard would use with this driver."""
        guard = {"base_frame": "base_link", "rate_hz": 50.0, "lock_step": False}
        changes = {"adapter": name, "controller_joints": DRIVER_JOINTS} | changes
        values = resolve("safety_guard", ADAPTER_PARAMETERS, changes)
        adapter = make_adapter(self.ros.node, namespace("safety_guard", guard | values))
        adapter.prepare()  # the URDF comes from the running sim_bridge
        return adapter

    def follow(self, adapter, linear, metres):
        """Command at 50 Hz of this node's time, as the guard does, until the tool has moved this far."""
        start, sent = self.tool, 0

        def pulse():
            nonlocal sent
            if self.now - sent >= 2e7:
                last = self.joints[-1]
                adapter.joint_state(dict(zip(last.name, last.position)))
                sent = self.now
                assert adapter.send(linear, STILL, sent) == ""
            return np.linalg.norm(self.tool - start) >= metres

        self.ros.until(pulse, "the motion", PATIENCE)
        return self.tool - start


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_arm_follows_its_adapter_and_stops_on_demand(ros, name):
    driver = Driver(ros, adapter=name)
    adapter = driver.adapter(name)
    kind, topic = COMMANDS[name]
    ros.until(lambda: ros.node.count_subscribers(topic), "the driver's subscription")
    others = {t for _, t in COMMANDS.values()} - {topic}
    assert not any(ros.node.count_subscribers(t) for t in others)  # it obeys exactly its own topic
    moved = driver.follow(adapter, (0.0, 0.08, 0.05), 0.06)
    assert np.allclose(moved / np.linalg.norm(moved), np.array([0, 8, 5]) / np.sqrt(89), atol=0.1)
    adapter.stop(driver.now)
    ros.until(lambda: driver.speed < 0.005, "standstill", PATIENCE)
    driver.follow(adapter, (0.0, -0.05, 0.0), 0.01)
    if name == "joint_velocity":
        ros.serve(0.5)
        assert driver.speed > 0.02  # for ever: this is why the guard must never just fall silent
    else:
        ros.until(lambda: driver.speed < 0.005, "standstill after silence", PATIENCE)


def test_it_publishes_what_a_driver_publishes_on_wall_time(ros):
    wrenches = ros.collect(WrenchStamped, names.WRENCH, SENSOR)
    urdfs = ros.collect(String, names.ROBOT_DESCRIPTION, qos.latched())
    clocks = ros.collect(Clock, names.CLOCK, SENSOR)
    driver = Driver(ros, publish_wrench=True, task="sweep_into")
    began, joints, images = driver.now, len(driver.joints), len(driver.images)
    ros.until(lambda: driver.now - began > 1e9, "a second")
    seconds = (driver.now - began) / 1e9
    # Half of the nominal rates: the machine of the tests may be busy.
    assert len(driver.joints) - joints > 0.5 * 50 * seconds
    assert len(driver.images) - images > 0.5 * 30 * seconds
    assert abs(convert.header_ns(driver.joints[-1]) - driver.now) < 1e9
    stamps = [convert.header_ns(m) for m in driver.joints]
    assert stamps == sorted(stamps) and len(set(stamps)) == len(stamps)
    state = driver.joints[-1]
    assert [n for n in state.name if n.startswith("joint")] == DRIVER_JOINTS
    assert len(state.velocity) == len(state.effort) == len(state.name) == 8
    ros.until(lambda: wrenches and urdfs, "wrench and URDF")
    assert wrenches[-1].header.frame_id == "tool0"
    assert urdfs[-1].data == arm_urdf("sweep_into")
    assert not clocks and not ros.node.count_publishers(names.CLOCK)
    at = Kinematics.from_text(urdfs[-1].data, "base_link", "tool0")
    position, _ = at.forward(at.vector(dict(zip(state.name, state.position))))
    assert np.allclose(position, convert.position_of(driver.ee[-1]), atol=1e-3)


def test_reset_pause_and_gripper_in_real_time(ros):
    driver = Driver(ros, task="pick_place")
    gripper = ros.publisher(Float64MultiArray, names.ARM_GRIPPER, qos.command())
    started = json.loads(ros.call(Trigger, names.RESET, Trigger.Request()).message)
    assert started["episode"] == 0 and abs(started["stamp"] - driver.now) < 5e9
    ros.until(lambda: convert.header_ns(driver.joints[-1]) >= started["stamp"], "the new episode")

    def width():
        state = dict(zip(driver.joints[-1].name, driver.joints[-1].position))
        return state["finger_left"] + state["finger_right"]

    before = width()
    target = 0.01 if before > 0.04 else 0.07
    gripper.publish(Float64MultiArray(data=[target]))
    ros.until(lambda: abs(width() - target) < 0.01, "the gripper", PATIENCE)
    assert ros.call(SetBool, names.PAUSE, SetBool.Request(data=True)).success
    ros.serve(0.2)
    count = len(driver.joints)
    ros.serve(0.3)
    assert len(driver.joints) == count
    assert ros.call(Trigger, names.STEP, Trigger.Request()).success
    assert ros.call(SetBool, names.PAUSE, SetBool.Request(data=False)).success
    ros.until(lambda: len(driver.joints) > count + 3, "the states after the pause")


def test_frames_on_tf_need_tf2_msgs(ros):
    arm = SimArm("drawer_open")
    found = {t.child_frame_id: t for t in transforms(arm, "base_link", 5)}
    at = found["tool0"].transform.translation
    assert np.allclose([at.x, at.y, at.z], arm.ee_position)
    assert all(t.header.frame_id == "base_link" and t.header.stamp.nanosec == 5 for t in found.values())
    try:
        import tf2_msgs  # noqa: F401
    except ImportError:
        process = ros.start("sim_bridge", publish_tf=True)
        ros.until(lambda: process.poll() is not None, "the node to refuse")
        assert (
            process.returncode == 2 and "'publish_tf'" in ros.log("sim_bridge") and "tf2-msgs" in ros.log("sim_bridge")
        )
    else:
        ros.start("sim_bridge", publish_tf=True)
        ros.until(lambda: ros.node.count_publishers(names.TF), "the publisher of /tf")
