# SPDX-License-Identifier: Apache-2.0
"""The guard stops the arm whatever happens inside it: benchmarks/guard_faults.py in short, and what it must notice."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros]')")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import guard_faults  # noqa: E402
from guard_cell import MAX_TURN, MIDDLE, PERIOD, TASK, Cell  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from erl_vlm_ros.common import names  # noqa: E402
from erl_vlm_ros.robot import joint_store  # noqa: E402
from erl_vlm_ros.robot.drivers import ADAPTERS  # noqa: E402
from erl_vlm_ros.robot.kinematics import Kinematics  # noqa: E402
from erl_vlm_ros.ros import convert  # noqa: E402
from erl_vlm_ros.ros.adapters import joints  # noqa: E402
from erl_vlm_ros.safety import input_monitor  # noqa: E402
from erl_vlm_ros.safety.faults import Fault, Unready  # noqa: E402
from erl_vlm_ros.safety.watchdog import ARMED, ESTOPPED  # noqa: E402
from erl_vlm_ros.sim.urdf import arm_urdf  # noqa: E402

pytestmark = pytest.mark.usefixtures("ros_domain")


@pytest.fixture
def cell(tmp_path):
    made = []

    def make(adapter):
        made.append(Cell(adapter, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_errors_and_hostile_numbers_never_reach_the_arm(adapter):
    result = guard_faults.run(adapter, every=11)
    injected, fuzzed = result["injected"], result["fuzzed"]
    assert injected["cases"] > 60 and fuzzed["cases"] > 30
    assert (injected["wrong_commands"], fuzzed["wrong_commands"]) == (0, 0), result["wrong"]
    assert injected["not_stopped"] == 0, injected["missed"]
    assert fuzzed["ended"] == 0, fuzzed["examples"]


def test_the_search_would_see_a_guard_that_lets_nonsense_through(cell, monkeypatch):
    """With the checks taken out, the same NaN reaches the arm and is counted."""
    here = cell("joint_velocity")
    here.recover()
    monkeypatch.setattr(joint_store.math, "isfinite", lambda value: True)
    monkeypatch.setattr(joints, "finite", lambda values, what: None)
    monkeypatch.setattr(input_monitor, "implausible", lambda *args: "")
    monkeypatch.setattr(type(here.node.adapter), "within_speeds", lambda self, velocity: velocity)
    bad = here.messages()[names.JOINT_STATES]
    bad.position = [math.nan, *bad.position[1:]]
    here.instead[names.JOINT_STATES] = bad
    here.period()
    assert here.wrong or here.node.core.watchdog.fault is Fault.INTERNAL


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_one_nan_while_the_arm_moves_stops_it_and_motion_goes_on_after(cell, adapter):
    here = cell(adapter)
    here.recover()
    before = here.q.copy()
    here.period()
    assert not np.array_equal(before, here.q)  # it moves
    bad = here.messages()[names.JOINT_STATES]
    bad.position = [math.nan, *bad.position[1:]]
    here.instead[names.JOINT_STATES] = bad
    here.period()
    assert here.node.core.watchdog.state == ARMED and "joint1" in here.node.core.inputs.problems["joint_states"]
    here.period()
    assert not here.wrong and here.node.core.inputs.problems["joint_states"] == ""


def test_a_bag_that_is_played_beside_the_arm_changes_nothing(cell):
    here = cell("joint_velocity")
    here.recover()
    old = here.messages()[names.JOINT_STATES]
    old.position = [0.7 * q + 0.4 for q in old.position]
    convert.set_stamp(old.header.stamp, here.clock.time_ns() - 60 * 10**9)
    for _ in range(10):
        here.callbacks[names.JOINT_STATES](old)
        here.period()
        positions = here.node.adapter._positions
        assert all(abs(positions[n] - q) < 0.05 for n, q in zip(here.arm.joint_names, here.q))
    assert not here.wrong and here.node.core.watchdog.state == ARMED


def test_arm_and_gripper_in_messages_of_their_own_move_at_every_tick(cell):
    here = cell("joint_velocity")
    here.recover()
    topic = names.JOINT_STATES
    passed = here.node.core.counts["passed"] + here.node.core.counts["limited"]
    for _ in range(20):
        whole = here.messages()[topic]
        gripper = convert.joint_message(["finger"], [0.01], [0.0], here.clock.time_ns())
        wheel = convert.joint_message(["wheel"], [math.nan], [0.0], here.clock.time_ns())
        for part in (slice(0, 4), slice(4, 6)):
            message = convert.joint_message(
                whole.name[part], list(whole.position[part]), [0.0] * len(whole.name[part]), here.clock.time_ns()
            )
            here.callbacks[topic](message)
        here.callbacks[topic](wheel)
        here.instead[topic] = gripper
        here.period()
    now = here.node.core.counts["passed"] + here.node.core.counts["limited"]
    assert now - passed == 20


def test_a_pose_that_disagrees_with_the_joints_latches(cell):
    here = cell("joint_velocity")
    here.recover()
    for _ in range(30):
        pose = here.messages()[names.EE_POSE]
        pose.pose.position.y += 0.06
        here.instead[names.EE_POSE] = pose
        here.period()
    dog = here.node.core.watchdog
    assert (dog.state, dog.fault) == (ESTOPPED, Fault.POSE_MISMATCH)
    dog.clear_estop()
    assert (
        here.node.core.arm(True, here.clock.s).why is Unready.POSE_MISMATCH
    )  # arming is refused as long as they disagree


def test_an_arm_that_is_reset_in_a_leap_is_held_for_a_moment_and_goes_on(cell):
    """A simulation's reset: pose and joints leap together."""
    here = cell("joint_velocity")
    here.recover()
    here.q = here._reach(MIDDLE + np.array([0.08, 0.12, 0.05]))
    held = 0
    for _ in range(60):
        here.period()
        held += bool(here.node.core.inputs.problems["joint_states"])
    assert here.node.core.watchdog.state == ARMED and not here.wrong
    assert 0 < held < 40 and any(here.sent[-1].data)


def test_another_robot_description_is_never_taken(cell):
    here = cell("joint_velocity")
    here.recover()
    same = Kinematics.from_text(arm_urdf("sweep_into"), "base_link", "tool0")
    here.node.adapter.described(same)  # another camera: the arm is the same
    here.period()
    assert here.node.core.watchdog.state == ARMED
    text = arm_urdf(TASK).replace('upper="2.6"', 'upper="1.6"')
    other = Kinematics.from_text(_shorter(text), "base_link", "tool0")
    here.node.adapter.described(other)
    assert here.node.adapter.kinematics is not other
    here.period()
    dog = here.node.core.watchdog
    assert (dog.state, dog.fault) == (ESTOPPED, Fault.DESCRIPTION_CHANGED)
    dog.clear_estop()
    response = here.node._on_arm(SetBool.Request(data=True), SetBool.Response())
    assert not response.success and "restart" in response.message


def _shorter(urdf):
    """One link of the arm 5 cm shorter."""
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(urdf)
    origin = next(j for j in root.findall("joint") if j.get("name") == "joint3").find("origin")
    x, y, z = map(float, origin.get("xyz").split())
    origin.set("xyz", f"{x} {y} {z - 0.05}")
    return ElementTree.tostring(root, encoding="unicode")


def test_gripper_commands_pass_in_real_time(cell):
    here = cell("servo_twist")
    here.recover()
    sent = []
    here.node.adapter._gripper._publisher.publish = sent.append
    for _ in range(20):
        here.period()
    assert len(sent) == 20


def test_an_answer_that_cannot_be_used_stops_the_arm(cell):
    from rclpy.task import Future

    here = cell("servo_twist")
    here.recover()
    before = len(here.sent)

    def unusable(_):
        raise AttributeError("no such field")

    answer = Future()
    here.node.when_done(answer, unusable)
    answer.set_result(None)
    assert here.node.core.watchdog.fault is Fault.INTERNAL
    assert not any(convert.linear_of(here.sent[-1])) and len(here.sent) > before


def test_the_clock_is_fixed_while_the_guard_runs(cell):
    from rclpy.parameter import Parameter

    (result,) = cell("servo_twist").node.set_parameters([Parameter("use_sim_time", value=True)])
    assert not result.successful


@pytest.mark.parametrize("adapter", ["servo_twist", "joint_velocity"])
def test_a_home_request_in_full_motion_keeps_acceleration_rotation_and_margins(cell, adapter):
    here = cell(adapter)
    here.recover()
    for _ in range(10):
        here.period()
    core = here.node.core
    speeds, turns = [math.hypot(*core.linear.velocity)], []
    assert speeds[0] > 0.1
    request = here.home_request()
    request.points[0].positions = (here.home + np.array([0.3, 0.0, 0.0, 0.0, 0.0, 1.2])).tolist()
    kinds = []
    for _ in range(300):
        here.callbacks[names.POLICY_HOME](request)
        here.clock.s += PERIOD
        for topic in (names.JOINT_STATES, names.EE_POSE, names.JOY, names.CAMERA_INFO,
                      names.HEARTBEAT, names.WRENCH):  # fmt: skip
            here.callbacks[topic](here.messages()[topic])
        motion = core.tick(here.clock.s)
        kinds.append(motion.kind)
        here.node._send(motion, here.clock.time_ns())
        here._obey(here.sent[-1])
        speeds.append(math.hypot(*motion.linear))
        turns.append(math.hypot(*motion.angular))
    assert "joints" in kinds and kinds[0] == "move"  # first the stop within the limits, then the way home
    assert np.abs(np.diff(speeds)).max() <= 8.0 * PERIOD * 1.01
    assert max(turns) <= MAX_TURN * 1.001
    assert np.abs(np.diff(turns)).max() <= core.limits.home_turn.max_acceleration * PERIOD * 1.01
    target = here.arm.upper.copy() - 0.01
    request.points[0].positions = target.tolist()
    core.forget()
    here.callbacks[names.POLICY_HOME](request)
    assert core.homing is None  # nearer to the limits than joint_margin
