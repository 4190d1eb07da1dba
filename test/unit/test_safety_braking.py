# SPDX-License-Identifier: Apache-2.0
"""The law of one axis: it keeps its limits, arrives without passing, and stops."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from erl_vlm_ros.safety.braking import stop_steps, sweep, towards

DT = 0.02
accelerations = st.one_of(st.just(math.inf), st.floats(1.0, 50.0))
changes = st.one_of(st.just(math.inf), st.floats(0.05, 20.0))
speeds = st.floats(-1.0, 1.0)
NEAR = 1e-9


def follow(velocity, acceleration, target, most, change, steps):
    for _ in range(steps):
        before = velocity, acceleration
        velocity, acceleration = towards(velocity, acceleration, target, DT, most, change)
        yield *before, velocity, acceleration


@settings(max_examples=200, deadline=None)
@given(speeds, st.lists(speeds, min_size=1, max_size=6), accelerations, changes, st.integers(1, 30))
def test_limits_hold_whatever_is_wished(velocity, targets, most, change, each):
    acceleration = 0.0
    for target in targets:
        for v, a, after, rate in follow(velocity, acceleration, target, most, change, each):
            assert abs(rate) <= most * (1 + NEAR)
            assert abs(rate - a) <= change * (1 + NEAR) + NEAR
            assert math.isclose(after - v, rate * DT, abs_tol=1e-11)
        velocity, acceleration = after, rate


@settings(max_examples=200, deadline=None)
@given(speeds, speeds, accelerations, changes)
def test_from_steady_motion_a_target_is_met_without_passing_it(velocity, target, most, change):
    low, high = sorted((velocity, target))
    steps = stop_steps(1.0, DT, most, change) * 2 + 2  # from -1 to 1 is two stops
    for _, _, after, _ in follow(velocity, 0.0, target, most, change, steps):
        assert low - NEAR <= after <= high + NEAR
    assert (after, towards(after, 0.0, target, DT, most, change)) == (target, (target, 0.0))


@settings(max_examples=200, deadline=None)
@given(speeds, st.floats(-1.0, 1.0), accelerations, changes)
def test_the_sweep_holds_every_point_of_the_stop(velocity, share, most, change):
    acceleration = share * min(most, 10.0)
    low, high, slow, fast = sweep(velocity, acceleration, DT, most, change)
    at = velocity * DT
    points, seen = [0.0, at], [0.0, velocity]
    for _, _, v, _ in follow(velocity, acceleration, 0.0, most, change, 2000):
        at += v * DT
        points.append(at)
        seen.append(v)
    assert (low, high, slow, fast) == (min(points), max(points), min(seen), max(seen))
    assert seen[-1] == 0.0


def test_without_limits_one_step_is_enough():
    assert towards(0.9, 0.0, -0.3, DT, math.inf, math.inf)[0] == -0.3
    assert stop_steps(0.9, DT, math.inf, math.inf) == 1


def test_with_acceleration_alone_the_stop_is_as_long_as_it_must_be():
    assert stop_steps(1.0, DT, 5.0, math.inf) == 10  # 1 m/s at 5 m/s^2 is 0.2 s
    assert stop_steps(1.0, DT, 5.0, 1e-6, enough=50) >= 50
