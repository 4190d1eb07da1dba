# SPDX-License-Identifier: Apache-2.0
"""ee_pose against forward kinematics: what is noticed, what is forgiven."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion
from erl_vlm_ros.safety.pose_check import PoseCheck
from erl_vlm_ros.sim.urdf import arm_urdf

ARM = Kinematics.from_text(arm_urdf(), "base_link", "tool0")
START = np.array([0.0, 0.2, 1.9, 0.0, 1.04, 0.0])
RATES = np.array([0.3, -0.2, 0.2, 0.4, 0.1, -0.3])


def drive(check, lie=lambda k, p, r: (p, r), joints_every=0.01, pose_every=0.01, late=0.0, seconds=1.0, held_up=None):
    """An arm that moves; poses arrive ``late`` s after their measurement. When a problem was found, or None.

    ``held_up``: k -> s by which the joint state k is taken for newer than it is.
    """
    events = [(k * joints_every, "joints", k) for k in range(round(seconds / joints_every))]
    events += [(k * pose_every + late, "pose", k) for k in range(round(seconds / pose_every))]
    for now, kind, k in sorted(events):
        at = now if kind == "joints" else k * pose_every
        position, rotation = ARM.forward(START + RATES * at)
        if kind == "joints":
            taken = at + (held_up or {}).get(k, 0.0)
            if check.wants(taken):
                check.joints(taken, position, rotation)
        else:
            told, turned = lie(k, position, rotation)
            check.pose(at, told, None if turned is None else quaternion(turned))
        if check.problem(now):
            return now
    return None


@given(joints_every=st.floats(0.002, 0.2), pose_every=st.floats(0.002, 0.25), late=st.floats(0.0, 0.2))
@settings(max_examples=60)
def test_an_honest_pair_agrees_at_any_rates(joints_every, pose_every, late):
    assert drive(PoseCheck(0.02, 0.05), joints_every=joints_every, pose_every=pose_every, late=late) is None


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.24, 0.5])
def test_a_guard_that_was_held_up_while_it_looked_at_its_clocks_suspects_nobody(seconds):
    """It takes one joint state for newer than the next ones: what it says is forgotten, not what they say."""
    check = PoseCheck(0.02, 0.05)
    assert drive(check, joints_every=0.02, pose_every=0.02, held_up={30: seconds}, seconds=2.0) is None
    assert drive(PoseCheck(0.02, 0.05), lambda k, p, r: (p + [0.05, 0.0, 0.0], r), held_up={30: seconds}) < 0.6


@pytest.mark.parametrize(
    "lie",
    [
        lambda k, p, r: (p + [0.05, 0.0, 0.0], r),
        lambda k, p, r: (p + [0.0, 0.0, 0.05 if k % 2 else 0.0], r),  # two publishers take turns
        lambda k, p, r: (p, r @ _turn(0.3)),
        lambda k, p, r: (-p * [1, 1, -1], r),  # a base frame that is turned half round
        lambda k, p, r: (p + np.array([0.0, 0.002 * k, 0.0]), None),  # drifts away
    ],
)
def test_lies_are_found(lie):
    check = PoseCheck(0.03, 0.1, 0.15)
    found = drive(check, lie)
    assert found is not None and found < 0.6


def _turn(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def test_a_slow_tracker_is_compared_with_where_the_tool_was_then():
    assert drive(PoseCheck(0.02, 0.0), joints_every=0.01, pose_every=0.05, late=0.2) is None
    lie = lambda k, p, r: (p + [0.04, 0, 0], None)  # noqa: E731
    assert drive(PoseCheck(0.02, 0.0), lie, joints_every=0.01, pose_every=0.05, late=0.2) is not None


def test_one_wild_pose_and_a_pose_without_orientation_are_forgiven():
    assert drive(PoseCheck(0.02, 0.05), lambda k, p, r: (p + [9.0 * (k == 20), 0, 0], r)) is None
    assert drive(PoseCheck(0.02, 0.05), lambda k, p, r: (p, None)) is None


def test_an_offset_is_named_along_the_tools_axes_and_0_switches_off():
    offset = np.array([0.0, 0.0, 0.12])  # the gripper's length, which the driver does not know
    check = PoseCheck(0.03, 0.1)
    assert drive(check, lambda k, p, r: (p + r @ offset, r)) is not None
    assert "[0, 0, 120] mm" in check.problem(0.3).replace("-0", "0")
    assert drive(PoseCheck(0.0, 0.0), lambda k, p, r: (p + 1.0, r)) is None
