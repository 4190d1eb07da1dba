# SPDX-License-Identifier: Apache-2.0
"""What the guard does about an arm that is held up: the count itself, and the simulated arm pressing on its drawer."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_safety_core import INSIDE, Run, parameters
from test_sim_drivers import Live, S

from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import action_to_command
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import spaces_of
from erl_vlm_ros.safety.config import guard_limits
from erl_vlm_ros.safety.core import GuardCore
from erl_vlm_ros.safety.tracking_error import TrackingError
from erl_vlm_ros.sim.arm import JOINT_NAMES

DT = 0.02
_NUMBER = st.floats(-1.0, 1.0)
_VECTOR = st.tuples(_NUMBER, _NUMBER, _NUMBER)


@given(st.lists(st.tuples(_VECTOR, _VECTOR), max_size=20), _VECTOR)
def test_the_lead_keeps_to_its_limit_and_nothing_passes_that_would_lengthen_it(seen, velocity):
    error = TrackingError(0.03)
    for missing, position in seen:
        error.saw(missing, position)
        assert max(map(abs, error.vector)) <= 0.03
    for desired, got, ahead in zip(velocity, error.limit(velocity, 0.1), error.vector):
        assert (
            abs(got) <= abs(desired) and got * desired >= 0.0
        )  # never turned, never faster, nothing that was not asked for
        assert got == desired or abs(ahead + 0.1 * got) <= 0.03 + 1e-12
        if not (desired < 0.0 < -ahead or desired > 0.0 < ahead) and abs(desired) * 0.1 <= 0.03:
            assert got == desired  # away from what holds it up


def test_a_limit_of_zero_counts_nothing():
    error = TrackingError(0.0)
    error.saw((1.0, 0.0, 0.0), INSIDE)
    assert error.vector == (0.0, 0.0, 0.0) and error.limit((1.0, 0.0, 0.0), 0.1) == (1.0, 0.0, 0.0)


def test_a_lead_fades_while_the_tool_moves():
    error = TrackingError(0.03)
    nothing, here = (0.0, 0.0, 0.0), (0.4, 0.0, 0.2)
    error.saw((0.03, 0.0, 0.0), here)
    for noise in (0.002, -0.003, 0.004, 0.0) * 500:
        error.saw(nothing, (0.4 + noise, 0.0, 0.2))
    assert error.vector[0] == pytest.approx(0.03)  # a tracker's noise is no motion
    error.saw(nothing, (0.7, 0.0, 0.2))
    assert error.vector[0] == pytest.approx(0.03 / math.e)
    error.saw(nothing, (0.7, 0.3, 0.2))  # sliding along what holds it up: half as much
    assert error.vector[0] == pytest.approx(0.03 / math.exp(1.5))
    error.reset()
    assert error.vector == (0.0, 0.0, 0.0)


class HeldUp(Run):
    """An arm that cannot go beyond ``wall`` in x."""

    wall = INSIDE[0]

    def hear(self):
        self.at = (min(self.at[0], self.wall), *self.at[1:])
        super().hear()


@pytest.mark.parametrize("most", [0.01, 0.03])
def test_an_arm_at_a_wall_is_pushed_no_further_than_max_lead(most):
    run = HeldUp(max_tracking_error_m=most, velocity=(0.2, 0.0, 0.0))
    pushed = 0.0
    for _ in range(100):
        run.tick()
        pushed += max(0.0, run.motion.linear[0]) * DT
    assert most * 0.8 < pushed < most + 0.2 * 0.03 and run.motion.limited == ("tracking error",)
    run.velocity = (-0.1, 0.1, 0.0)  # back and sideways passes at once
    run.tick(3)
    assert run.motion.linear == pytest.approx((-0.1, 0.1, 0.0)) and run.motion.limited == ()


class Slow(Run):
    """An arm whose joints' limits leave 60% of what is commanded; ``told``: the adapter says so."""

    told = True

    def tick(self, count=1):
        for _ in range(count):
            start = self.at
            super().tick()
            self.at = tuple(p + 0.6 * v * DT for p, v in zip(start, self.motion.linear))
            if self.told:
                self.core.slowed(self.motion, 0.6, self.now - DT)
        return self.motion


@pytest.mark.parametrize("told", [True, False])
def test_what_the_adapter_keeps_back_holds_nothing_up(told):
    run = Slow(max_tracking_error_m=0.01, arm_lag_s=0.0, velocity=(0.1, 0.0, 0.0))
    run.told = told
    run.tick(20)
    assert (max(map(abs, run.core.inputs.tracking_error.vector)) < 0.002) == told
    assert (run.motion.limited == ()) == told


def test_what_the_commands_lead_to_stays_in_the_box_too():
    edge = load_task("drawer_open").workspace_max[1]
    run = Run(at=(INSIDE[0], edge - 0.002, INSIDE[2]), velocity=(0.0, 0.2, 0.0), max_tracking_error_m=0.03)
    run.core.inputs.tracking_error.vector = (0.0, 0.01, 0.0)
    run.tick()
    assert run.motion.linear[1] <= 0.0 and "tracking error" in run.motion.limited


def test_arming_starts_the_count_anew():
    run = Run(max_tracking_error_m=0.03)
    run.core.inputs.tracking_error.saw((0.02, 0.0, 0.0), INSIDE)
    run.core.arm(False, run.now)
    run.core.arm(True, run.now)
    assert run.core.inputs.tracking_error.vector == (0.0, 0.0, 0.0)


def outside_of_the_box(max_tracking_error_m, episodes=20):
    """Share of time and m that the simulated tool is outside the box, exploring around a drawer in real time."""
    task, rng = load_task("drawer_open"), np.random.default_rng(0)
    live = Live("servo_twist")
    arm = live.arm
    core = GuardCore(guard_limits(parameters(max_tracking_error_m=max_tracking_error_m), task))
    spaces = spaces_of(task, JOINT_NAMES)
    policy = RolloutPolicy(ExplorationConfig(object_radius=0.06), task, spaces, 5)
    low, high, out = np.array(task.workspace_min), np.array(task.workspace_max), []
    for _ in range(episodes):
        live.real.reset(int(rng.integers(2**31)), -1, live.now)
        policy.begin_episode(True, False)
        core.arm(False, live.now / S)
        for tick in range(60 * 5):
            now = live.now
            core.inputs.update_pose(tuple(arm.ee_position), "base_link", now, now, now / S)
            core.inputs.update_joints(dict(zip(JOINT_NAMES, arm.joint_positions)), now, now, now / S)
            if tick == 0:
                assert core.arm(True, now / S) is None
            if tick % 5 == 0:
                seen = build_observation(
                    spaces.observation, arm.joint_positions, arm.ee_position, arm.gripper_width,
                    arm.object_position, arm.goal,
                )  # fmt: skip
                command = action_to_command(policy.act(seen, None), spaces.action).linear
            core.command(command, (0.0,) * 3, "base_link", now, now, now / S)
            live.driver.command(core.tick(now / S).linear, (0.0,) * 3, now)
            live.run(DT)
            out.append(max((low - arm.ee_position).max(), (arm.ee_position - high).max()))
    out = np.array(out)
    return (out > 0.005).mean(), out.max()


@pytest.mark.slow
def test_pressing_on_the_drawer_winds_the_arm_up_no_more():
    share, worst = outside_of_the_box(0.03)
    free_share, free_worst = outside_of_the_box(0.0)
    assert share < 0.2 * free_share and worst < 0.6 * free_worst and worst < 0.02
