# SPDX-License-Identifier: Apache-2.0
"""A person at the controls: who drives, where to, which buttons count, and what is recorded."""

import math

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import velocity_to_action
from erl_vlm_ros.control.executed import StepVelocity
from erl_vlm_ros.control.intervention import CONTINUE, FAILURE, PAUSE, SUCCESS, HumanConfig, Intervention
from erl_vlm_ros.data.spaces import action_spec
from erl_vlm_ros.robot.rotation import rotation_of

DRAWER, PICK = load_task("drawer_open"), load_task("pick_place")
REST = [0.0] * 4


def joystick(**changes):
    values = {"input": "joy", "axes": (1, 0, 3), "signs": (1.0, 1.0, 1.0), "speed": 0.2, "enable_button": 2}
    return Intervention(HumanConfig(**{**values, **changes}))


def buttons(*down):
    return [int(i in down) for i in range(8)]


def test_a_joystick_drives_while_its_dead_man_button_is_held():
    person = joystick()
    person.joy([0.5, 1.0, 0.0, -0.25], buttons(), 0.0)
    assert not person.active(0.0)  # pushed, but not enabled
    person.joy([0.5, 1.0, 0.0, -0.25], buttons(2), 0.1)
    assert person.active(0.1)
    assert person.velocity() == pytest.approx((0.2, 0.1, -0.05))
    person.joy([0.5, 1.0, 0.0, -0.25], buttons(), 0.2)
    assert not person.active(0.2)


def test_a_button_that_was_down_before_does_not_start_a_motion():
    person = joystick()
    person.joy([1.0] * 4, buttons(2), 0.0)
    person.joy([1.0] * 4, buttons(2), 0.1)
    assert not person.active(0.1)
    person.joy([1.0] * 4, buttons(), 0.2)
    person.joy([1.0] * 4, buttons(2), 0.3)
    assert person.active(0.3)
    assert not person.active(0.3 + 0.31)  # the device fell silent
    person.joy([1.0] * 4, buttons(2), 2.0)  # it comes back, still held: nobody knows what happened meanwhile
    assert not person.active(2.0)


def test_silence_between_messages_that_only_come_on_change_does_not_lock_a_new_press():
    person = joystick()
    person.joy(REST, buttons(), 0.0)
    person.joy([1.0] * 4, buttons(2), 60.0)
    assert person.active(60.0)


def test_deadband_signs_and_broken_numbers():
    person = joystick(signs=(-1.0, 1.0, 1.0), deadband=0.1)
    person.joy(REST, buttons(), 0.0)
    person.joy([0.05, 2.0, 0.0, 0.5], buttons(2), 0.0)
    assert person.velocity() == pytest.approx((-0.2, 0.0, 0.1))  # over-range is clipped
    person.joy([math.nan, 1.0, 0.0, 0.5], buttons(2), 0.1)
    assert person.velocity() == (0.0, 0.0, 0.0)


def test_the_tools_frame_is_turned_to_the_base():
    person = joystick(frame="tool")
    person.joy(REST, buttons(), 0.0)
    person.joy([0.0, 1.0, 0.0, 0.0], buttons(2), 0.0)  # forward along the tool's x
    half = math.sqrt(0.5)
    quarter = rotation_of(0.0, 0.0, half, half)  # the tool's x points along the base's y
    assert person.velocity(quarter) == pytest.approx((0.0, 0.2, 0.0))
    upside_down = rotation_of(1.0, 0.0, 0.0, 0.0)
    person.joy([0.0, 0.0, 0.0, 1.0], buttons(2), 0.0)
    assert person.velocity(upside_down) == pytest.approx((0.0, 0.0, -0.2))
    with refused(DataError, field="rotation"):
        person.velocity(None)


def test_rotation_of_is_a_rotation_for_any_quaternion():
    rng = np.random.default_rng(0)
    for q in rng.normal(size=(50, 4)):
        r = rotation_of(*q)
        assert np.allclose(r @ r.T, np.eye(3)) and np.linalg.det(r) == pytest.approx(1)
    with refused(DataError, field="orientation"):
        rotation_of(0.0, 0.0, 0.0, 0.0)


def test_buttons_act_when_they_go_down():
    person = joystick(continue_button=0, pause_button=1, success_button=3, failure_button=5)
    assert person.joy(REST, buttons(0), 0.0) == []  # the first message tells no change
    assert person.joy(REST, buttons(), 0.1) == []
    assert person.joy(REST, buttons(0, 1), 0.2) == [CONTINUE, PAUSE]
    assert person.joy(REST, buttons(0, 1, 5), 0.3) == [FAILURE]
    assert person.joy(REST, buttons(3), 0.4) == [SUCCESS]


def test_the_gripper_follows_its_buttons():
    person = joystick(open_button=6, close_button=7)
    for down, wanted in (((6,), 1.0), ((7,), -1.0), ((6, 7), 0.0), ((), 0.0)):
        person.joy(REST, buttons(*down), 0.0)
        assert person.gripper == wanted


def test_a_spacemouse_drives_from_its_first_push_until_it_rests():
    person = Intervention(HumanConfig(input="twist", speed=0.1, twist_scale=2.0, release_s=0.5, timeout_s=0.3))
    person.twist((0.0, 0.01, 0.0), 0.0)
    assert not person.active(0.0)  # within the deadband
    person.twist((0.25, 0.0, 0.0), 1.0)
    assert person.active(1.0) and person.velocity() == pytest.approx((0.05, 0.0, 0.0))
    for at in (1.2, 1.4):
        person.twist((0.0, 0.0, 0.0), at)
        assert person.active(at) and person.velocity() == (0.0, 0.0, 0.0)
    person.twist((0.0, 0.0, 0.0), 1.6)
    assert not person.active(1.6)


def test_what_cannot_work_is_refused_with_the_parameters_name():
    with refused(ConfigError, parameter="human.enable_button"):
        joystick(enable_button=-1)
    with refused(ConfigError, parameter="human.axes"):
        joystick(axes=(0, 0, 1))
    with refused(ConfigError, parameter="human.*_button", code=Code.DOES_NOT_FIT):
        joystick(pause_button=2)
    with refused(ConfigError, parameter="human.*_button", code=Code.UNKNOWN):
        joystick().joy(REST, [0, 0], 0.0)
    with refused(ConfigError, parameter="human.axes", code=Code.UNKNOWN):
        joystick().joy([0.0, 0.0], buttons(), 0.0)


def test_a_step_is_the_time_weighted_mean_of_what_was_sent():
    step = StepVelocity()
    assert step.take(0.0) is None
    step.add((0.4, 0.0, 0.0), 0.0)
    step.add((0.0, 0.2, 0.0), 0.025)
    assert step.take(0.1) == pytest.approx([0.1, 0.15, 0.0])
    assert step.take(0.2) is None  # nothing new was told
    step.add((1.0, 0.0, 0.0), 0.25)
    assert step.take(0.3) == pytest.approx([0.5, 0.1, 0.0])  # the last of before was in force for half of it
    step.clear()
    step.add((1.0, 0.0, 0.0), 5.0)
    assert step.take(5.0) == pytest.approx([1.0, 0.0, 0.0])
    last = StepVelocity(mean=False)
    last.add((0.4, 0.0, 0.0), 0.0)
    last.add((0.0, 0.2, 0.0), 0.09)
    assert last.take(0.1) == pytest.approx([0.0, 0.2, 0.0])


def test_velocities_become_actions_that_ask_for_them():
    speed = DRAWER.linear_speed
    assert velocity_to_action((speed, -speed / 2, 0.0), action_spec(DRAWER)).tolist() == [1.0, -0.5, 0.0]
    assert velocity_to_action((5.0, 0.0, 0.0), action_spec(DRAWER))[0] == 1.0
    assert velocity_to_action((0.0, 0.0, 0.0), action_spec(PICK), -1.0).tolist() == [0.0, 0.0, 0.0, -1.0]
