# SPDX-License-Identifier: Apache-2.0
"""The arm adapters on a real node: what they publish, in which order, and what they refuse at start."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from refusals import refused
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.params.param import namespace, resolve
from erl_vlm_ros.params.tables._adapters import ADAPTER_PARAMETERS
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.adapters import ADAPTERS, GRIPPERS, joints, make_adapter
from erl_vlm_ros.ros.adapters.gripper_action import GripperCommandAction, ParallelGripperCommandAction
from erl_vlm_ros.ros.adapters.gripper_goals import GripperGoals
from erl_vlm_ros.ros.adapters.packages import message
from erl_vlm_ros.ros.adapters.servo_mode import ServoMode
from erl_vlm_ros.sim.urdf import arm_urdf

ARM = Kinematics.from_text(arm_urdf(), "base_link", "tool0")
READY = dict(zip(ARM.joint_names, (0.2, 0.4, 1.7, 0.1, 1.0, -0.3)))
SHUFFLED = ["joint3", "joint1", "joint6", "joint2", "joint5", "joint4"]
STILL = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def urdf_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("urdf") / "arm.urdf"
    path.write_text(arm_urdf())
    return str(path)


def parameters(**changes):
    guard = {"base_frame": "base_link", "rate_hz": 50.0, "lock_step": False, "gripper_max": 0.08}
    values = resolve("safety_guard", ADAPTER_PARAMETERS, {"urdf_wait_s": 0.2} | changes)
    return namespace("safety_guard", guard | values)


def make(ros, state=True, **changes):
    adapter = make_adapter(ros.node, parameters(**changes))
    adapter.prepare()
    if state:
        adapter.joint_state({"finger_left": 0.0} | READY)
    return adapter


def last(ros, adapter, kind, topic, act):
    """What arrives when ``act`` is called, again and again until the connection stands."""
    got = ros.collect(kind, topic, qos.command())
    ros.until(lambda: adapter.node.count_publishers(topic) and adapter.node.count_subscribers(topic), "the connection")
    ros.until(lambda: act() is None and got, "a command")
    return got[-1]


def test_servo_twist_needs_no_urdf_and_passes_rotation_on(ros):
    adapter = make(ros)
    got = last(
        ros, adapter, TwistStamped, names.ARM_TWIST, lambda: adapter.send((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 7) or None
    )
    assert (got.header.frame_id, got.header.stamp.nanosec) == ("base_link", 7)
    assert [got.twist.linear.x, got.twist.linear.y, got.twist.linear.z] == [0.1, 0.2, 0.3]
    assert [got.twist.angular.x, got.twist.angular.y, got.twist.angular.z] == [0.4, 0.5, 0.6]
    assert "URDF" in adapter.send_joints({"joint1": 0.1}, 7) and adapter.kinematics is None


def test_servo_twist_learns_the_urdf_from_the_topic_for_homing(ros):
    adapter = make(ros)
    description = ros.node.create_publisher(String, names.ROBOT_DESCRIPTION, qos.latched())
    description.publish(String(data="<robot name='another'><link name='x'/></robot>"))
    ros.until(lambda: description.get_subscription_count(), "the connection")
    description.publish(String(data=arm_urdf()))
    ros.until(lambda: adapter.kinematics is not None, "the kinematics")
    got = last(ros, adapter, TwistStamped, names.ARM_TWIST, lambda: adapter.send_joints({"joint1": 0.2}, 1) or None)
    wanted = ARM.jacobian(ARM.vector(READY)) @ [0.2, 0, 0, 0, 0, 0]
    linear, angular = got.twist.linear, got.twist.angular
    assert np.allclose([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z], wanted)


def test_joint_velocity_moves_the_tool_in_the_controllers_order_and_stops_with_zeros(ros, urdf_file):
    adapter = make(ros, adapter="joint_velocity", controller_joints=SHUFFLED, urdf_file=urdf_file)
    move = last(
        ros,
        adapter,
        Float64MultiArray,
        names.ARM_JOINT_COMMANDS,
        lambda: adapter.send((0.05, 0.0, -0.02), STILL, 1) or None,
    )
    velocity = ARM.vector(dict(zip(SHUFFLED, move.data)))
    twist = ARM.jacobian(ARM.vector(READY)) @ velocity
    assert np.allclose(twist, [0.05, 0, -0.02, 0, 0, 0], atol=1e-6)
    assert adapter.passed == 1.0
    adapter.joint_state(READY)
    assert adapter.send((5.0, 0.0, -2.0), STILL, 1) == ""  # faster than the joints may turn
    assert 0.0 < adapter.passed < 0.5
    stop = last(ros, adapter, Float64MultiArray, names.ARM_JOINT_COMMANDS, lambda: adapter.stop(2))
    assert list(stop.data) == [0.0] * 6
    home = last(
        ros,
        adapter,
        Float64MultiArray,
        names.ARM_JOINT_COMMANDS,
        lambda: adapter.send_joints({"joint2": 0.3}, 3) or None,
    )
    assert dict(zip(SHUFFLED, home.data)) == pytest.approx(dict.fromkeys(SHUFFLED, 0.0) | {"joint2": 0.3})


def test_joint_position_moves_a_reference_and_then_holds_it(ros, urdf_file, monkeypatch):
    adapter = make(ros, adapter="joint_position", controller_joints=SHUFFLED, urdf_file=urdf_file)
    got = ros.collect(Float64MultiArray, names.ARM_JOINT_COMMANDS, qos.command())
    adapter.stop(0)  # nothing was ever commanded: nothing is held
    ros.until(lambda: adapter.send_joints({"joint1": 0.5}, 1) == "" and len(got) >= 5, "references")
    path = [ARM.vector(dict(zip(SHUFFLED, m.data))) for m in got]
    assert all(b[0] > a[0] for a, b in zip(path, path[1:])) and path[0][0] > READY["joint1"]
    assert np.allclose([p[1:] for p in path], ARM.vector(READY)[1:])
    assert all(
        p[0] <= READY["joint1"] + 0.1 + 1e-9 for p in path
    )  # the tracking error limit: the arm does not move here
    held = last(ros, adapter, Float64MultiArray, names.ARM_JOINT_COMMANDS, lambda: adapter.stop(2))
    again = last(ros, adapter, Float64MultiArray, names.ARM_JOINT_COMMANDS, lambda: adapter.stop(3))
    assert list(held.data) == list(again.data)
    again = last(ros, adapter, Float64MultiArray, names.ARM_JOINT_COMMANDS, adapter.last_resort)
    assert list(held.data) == list(again.data)
    # Later it is silent, and starts from wherever the arm is then: a person may have moved it.
    monkeypatch.setattr(joints, "HOLD_S", 0.0)
    ros.serve(0.2)
    count = len(got)
    adapter.stop(4)
    adapter.last_resort()
    ros.serve(0.2)
    assert len(got) == count
    elsewhere = {k: v + 0.2 for k, v in READY.items()}
    adapter.joint_state(elsewhere)
    ros.until(lambda: adapter.send_joints({}, 5) == "" and len(got) > count, "the new reference")
    assert np.allclose(ARM.vector(dict(zip(SHUFFLED, got[-1].data))), ARM.vector(elsewhere), atol=1e-9)


def test_joint_trajectory_sends_one_point_ahead_and_stops_at_the_present(ros, urdf_file):
    adapter = make(
        ros, adapter="joint_trajectory", controller_joints=SHUFFLED, urdf_file=urdf_file, trajectory_time_s=0.25
    )
    move = last(
        ros, adapter, JointTrajectory, names.ARM_TRAJECTORY, lambda: adapter.send_joints({"joint1": -0.2}, 1) or None
    )
    assert list(move.joint_names) == SHUFFLED and len(move.points) == 1
    assert (move.header.stamp.sec, move.header.stamp.nanosec) == (0, 0)
    point = move.points[0]
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 250_000_000)
    assert not len(point.velocities)
    joint1 = dict(zip(SHUFFLED, point.positions))["joint1"]
    assert READY["joint1"] - 0.1 - 0.05 <= joint1 < READY["joint1"] - 0.04
    held = last(ros, adapter, JointTrajectory, names.ARM_TRAJECTORY, lambda: adapter.stop(2))
    at = dict(zip(SHUFFLED, held.points[0].positions))
    assert joint1 < at["joint1"] < READY["joint1"]  # the reference of now, not the point ahead
    adapter._moved_at = -np.inf  # long ago
    got = ros.collect(JointTrajectory, names.ARM_TRAJECTORY, qos.command())
    adapter.last_resort()
    ros.serve(0.2)
    assert got == []
    assert {k: v for k, v in at.items() if k != "joint1"} == pytest.approx(
        {k: v for k, v in READY.items() if k != "joint1"}
    )


def test_nothing_is_sent_before_every_joint_was_seen(ros, urdf_file):
    adapter = make(ros, state=False, adapter="joint_velocity", urdf_file=urdf_file)
    adapter.joint_state({"shoulder": 1.0, "joint1": 0.0})
    reason = adapter.send((0.1, 0, 0), STILL, 1)
    assert reason == "joint_states lacks joint2, joint3, joint4, joint5, joint6 (it has shoulder, joint1)"


def test_the_urdf_may_come_from_the_topic(ros):
    description = ros.node.create_publisher(String, names.ROBOT_DESCRIPTION, qos.latched())
    description.publish(String(data=arm_urdf()))
    adapter = make(ros, adapter="joint_velocity", urdf_wait_s=30.0)
    assert adapter.joint_names == list(ARM.joint_names)


@pytest.mark.parametrize(
    "changes, fields",
    [
        ({"urdf_file": ""}, {"parameter": "urdf_file", "code": Code.NOT_GIVEN, "shows": ("/robot_description", "0.2")}),
        (
            {"urdf_file": "/nowhere/arm.urdf"},
            {"parameter": "urdf_file", "code": Code.MISSING_FILE, "file": "/nowhere/arm.urdf"},
        ),
        ({"tool_frame": "flange"}, {"parameter": "tool_frame", "code": Code.UNKNOWN}),
        (
            {"controller_joints": ["joint1", "joint2"]},
            {"parameter": "controller_joints", "code": Code.DOES_NOT_FIT, "shows": ("joint1", "joint2")},
        ),
        (
            {"controller_joints": SHUFFLED[:5] + ["elbow"]},
            {"parameter": "controller_joints", "code": Code.DOES_NOT_FIT},
        ),
        (
            {"controller_joints": SHUFFLED[:5] + ["joint3"]},
            {"parameter": "controller_joints", "code": Code.DOES_NOT_FIT, "shows": ("base_link", "tool0")},
        ),
    ],
)
def test_what_cannot_work_is_refused_at_start(ros, urdf_file, changes, fields):
    with refused(ConfigError, **fields):
        make(ros, **({"adapter": "joint_velocity", "urdf_file": urdf_file} | changes))


def test_unknown_names_and_missing_packages_are_refused_by_parameter(ros, monkeypatch):
    for parameter in ("adapter", "gripper"):
        with refused(ConfigError, parameter=f"safety_guard.{parameter}", shows="'telepathy'"):
            parameters(**{parameter: "telepathy"})
        other = SimpleNamespace(**(vars(parameters()) | {parameter: "telepathy"}))
        with refused(ConfigError, parameter=f"safety_guard.{parameter}", code=Code.UNKNOWN):
            make_adapter(ros.node, other)
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    with refused(
        ConfigError,
        parameter="safety_guard.gripper",
        code=Code.MISSING_PACKAGE,
        remedy="sudo apt install ros-kilted-no-such-msgs",
    ):
        message("no_such_msgs.action", "GripperCommand", "gripper", "telekinesis")
    for changes, package in (
        ({"gripper": "gripper_command"}, "control_msgs"),
        ({"gripper": "parallel_gripper_command"}, "control_msgs"),
        ({"servo_command_type": True}, "moveit_msgs"),
    ):
        try:
            __import__(package)
        except ImportError:
            name, value = next(iter(changes.items()))
            apt = f"sudo apt install ros-kilted-{package.replace('_', '-')}"
            with refused(parameter=f"safety_guard.{name}", code=Code.MISSING_PACKAGE, remedy=apt, shows=str(value)):
                make(ros, **changes)
    with refused(ConfigError, parameter="safety_guard.adapter", code=Code.DOES_NOT_FIT, shows="lock_step"):
        make_adapter(ros.node, SimpleNamespace(**(vars(parameters(adapter="joint_velocity")) | {"lock_step": True})))
    assert set(ADAPTERS) and set(GRIPPERS)


def test_the_position_gripper_maps_metres_to_its_unit(ros):
    adapter = make(ros, gripper_scale=-9.41, gripper_offset=0.8)
    got = last(ros, adapter, Float64MultiArray, names.ARM_GRIPPER, lambda: adapter.gripper(0.085, 1))
    assert got.data[0] == pytest.approx(0.8 - 9.41 * 0.085)
    make(ros, gripper="none").gripper(0.01, 1)


def test_a_stream_of_widths_becomes_few_goals():
    goals = GripperGoals()
    assert goals.due(0.08, 0.0) and not goals.due(0.08, 5.0) and not goals.due(0.0795, 6.0)
    assert goals.due(0.0, 7.0)
    assert not goals.due(0.08, 7.1)  # the goal before is too young
    assert goals.due(0.08, 7.25)
    goals.lost()
    assert goals.due(0.08, 8.0)


def test_goals_hold_what_the_actions_ask_for():
    # control_msgs may be absent: only the filling of a goal is looked at, with anything that takes fields.
    def goal_of(kind):
        gripper = object.__new__(kind)
        gripper._action = SimpleNamespace(Goal=lambda: SimpleNamespace(command=SimpleNamespace()))
        gripper._p = parameters(gripper_max_effort=12.0, gripper_joint="knuckle")
        return vars(gripper._goal(0.4).command)

    assert goal_of(GripperCommandAction) == {"position": 0.4, "max_effort": 12.0}
    assert goal_of(ParallelGripperCommandAction) == {"name": ["knuckle"], "position": [0.4], "effort": [12.0]}
    nameless = object.__new__(ParallelGripperCommandAction)
    nameless._p = parameters()
    with refused(ConfigError, parameter="safety_guard.gripper_joint", code=Code.NOT_GIVEN):
        nameless.prepare()


def test_servo_is_asked_until_it_agrees_and_again_when_it_has_gone(ros):
    # moveit_msgs may be absent: a service of another type with the same answer shows the manners.
    node, steady = ros.node, Clock(clock_type=ClockType.STEADY_TIME)
    node.wall_timer = lambda period, callback: node.create_timer(min(period, 0.05), callback, clock=steady)
    node.when_done = lambda future, callback: future.add_done_callback(callback)
    mode = ServoMode(node, SetBool, SetBool.Request(data=True))
    assert not mode.ready and mode.problem == "waiting for servo_node/switch_command_type"
    asked, answers = [], [False, True]

    def answer(request, response):
        asked.append(request.data)
        response.success = answers[min(len(asked), len(answers)) - 1]
        return response

    service = node.create_service(SetBool, names.SERVO_COMMAND_TYPE, answer)
    ros.until(lambda: "refuses" in mode.problem, "a refusal")
    ros.until(lambda: mode.ready and not mode.problem, "the consent")
    assert all(asked)
    node.destroy_service(service)
    ros.until(lambda: not mode.ready and "waiting" in mode.problem, "the loss to be noticed")
