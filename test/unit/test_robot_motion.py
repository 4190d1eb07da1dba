# SPDX-License-Identifier: Apache-2.0
"""Following tool velocities with joints, and driving home, on an ideal arm that does what is commanded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from toy_arm import chain_urdf

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.follower import FollowerSettings, JointFollower, halted
from erl_vlm_ros.robot.homing import Homing, HomingLimits
from erl_vlm_ros.robot.ik import twist_to_joint_velocity
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion, rotation_vector
from erl_vlm_ros.robot.spec import RobotSpec
from erl_vlm_ros.sim.urdf import arm_urdf

ARM = Kinematics.from_text(arm_urdf(), "base_link", "tool0")
READY = np.array([0.2, 0.4, 1.7, 0.0, 1.04, -0.3])
STILL = np.zeros(3)
DT = 0.02


def tilt(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1)))


def test_velocities_move_the_tool_as_commanded_and_keep_its_orientation():
    follower, q = JointFollower(ARM), READY.copy()
    start, upright = ARM.forward(q)
    for step in range(200):  # a square with 10 cm sides, 1 s each
        linear = 0.1 * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])[step // 50]
        q = q + follower.tool(q, linear, STILL).velocity * DT
    end, rotation = ARM.forward(q)
    assert np.linalg.norm(end - start) < 0.002
    assert tilt(rotation, upright) < 0.005


def test_without_the_gain_nothing_is_corrected_and_turning_is_not_fought():
    turned = READY + np.array([0, 0, 0, 0, 0.1, 0])
    free = JointFollower(ARM, FollowerSettings(orientation_gain=0.0))
    held = JointFollower(ARM)
    for follower in (free, held):
        follower.tool(READY, np.array([0.05, 0, 0]), STILL)
    linear = np.array([0.05, 0.0, 0.0])
    assert np.allclose((ARM.jacobian(turned) @ free.tool(turned, linear, STILL).velocity)[3:], 0, atol=1e-9)
    back = (ARM.jacobian(turned) @ held.tool(turned, linear, STILL).velocity)[3:]
    assert 0.05 < np.linalg.norm(back) <= 0.3
    held.tool(turned, linear, np.array([0, 0, 0.3]))  # commanded to turn: the new orientation is held
    assert np.allclose((ARM.jacobian(turned) @ held.tool(turned, linear, STILL).velocity)[3:], 0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    linear=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    angular=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_no_joint_ever_leaves_its_limits_or_exceeds_its_speed(seed, linear, angular):
    follower = JointFollower(ARM, FollowerSettings(speed_fraction=0.4))
    q = np.random.default_rng(seed).uniform(ARM.lower, ARM.upper)
    for _ in range(60):
        motion = follower.tool(q, np.array(linear), np.array(angular))
        assert np.all(np.abs(motion.velocity) <= 0.4 * ARM.velocity * (1 + 1e-9))
        q = q + motion.velocity * DT
        assert np.all(q >= ARM.lower - 1e-9) and np.all(q <= ARM.upper + 1e-9)


def test_at_a_position_limit_the_arm_halts_and_says_which_joint():
    follower, q = JointFollower(ARM), READY.copy()
    q[0] = ARM.upper[0]
    motion = follower.joints(q, np.array([0.3, 0.1, 0, 0, 0, 0]))
    assert halted(motion) and "joint1" in motion.reason and not motion.velocity.any()
    assert not follower.joints(q, np.array([-0.3, 0.1, 0, 0, 0, 0])).reason


def test_the_reference_starts_at_the_measured_joints_and_never_runs_further_ahead_than_the_limit():
    follower = JointFollower(ARM, FollowerSettings(max_error=0.05))
    velocity = np.array([0.5, 0, 0, 0, 0, 0])
    assert follower.advance(READY, velocity, DT)[0] == pytest.approx(READY[0] + 0.01)
    for _ in range(50):  # something holds the arm: it does not move
        reference = follower.advance(READY, velocity, DT)
    assert reference[0] == pytest.approx(READY[0] + 0.05)
    follower.stop()
    elsewhere = READY + 0.2
    assert np.allclose(follower.advance(elsewhere, np.zeros(6), DT), elsewhere)


def test_the_reference_does_not_creep_when_the_arm_sags():
    follower, sag = JointFollower(ARM), np.array([0, 0.03, 0.02, 0, 0, 0])
    start = follower.advance(READY, np.zeros(6), DT)
    for _ in range(100):
        now = follower.advance(READY + sag, follower.tool(READY + sag, STILL, STILL).velocity, DT)
    assert np.allclose(now, start)


@settings(max_examples=100, deadline=None)
@given(axis=st.lists(st.floats(-1, 1), min_size=3, max_size=3), angle=st.floats(-np.pi, np.pi))
def test_rotations_agree_in_every_form(axis, angle):
    axis = np.array(axis)
    if np.linalg.norm(axis) < 1e-3:
        axis = np.array([0.0, 0.0, 1.0])
    axis /= np.linalg.norm(axis)
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    q = quaternion(matrix)
    assert np.linalg.norm(q) == pytest.approx(1.0) and q[3] >= 0
    wanted = np.append(axis * np.sin(angle / 2), np.cos(angle / 2))
    assert min(np.abs(q - wanted).max(), np.abs(q + wanted).max()) < 1e-7
    if abs(angle) < 3.0:
        assert np.allclose(rotation_vector(matrix), axis * angle, atol=1e-6)


def drive_home(start, target, limits, dt=DT):
    homing, q, path = Homing(ARM, ARM.by_name(target), limits), np.array(start), []
    for _ in range(3000):
        velocity = homing.step(ARM.by_name(q), dt)
        if velocity is None:
            return q, path
        v = ARM.vector(velocity)
        path.append((q.copy(), v))
        q = q + v * dt
    pytest.fail("never arrived")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_homing_arrives_within_its_limits_on_a_straight_line(seed):
    rng = np.random.default_rng(seed)
    start, target = rng.uniform(ARM.lower, ARM.upper), rng.uniform(ARM.lower, ARM.upper)
    limits = HomingLimits(tool_speed=0.3, speed_fraction=0.5, acceleration=2.0)
    q, path = drive_home(start, target, limits)
    assert np.max(np.abs(q - target)) <= limits.tolerance
    way, before = target - start, 0.0
    for at, v in path:
        assert np.all(np.abs(v) <= 0.5 * ARM.velocity + 1e-9)
        assert np.linalg.norm(ARM.jacobian(at)[:3] @ v) <= 0.3 + 1e-9
        assert np.max(np.abs(v)) <= before + 2.0 * DT + 1e-9  # no jump in speed
        before = np.max(np.abs(v))
        assert np.allclose(np.outer(at - start, way), np.outer(way, at - start), atol=1e-6)


def test_homing_ends_at_once_when_there():
    assert Homing(ARM, ARM.by_name(READY)).step(ARM.by_name(READY + 0.005), DT) is None


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"joint1": 9.0}, {"parameter": "home.joint1", "shows": ("-2.6", "2.6")}),
        ({"joint1": float("nan")}, {"parameter": "home.joint1"}),
        ({"elbow": 0.0}, {"parameter": "home", "code": Code.DOES_NOT_FIT, "shows": ("joint1", "joint2")}),
        ({"joint3": None}, {"parameter": "home", "code": Code.DOES_NOT_FIT, "shows": "joint3"}),
    ],
)
def test_a_home_that_cannot_be_is_refused(change, fields):
    target = {k: v for k, v in (ARM.by_name(READY) | change).items() if v is not None}
    with refused(ConfigError, **fields):
        Homing(ARM, target)


def test_five_joints_move_the_tool_as_told_and_turn_only_as_they_can():
    robot = RobotSpec(name="five", joints=tuple("abcde"), base_frame="base", tool_frame="tip")
    arm = Kinematics.from_text(chain_urdf(robot, "base", "tip"), "base", "tip")  # yaw, three bends, roll
    q = np.array([0.2, 0.5, 0.7, 0.9, 0.1])
    for twist in np.vstack([0.1 * np.eye(6), [0.1, -0.05, 0.02, 0.3, 0.2, -0.1]]):
        motion = twist_to_joint_velocity(arm, q, twist, arm.velocity)
        assert motion.scale == 1.0
        np.testing.assert_allclose(arm.jacobian(q)[:3] @ motion.velocity, twist[:3], atol=1e-9)
    pitch = np.cross([np.cos(0.2), np.sin(0.2), 0.0], [0.0, 0.0, 1.0]) * -0.2  # about the bends' own axis: it can
    turned = arm.jacobian(q)[3:] @ twist_to_joint_velocity(arm, q, np.array([0, 0, 0, *pitch]), arm.velocity).velocity
    assert turned @ pitch > 0.8 * pitch @ pitch
