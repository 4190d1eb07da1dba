# SPDX-License-Identifier: Apache-2.0
"""Boxes, stamps, the pose between measurements, joint margins, periods: each alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.safety.boxes import Box, parse_boxes
from erl_vlm_ros.safety.control_period import ControlPeriods
from erl_vlm_ros.safety.homing import within
from erl_vlm_ros.safety.joints import JointMargin
from erl_vlm_ros.safety.pose import PoseEstimate
from erl_vlm_ros.safety.stamps import StampGate, one_moment

NS = 1_000_000_000


def test_boxes_come_six_numbers_each_and_zeros_are_none():
    assert parse_boxes([0.0] * 6, "forbidden_boxes") == ()
    (box,) = parse_boxes([0, 0, 0, 1, 2, 3, *[0.0] * 6], "forbidden_boxes")
    assert (box.low, box.high, box.name) == ((0, 0, 0), (1, 2, 3), "forbidden_boxes[0]")
    with refused(ConfigError, parameter="safety_guard.forbidden_boxes"):
        parse_boxes([0.1] * 7, "forbidden_boxes")
    with refused(ConfigError, parameter="forbidden_boxes[1]"):
        parse_boxes([0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0], "forbidden_boxes")


def test_boxes_that_touch_do_not_meet_and_the_nearest_face_is_the_way_out():
    box = Box((0, 0, 0), (1, 1, 1))
    assert not box.intersects((1, 0, 0), (2, 1, 1)) and box.intersects((0.999, 0, 0), (2, 1, 1))
    assert box.intersects((1.0005, 0, 0), (2, 1, 1), gap=0.001)
    assert box.nearest_face((0.5, 0.9, 0.4)) == (1, 1) and box.nearest_face((0.05, 0.5, 0.4)) == (0, -1)


def test_stamps_old_future_and_going_back():
    gate = StampGate(0.15, 0.05)
    clock = 10**15
    assert gate.problem(clock, clock) == ""
    assert "0.200 s old" in gate.problem(clock - NS // 5, clock)
    assert "1.000 s in the future" in gate.problem(clock + NS, clock)
    assert gate.problem(clock + NS // 25, clock) == ""  # clocks of two machines differ a little
    assert "goes back by 0.040 s" in gate.problem(clock, clock)
    assert gate.problem(clock + NS // 25, clock) == ""  # the same again


def test_when_our_own_clock_is_set_back_messages_are_heard_again():
    gate = StampGate(0.15, 0.05)
    assert gate.problem(10**15, 10**15) == ""
    assert gate.problem(10**15 - 3600 * NS, 10**15 - 3600 * NS) == ""


@given(st.lists(st.integers(-(10**10), 10**10), max_size=30))
def test_accepted_stamps_are_near_the_clock_and_never_go_back(offsets):
    gate, last = StampGate(0.15, 0.05), None
    for i, offset in enumerate(offsets):
        clock = 10**15 + i * 10**7
        if not gate.problem(clock + offset, clock):
            assert -0.15 * NS <= offset <= 0.05 * NS
            assert last is None or clock + offset >= last
            last = clock + offset


def test_the_pose_is_moved_on_by_what_was_sent_since_it_was_measured():
    pose = PoseEstimate(1.0)
    assert not pose.known
    with pytest.raises(RuntimeError):
        pose.position(0.0)
    pose.sent((0.0, 0.0, 0.0), 0.0)
    pose.saw((1.0, 0.0, 0.0), 0.0, 0.0)
    pose.sent((0.5, 0.0, 0.0), 1.0)
    pose.sent((0.0, 0.2, 0.0), 1.2)
    assert pose.position(1.3) == pytest.approx((1.1, 0.02, 0.0))
    pose.saw((1.05, 0.0, 0.0), 0.2, 1.3)  # measured at 1.1: half of the first motion was still to come
    assert pose.position(1.3) == pytest.approx((1.1, 0.02, 0.0))
    pose.saw((2.0, 0.0, 0.0), 0.0, 1.3)  # the arm did something else: what is measured counts
    assert pose.position(1.3) == pytest.approx((2.0, 0.0, 0.0))


def test_an_arm_that_lags_still_has_the_last_commands_before_it():
    pose = PoseEstimate(1.0, lag_s=0.1)
    pose.sent((0.5, 0.0, 0.0), 0.0)
    pose.sent((0.0, 0.0, 0.0), 1.0)
    pose.saw((0.45, 0.0, 0.0), 0.0, 1.0)  # it does now what was sent at 0.9
    assert pose.position(1.0) == pytest.approx((0.5, 0.0, 0.0))
    pose.saw((0.45, 0.0, 0.0), 0.05, 1.05)
    assert pose.position(1.05) == pytest.approx((0.5, 0.0, 0.0))


class Slider:
    """Two prismatic joints along x and y: the joints' velocities are the tool's."""

    joint_names = ("x", "y")

    @staticmethod
    def jacobian(q):
        return np.eye(6)[:, :2]


def margin():
    return JointMargin(("x", "y"), (-1.0, -math.inf), (1.0, math.inf), 0.1)


def test_joint_margin_with_a_jacobian_slows_and_blocks_only_what_goes_nearer():
    still = (0.0,) * 6

    def factor(x, vx):
        return margin().limit((vx, 0.3, 0, 0, 0, 0), {"x": x, "y": 99.0}, still, Slider)[0]

    assert factor(0.0, 1.0) == factor(0.79, 1.0) == 1.0
    assert factor(0.85, 1.0) == pytest.approx(0.5)
    assert factor(0.9, 1.0) == pytest.approx(0.0, abs=1e-9) and factor(0.95, 1.0) == 0.0 == factor(1.2, 1.0)
    assert factor(0.95, -1.0) == 1.0 and factor(0.95, 0.0) == 1.0
    assert factor(-0.85, -1.0) == pytest.approx(0.5) and factor(-0.95, 1.0) == 1.0
    assert "joint 'x'" in margin().limit((1.0, 0, 0, 0, 0, 0), {"x": 0.95, "y": 0.0}, still, Slider)[1]


def test_joint_margin_without_a_jacobian_lets_the_tool_go_back_where_it_came_from():
    still, out = (0.0,) * 6, (0.2, 0.0, 0.0, 0.0, 0.0, 0.0)
    back = tuple(-v for v in out)
    guard = margin()
    assert guard.limit(out, {"x": 0.5, "y": 0.0}, out)[0] == 1.0
    assert guard.limit(out, {"x": 0.85, "y": 0.0}, out)[0] == pytest.approx(0.5)
    assert guard.limit(out, {"x": 0.95, "y": 0.0}, still)[0] == 0.0
    assert guard.limit(back, {"x": 0.95, "y": 0.0}, still)[0] == 1.0
    assert guard.limit(out, {"x": 0.5, "y": 0.0}, back)[0] == 1.0  # far away again: forgotten
    blind = margin()  # began near the limit: nobody knows which way leads out
    assert (
        blind.limit(out, {"x": 0.95, "y": 0.0}, still)[0] == blind.limit(back, {"x": 0.95, "y": 0.0}, still)[0] == 0.0
    )


def test_joint_limits_must_fit():
    with refused(ConfigError, parameter="safety_guard.controller_joints", code=Code.DOES_NOT_FIT):
        JointMargin(("x",), (0.0, 0.0), (1.0,), 0.1)
    with refused(ConfigError, parameter="safety_guard.joint_margin", code=Code.DOES_NOT_FIT):
        JointMargin(("x",), (0.0,), (0.15,), 0.1)


def test_joint_rates_agree_with_the_kinematics_of_a_urdf():
    text = """<robot name="r"><link name="base"/><link name="a"/><link name="tool"/>
    <joint name="lift" type="prismatic"><parent link="base"/><child link="a"/><axis xyz="0 0 1"/>
      <limit lower="0" upper="1" velocity="1" effort="1"/></joint>
    <joint name="swing" type="revolute"><parent link="a"/><child link="tool"/><axis xyz="0 0 1"/>
      <limit lower="-1" upper="1" velocity="1" effort="1"/></joint></robot>"""
    arm = Kinematics.from_text(text, "base", "tool")
    guard = JointMargin(arm.joint_names, arm.lower, arm.upper, 0.1)
    at = {"lift": 0.95, "swing": 0.0}
    assert guard.limit((0, 0, 0.1, 0, 0, 0), at, (0,) * 6, arm)[0] == 0.0
    assert guard.limit((0, 0, -0.1, 0, 0, 0), at, (0,) * 6, arm)[0] == 1.0
    assert guard.limit((0, 0, 0, 0, 0, 0.5), at, (0,) * 6, arm)[0] == 1.0


def test_joint_motion_is_slowed_as_a_whole():
    assert within((0.2, -0.1, 0.0), (0.2, -0.1, 0.0)) == 1.0
    assert within((0.2, -0.1, 0.0), (0.1, -0.1, 0.0)) == pytest.approx(0.5)
    assert within((0.2, -0.1, 0.0), (0.2, 0.0, 0.0)) == 0.0 == within((0.2, 0.0, 0.0), (-0.1, 0.0, 0.0))


def test_slots_of_late_missed_and_double_ticks():
    periods = ControlPeriods(0.02)
    times = [0.0, 0.02, 0.041, 0.062, 0.0795, 0.155, 0.16, 0.1601, 0.18]
    assert [periods.tick(10.0 + t) for t in times] == [1, 1, 1, 1, 1, 3, 1, 0, 1]
    assert periods.overruns == 2
    assert periods.jitter_s(1.0) == pytest.approx(0.0555, abs=1e-6)


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=50))
def test_slots_add_up_to_the_time_that_passed(gaps):
    periods, now, total = ControlPeriods(0.02), 5.0, -1
    for gap in [0.0, *gaps]:
        now += gap
        total += periods.tick(now)
    assert abs(total - (now - 5.0) / 0.02) <= 1.0


def test_both_clocks_are_read_at_one_moment_however_often_the_process_is_held_up():
    stops = iter([0.2, 0.07, 0.0])  # s that it stands still between the two looks
    wall = {"s": 0.0}

    def ros_ns():
        read = round(1e9 * (100.0 + wall["s"]))
        wall["s"] += next(stops)
        return read

    clock, now = one_moment(ros_ns, lambda: wall["s"])
    assert clock * 1e-9 - now == pytest.approx(100.0)
    assert one_moment(lambda: 7, iter([float(k) for k in range(9)]).__next__)[0] == 7  # gives up
