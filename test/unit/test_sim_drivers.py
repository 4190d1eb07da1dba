# SPDX-License-Identifier: Apache-2.0
"""The imitated drivers obey, halt and refuse as the real ones do, and the arm follows them in real time."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.ros.adapters import ADAPTERS
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.bridge import BridgeCore
from erl_vlm_ros.sim.drivers import DRIVERS, Refused, make_driver
from erl_vlm_ros.sim.realtime import TICK_S, RealTime
from erl_vlm_ros.sim.urdf import arm_urdf

ARM = Kinematics.from_text(arm_urdf(), "base_link", "tool0")
S = 1_000_000_000
DRIVER_JOINTS = list(load_robot("sim_arm").controller_joints)
START = 1_700_000_000 * S
STILL = (0.0, 0.0, 0.0)


class Live:
    """A RealTime with a clock that the test moves."""

    def __init__(self, driver: str, timeout_s: float | None = None, task: str = "drawer_open"):
        self.now = START
        self.arm = SimArm(task)
        self.real = RealTime(
            BridgeCore(self.arm, 0), make_driver(driver, ARM, TICK_S, DRIVER_JOINTS, timeout_s), self.now
        )
        self.driver = self.real.driver

    def run(self, seconds, command=None, period=0.02):
        """Let time pass; ``command(now)`` every ``period``."""
        end = self.now + round(seconds * S)
        while self.now < end:
            if command is not None:
                self.real.advance(self.now)
                command(self.now)
            self.now += round(period * S)
            self.real.advance(self.now)

    @property
    def speed(self):
        return float(np.abs(self.arm.joint_velocities).max())


def in_order(values):
    return [dict(zip(ARM.joint_names, values))[name] for name in DRIVER_JOINTS]


def test_the_drivers_joint_order_is_not_ours():
    assert sorted(DRIVER_JOINTS) == sorted(ARM.joint_names) and list(ARM.joint_names) != DRIVER_JOINTS
    with refused(ConfigError, parameter="controller_joints", code=Code.DOES_NOT_FIT, shows=("joint1", "joint2")):
        make_driver("joint_velocity", ARM, TICK_S, ["joint1", "joint2"])


def test_there_is_a_driver_for_every_adapter():
    assert set(DRIVERS) == set(ADAPTERS)


def test_servo_moves_the_tool_as_commanded_and_halts_when_commands_cease():
    live = Live("servo_twist")
    start = live.arm.ee_position
    live.run(1.0, lambda now: live.driver.command((0.0, 0.05, 0.05), STILL, now))
    assert np.allclose(live.arm.ee_position - start, [0, 0.05, 0.05], atol=0.004)
    live.run(0.06)
    assert live.speed > 0.02  # not yet
    live.run(0.1)
    assert live.speed < 0.005  # within 0.2 s of the last command, drives' lag and all
    stopped = live.arm.ee_position
    live.run(1.0)
    assert np.linalg.norm(live.arm.ee_position - stopped) < 0.001


def test_servo_judges_age_by_the_stamp():
    live = Live("servo_twist")
    start = live.arm.ee_position
    live.run(0.5, lambda now: live.driver.command((0.0, 0.1, 0.0), STILL, now - S // 5))
    assert np.linalg.norm(live.arm.ee_position - start) < 0.001


def test_servo_turns_the_tool():
    live = Live("servo_twist")
    live.run(1.0, lambda now: live.driver.command(STILL, (0.0, 0.0, 0.3), now))
    before = SimArm("drawer_open").data.site("ee").xmat.reshape(3, 3)
    after = live.arm.data.site("ee").xmat.reshape(3, 3)
    turn = after @ before.T
    assert np.arctan2(turn[1, 0], turn[0, 0]) == pytest.approx(0.3, abs=0.02)


def test_a_velocity_controller_turns_for_ever_unless_told_otherwise():
    for timeout, moves in ((None, True), (0.0, True), (0.1, False)):
        live = Live("joint_velocity", timeout)
        live.driver.command(in_order([0.1, 0, 0, 0, 0, 0]), live.now)
        live.run(1.0)
        assert (live.speed > 0.05) == moves
    live = Live("joint_velocity")
    start = live.arm.joint_positions
    live.run(1.0, lambda now: live.driver.command(in_order([0.1, -0.05, 0, 0, 0, 0.2]), now))
    assert np.allclose(live.arm.joint_positions - start, [0.1, -0.05, 0, 0, 0, 0.2], atol=0.01)
    live.driver.command([0.0] * 6, live.now)
    live.run(0.1)
    assert live.speed < 0.005


def test_a_position_controller_goes_there_and_stays():
    live = Live("joint_position")
    target = live.arm.joint_positions + [0.2, -0.1, 0.1, 0.0, 0.05, -0.2]
    live.driver.command(in_order(target), live.now)
    live.run(2.0)
    assert np.allclose(live.arm.joint_positions, target, atol=0.01) and live.speed < 0.005


def test_a_trajectory_is_followed_in_its_time_and_its_end_is_held():
    live = Live("joint_trajectory")
    start = live.arm.joint_positions
    names = list(reversed(ARM.joint_names))
    way = np.array([0.2, -0.1, 0.1, 0.0, 0.05, -0.2])
    live.driver.command(names, [(start + 0.5 * way)[::-1], (start + way)[::-1]], [0.5, 1.0], live.now)
    live.run(0.5)
    assert np.allclose(live.arm.joint_positions, start + 0.5 * way, atol=0.015)
    live.run(1.0)
    assert np.allclose(live.arm.joint_positions, start + way, atol=0.01) and live.speed < 0.005


@pytest.mark.parametrize(
    "driver, arguments, fields",
    [
        ("servo_twist", ((np.nan, 0, 0), STILL, START), {"field": "twist"}),
        ("joint_velocity", ([0.1] * 5, START), {"field": "size"}),
        ("joint_position", ([np.inf] * 6, START), {"field": "values"}),
        ("joint_trajectory", (["joint1"], [[0.0]], [1.0], START), {"field": "joint_names", "shows": "joint1"}),
        ("joint_trajectory", (ARM.joint_names, [], [], START), {"field": "points"}),
        ("joint_trajectory", (ARM.joint_names, [[0.0] * 6] * 2, [1.0, 1.0], START), {"field": "time_from_start"}),
        ("joint_trajectory", (ARM.joint_names, [[np.nan] * 6], [1.0], START), {"field": "positions"}),
    ],
)
def test_what_a_real_driver_refuses_moves_nothing(driver, arguments, fields):
    live = Live(driver)
    with refused(Refused, **fields):
        live.driver.command(*arguments)
    before = live.arm.joint_positions
    live.run(0.3)
    assert np.allclose(live.arm.joint_positions, before, atol=1e-3)


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_no_command_no_motion_and_no_joint_past_its_limit(driver):
    live = Live(driver)
    before = live.arm.joint_positions
    live.run(1.0)
    assert np.allclose(live.arm.joint_positions, before, atol=1e-3)
    far = [50.0] * 6
    push = {
        "servo_twist": lambda now: live.driver.command((3.0, 3.0, 3.0), (9.0, 9.0, 9.0), now),
        "joint_velocity": lambda now: live.driver.command(far, now),
        "joint_position": lambda now: live.driver.command(far, now),
        "joint_trajectory": lambda now: live.driver.command(ARM.joint_names, [far], [0.01], now),
    }[driver]
    live.run(3.0, push)
    assert np.all(live.arm.joint_positions <= ARM.upper + 0.02)
    assert np.all(live.arm.joint_positions >= ARM.lower - 0.02)


def test_simulated_and_wall_time_pass_alike_and_a_long_leap_is_left_out():
    live = Live("servo_twist")
    live.run(0.5, period=0.033)
    assert live.arm.time == pytest.approx((live.now - START) / S, abs=TICK_S)
    passed = live.arm.time
    live.now += 3 * S
    live.real.advance(live.now)
    assert live.arm.time == pytest.approx(passed, abs=2 * TICK_S)
    assert live.real.lost_s == pytest.approx(3.0, abs=2 * TICK_S)
    live.now -= 10 * S  # the clock was set back
    live.real.advance(live.now)
    live.run(0.1)
    assert live.arm.time == pytest.approx(passed + 0.1, abs=5 * TICK_S)


def test_pause_and_reset_forget_commands():
    live = Live("joint_velocity")
    live.driver.command([0.3] * 6, live.now)
    live.real.pause(True, live.now)
    live.run(0.5)
    assert live.arm.time < 2 * TICK_S
    live.real.step(0.1, live.now)
    assert live.arm.time == pytest.approx(0.1, abs=2 * TICK_S)
    live.real.pause(False, live.now)
    live.run(0.2)
    assert live.speed < 0.01
    live.driver.command([0.3] * 6, live.now)
    started = live.real.reset(7, -1, live.now)
    other = SimArm("drawer_open")
    other.reset(7)
    assert started["seed"] == 7 and np.array_equal(live.arm.joint_positions, other.joint_positions)
    live.run(0.3)
    assert live.speed < 0.01


def test_pressing_on_the_table_is_felt_against_the_tool():
    live = Live("servo_twist", task="sweep_into")
    live.run(0.1)
    assert np.abs(live.arm.wrench()).max() < 1e-6
    live.run(2.0, lambda now: live.driver.command((0.0, 0.0, -0.1), STILL, now))
    force = live.arm.wrench()[:3]
    assert force[2] < -5.0  # z of the tool points down: the table pushes back
    assert abs(force[0]) < abs(force[2]) and abs(force[1]) < abs(force[2])
    assert np.abs(live.arm.joint_efforts).max() > 1.0


def test_frames_of_the_urdf_are_where_the_simulation_has_them():
    live = Live("joint_position", task="pick_place")
    poses = live.arm.link_poses()
    position, rotation = ARM.forward(live.arm.joint_positions)
    assert np.allclose(poses["tool0"][0], position, atol=1e-3)
    assert np.allclose(poses["camera_color_optical_frame"][0], live.arm.camera_pose()[:3, 3])
    assert all(np.linalg.norm(q) == pytest.approx(1.0) for _, q in poses.values())
    assert {f"link{i}" for i in range(1, 7)} | {"finger_left", "finger_right", "camera_link"} < set(poses)
