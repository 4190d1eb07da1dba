# SPDX-License-Identifier: Apache-2.0
"""guard_watchdog and safety_guard as real processes: killed, hung, restarted, both at once."""

from __future__ import annotations

import os
import signal
import tempfile
import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool

from erl_vlm_ros.common import names
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import JOINT_NAMES
from erl_vlm_ros.sim.urdf import arm_urdf

SENSOR = qos.sensor(True)
HOME = [0.0, 0.5, 1.9, 0.0, 0.74, 0.0]  # rad: the tool is in the middle of the box

pytestmark = pytest.mark.timing


@pytest.fixture(autouse=True)
def own_folder(monkeypatch):
    """Sockets and locks of this test alone; a short path, as a socket must have one."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


class Cell:
    """An arm's driver and a policy that always wants to move, played by the test; guard and watchdog as processes."""

    def __init__(self, ros, adapter="joint_velocity", watchdog=True, **guard):
        self.ros, self.adapter = ros, adapter
        (ros.folder / "arm.urdf").write_text(arm_urdf())
        position, rotation = Kinematics.from_text(arm_urdf(), "base_link", "tool0").forward(np.array(HOME))
        self.tool = position, quaternion(rotation)
        self.guard = {"lock_step": False, "adapter": adapter, "urdf_file": "arm.urdf", "max_speed": 0.2} | guard
        self.guard["max_tracking_error_m"] = 0.0  # this arm stands still whatever it is sent
        kind, topic = {
            "joint_velocity": (Float64MultiArray, names.ARM_JOINT_COMMANDS),
            "servo_twist": (TwistStamped, names.ARM_TWIST),
        }[adapter]
        self.sent: list[tuple[float, list[float]]] = []  # when it came, s; velocities
        ros.node.create_subscription(kind, topic, self._on_command, qos.command())
        self.armed = ros.collect(Bool, names.ARMED, qos.latched())
        self.reasons = ros.collect(String, names.REASON, qos.bulk())
        self.joints = ros.node.create_publisher(JointState, names.JOINT_STATES, SENSOR)
        self.ee = ros.node.create_publisher(PoseStamped, names.EE_POSE, SENSOR)
        self.policy = ros.node.create_publisher(TwistStamped, names.POLICY_TWIST, qos.command())
        ros.node.create_timer(0.03, self._live)
        if watchdog:
            self.start_watchdog()
        ros.start("safety_guard", **self.guard)

    def start_watchdog(self):
        self.ros.start("guard_watchdog", adapter=self.adapter)

    def _on_command(self, message):
        values = message.data if self.adapter == "joint_velocity" else convert.linear_of(message)
        self.sent.append((time.monotonic(), list(values)))

    def _live(self):
        now = self.ros.node.get_clock().now().nanoseconds
        state = JointState(name=list(JOINT_NAMES), position=HOME, velocity=[0.0] * 6)
        state.header.stamp = convert.ns_to_stamp(now)
        self.joints.publish(state)
        self.ee.publish(convert.pose_message(*self.tool, now, "base_link"))
        self.policy.publish(convert.twist_message((0.0, 0.05, 0.0), now, "base_link"))

    def arm(self):
        """Ask until there is an answer: a request may go to a killed guard that DDS has not given up yet."""
        client, future = self.ros.node.create_client(SetBool, names.ARM), None
        for _ in range(20):
            self.ros.until(client.service_is_ready, "the guard's service")
            future = client.call_async(SetBool.Request(data=True))
            deadline = time.monotonic() + 2.0
            while not future.done() and time.monotonic() < deadline:
                self.ros.executor.spin_once(timeout_sec=0.05)
            if future.done():
                break
        self.ros.node.destroy_client(client)
        return future.result()

    def moving(self):
        return bool(self.sent) and any(self.sent[-1][1])

    def run(self):
        self.ros.until(lambda: self.arm().success, "the guard to arm")
        self.ros.until(self.moving, "the arm to move")

    def pid(self, name):
        return self.ros.processes[name].pid

    def kill(self, *victims):
        for name in victims:
            os.kill(self.pid(name), signal.SIGKILL)
        at = time.monotonic()
        for name in victims:
            self.ros.processes.pop(name).wait()
        return at

    def still_after(self, at, within):
        """The last command that moved the arm came at most so many s after ``at``, and zeros followed."""
        self.ros.serve(within + 0.4)
        self.ros.until(lambda: not any(self.sent[-1][1]), "zeros")
        moving = [t for t, values in self.sent if any(values) and t > at]
        assert max(moving, default=at) - at < within, f"moved for {max(moving) - at:.3f} s"

    def zeros_come(self):
        count = len(self.sent)
        self.ros.until(lambda: len(self.sent) > count + 3, "zeros")
        return not any(any(values) for _, values in self.sent[count:])

    def silence(self, seconds):
        self.ros.serve(0.1)
        count = len(self.sent)
        self.ros.serve(seconds)
        return len(self.sent) == count

    def says(self, text):
        self.ros.until(lambda: any(text in m.data for m in self.reasons), f"the reason '{text}'")


@pytest.mark.parametrize("adapter", ["joint_velocity", "servo_twist"])
def test_a_killed_guard_is_stood_in_for_and_the_next_one_takes_over(ros, adapter):
    cell = Cell(ros, adapter, watchdog__use="required")
    cell.run()
    cell.still_after(cell.kill("safety_guard"), 0.1)
    assert cell.zeros_come()
    if adapter == "joint_velocity":
        assert len(cell.sent[-1][1]) == len(JOINT_NAMES)
    ros.start("safety_guard", **cell.guard)
    ros.until(lambda: "silent again" in ros.log("guard_watchdog"), "the watchdog to hand back")
    ros.serve(1.5)  # the guard's own zeros at its start
    assert cell.silence(0.5)
    cell.run()


def test_a_hung_guard_is_stood_in_for_and_disarms_when_it_wakes_up(ros):
    cell = Cell(ros)
    cell.run()
    at = time.monotonic()
    os.kill(cell.pid("safety_guard"), signal.SIGSTOP)
    try:
        cell.still_after(at, 0.3)
        assert cell.zeros_come()
    finally:
        os.kill(cell.pid("safety_guard"), signal.SIGCONT)
    cell.says("no sign of life")
    ros.until(lambda: not cell.armed[-1].data, "the guard to disarm")
    cell.still_after(time.monotonic(), 0.3)
    ros.serve(1.2)
    assert cell.silence(0.5)
    cell.run()


def test_a_guard_that_is_stopped_properly_needs_nobody(ros):
    cell = Cell(ros)
    cell.run()
    assert ros.stop("safety_guard") == 0
    assert not any(cell.sent[-1][1]) and cell.silence(0.6)
    assert "standing in" not in ros.log("guard_watchdog")
    assert ros.stop("guard_watchdog") == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_without_its_watchdog_the_guard_stops_and_is_not_armed(ros, how):
    cell = Cell(ros)
    cell.run()
    at = time.monotonic()
    os.kill(cell.pid("guard_watchdog"), how)
    cell.still_after(at, 0.2 if how == signal.SIGKILL else 1.5)
    assert not cell.armed[-1].data
    assert not cell.arm().success
    if how == signal.SIGKILL:
        ros.processes.pop("guard_watchdog").wait()
        cell.start_watchdog()
    else:
        os.kill(cell.pid("guard_watchdog"), signal.SIGCONT)
    cell.run()
    assert "standing in" not in ros.log("guard_watchdog")


def test_a_watchdog_that_is_only_wanted_may_be_missing(ros):
    cell = Cell(ros, watchdog=False, watchdog__use="optional")
    cell.run()
    cell.start_watchdog()
    ros.until(lambda: "watching over" in ros.log("guard_watchdog"), "the watchdog")
    ros.serve(3.0)  # until the guard has found it
    cell.still_after(cell.kill("safety_guard"), 0.1)


def test_both_killed_at_once_the_next_watchdog_stops_the_arm(ros):
    cell = Cell(ros)
    cell.run()
    cell.kill("guard_watchdog", "safety_guard")
    cell.start_watchdog()
    assert cell.zeros_come() and len(cell.sent[-1][1]) == len(JOINT_NAMES)
    ros.start("safety_guard", **cell.guard)
    ros.until(lambda: "silent again" in ros.log("guard_watchdog"), "the watchdog to hand back")
    cell.run()


def test_a_second_watchdog_and_one_that_does_not_fit_are_refused(ros):
    cell = Cell(ros)
    cell.run()
    first = ros.processes["guard_watchdog"]
    second = ros.start("guard_watchdog", adapter="joint_velocity")
    ros.until(lambda: second.poll() is not None, "the second to end")
    assert second.returncode == 2
    ros.processes["guard_watchdog"] = first
    ros.until(cell.moving, "the arm to move on")
    assert cell.armed[-1].data


def test_a_watchdog_for_another_adapter_does_not_count(ros):
    cell = Cell(ros, watchdog=False)
    ros.start("guard_watchdog", adapter="servo_twist")
    ros.until(lambda: "guard refused" in ros.log("guard_watchdog"), "the refusal")
    assert not cell.arm().success


def test_after_a_short_gap_the_guard_goes_on_by_itself(ros):
    cell = Cell(ros, watchdog__disarm_after_s=5.0)
    cell.run()
    os.kill(cell.pid("safety_guard"), signal.SIGSTOP)
    ros.until(lambda: "standing in" in ros.log("guard_watchdog"), "the watchdog")
    os.kill(cell.pid("safety_guard"), signal.SIGCONT)
    ros.until(lambda: "silent again" in ros.log("guard_watchdog"), "the watchdog to hand back")
    ros.until(cell.moving, "the arm to move on")
    assert cell.armed[-1].data
