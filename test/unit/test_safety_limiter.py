# SPDX-License-Identifier: Apache-2.0
"""Whatever is desired, step for step: no limit is passed, the box is never left, no forbidden box is entered."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.safety.boxes import Box
from erl_vlm_ros.safety.envelope import Envelope, limit_velocity
from erl_vlm_ros.safety.limiter import Dynamics, Limiter

BOX = Box((0.2, -0.3, 0.03), (0.66, 0.3, 0.4), "workspace box")
PILLAR = Box((0.4, -0.05, 0.03), (0.5, 0.05, 0.25), "pillar")
SHELF = Box((0.2, 0.15, 0.2), (0.66, 0.3, 0.22), "shelf")
DT = 0.02
NEAR = 1e-6
dynamics = st.builds(
    Dynamics,
    max_speed=st.floats(0.05, 1.0),
    max_acceleration=st.one_of(st.just(0.0), st.floats(1.0, 40.0)),
    max_jerk=st.one_of(st.just(0.0), st.floats(20.0, 4000.0)),
    dt=st.just(DT),
    hold_s=st.sampled_from((DT, 0.05, 0.1)),
)
numbers = st.one_of(st.floats(-2, 2), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from((0.0, 1e308)))
# (desired, how many steps it is repeated)
commands = st.lists(st.tuples(st.tuples(numbers, numbers, numbers), st.integers(1, 12)), min_size=1, max_size=15)
places = st.tuples(*(st.floats(a, b) for a, b in zip(BOX.low, BOX.high)))


def drive(limits, forbidden, at, commands):
    """Yield (position before, step, periods) of a path integrated exactly."""
    limiter = Limiter(limits, BOX, forbidden)
    envelope = Envelope(BOX.low, BOX.high, limits.max_speed, limits.hold_s, "base_link")
    for desired, repeat in commands:
        for _ in range(repeat):
            target = limit_velocity(desired, at, "base_link", envelope).velocity
            step = limiter.step(target, at)
            yield at, step, limiter
            at = tuple(p + v * DT for p, v in zip(at, step.velocity))


@settings(max_examples=200, deadline=None)
@given(dynamics, places, commands)
def test_speed_acceleration_and_jerk_are_kept(limits, at, commands):
    last, last_rate = (0.0,) * 3, (0.0,) * 3
    for _, step, _ in drive(limits, (PILLAR, SHELF), at, commands):
        rate = tuple((a - b) / DT for a, b in zip(step.velocity, last))
        assert math.hypot(*step.velocity) <= limits.max_speed * (1 + NEAR)
        if limits.max_acceleration > 0:
            assert math.hypot(*rate) <= limits.max_acceleration * (1 + NEAR)
        if limits.max_jerk > 0:
            change = math.hypot(*(a - b for a, b in zip(rate, last_rate)))
            assert change <= limits.max_jerk * DT * (1 + NEAR) + 1e-6
        last, last_rate = step.velocity, rate


@settings(max_examples=200, deadline=None)
@given(dynamics, places, commands)
def test_the_path_stays_in_the_box_and_out_of_the_forbidden_ones(limits, at, commands):
    if any(box.intersects(at, at, 1e-6) for box in (PILLAR, SHELF)):
        at = (0.3, -0.2, 0.1)
    for before, step, _ in drive(limits, (PILLAR, SHELF), at, commands):
        after = tuple(p + v * DT for p, v in zip(before, step.velocity))
        assert BOX.contains(after)
        for k in range(9):
            point = tuple(a + (b - a) * k / 8 for a, b in zip(before, after))
            assert not PILLAR.intersects(point, point) and not SHELF.intersects(point, point)


@settings(max_examples=100, deadline=None)
@given(dynamics, places, commands, st.integers(0, 200))
def test_after_any_history_the_stop_stays_inside_too(limits, at, commands, cut):
    if any(box.intersects(at, at, 1e-6) for box in (PILLAR, SHELF)):
        at = (0.3, -0.2, 0.1)
    for i, (before, step, driven) in enumerate(drive(limits, (PILLAR, SHELF), at, commands)):
        limiter = driven
        at = tuple(p + v * limits.hold_s for p, v in zip(before, step.velocity))  # the next step comes late
        if i >= cut:
            break
        at = tuple(p + v * DT for p, v in zip(before, step.velocity))
    steps = 0
    while not limiter.still:
        assert BOX.contains(at)
        assert not PILLAR.intersects(at, at) and not SHELF.intersects(at, at)
        at = tuple(p + v * DT for p, v in zip(at, limiter.stop().velocity))
        steps += 1
        assert steps <= round(limits.longest_stop_s() / DT) + 1  # whole steps: 7 * 0.02 is more than 0.12 + 0.02
    assert BOX.contains(at)


@settings(max_examples=100, deadline=None)
@given(places, commands)
def test_without_dynamics_and_forbidden_boxes_nothing_is_changed(at, commands):
    plain = Dynamics(0.9, 0.0, 0.0, 0.1, 0.1)
    envelope = Envelope(BOX.low, BOX.high, 0.9, 0.1, "base_link")
    limiter = Limiter(plain, BOX)
    for desired, _ in commands:
        target = limit_velocity(desired, at, "base_link", envelope).velocity
        assert limiter.step(target, at).velocity == target


def approach(desired, at, **limits):
    limits = Dynamics(
        **({"max_speed": 0.25, "max_acceleration": 8.0, "max_jerk": 400.0, "dt": DT, "hold_s": 0.1} | limits)
    )
    reasons = set()
    for before, step, _ in drive(limits, (PILLAR,), at, [(desired, 400)]):
        at = tuple(p + v * DT for p, v in zip(before, step.velocity))
        reasons |= set(step.changed)
    return at, reasons


@pytest.mark.parametrize("limits", [{}, {"max_acceleration": 0.0, "max_jerk": 0.0}])
def test_a_wall_is_reached_not_only_kept_away_from(limits):
    at, _ = approach((0.25, 0.0, 0.0), (0.3, 0.2, 0.3), **limits)
    assert BOX.high[0] - 0.002 < at[0] <= BOX.high[0]


@pytest.mark.parametrize("limits", [{}, {"max_acceleration": 0.0, "max_jerk": 0.0}])
def test_a_forbidden_box_is_reached_and_slid_along(limits):
    at, reasons = approach((0.2, 0.0, 0.0), (0.3, 0.0, 0.1), **limits)
    assert PILLAR.low[0] - 0.01 < at[0] <= PILLAR.low[0] and "pillar" in reasons
    at, _ = approach((0.2, 0.1, 0.0), (0.3, -0.04, 0.1), **limits)
    assert at[1] > 0.2  # round the corner, not stuck at it


def test_from_inside_a_forbidden_box_only_straight_out_is_allowed():
    limiter = Limiter(Dynamics(0.5, 0.0, 0.0, DT, 0.1), BOX, (PILLAR,))
    inside = (0.41, 0.0, 0.1)  # 1 cm behind the face at low x
    assert limiter.step((0.1, 0.0, 0.0), inside).velocity == (0.0, 0.0, 0.0)
    assert limiter.step((0.0, 0.1, 0.0), inside).velocity == (0.0, 0.0, 0.0)
    assert limiter.step((-0.1, 0.0, 0.0), inside).velocity == (-0.1, 0.0, 0.0)
    assert limiter.step((-0.1, 0.1, 0.0), inside).velocity == (-0.1, 0.0, 0.0)


def test_missed_slots_brake_by_as_many_steps():
    limits = Dynamics(0.5, 5.0, 0.0, DT, 0.1)
    one, two = Limiter(limits), Limiter(limits)
    for limiter in (one, two):
        for _ in range(30):
            limiter.step((0.4, 0.0, 0.0))
    one.stop()
    assert two.stop(periods=2).velocity == one.stop().velocity


@pytest.mark.parametrize(
    "name, value", [("max_speed", 0.0), ("max_speed", math.nan), ("max_acceleration", -1.0), ("max_jerk", math.inf)]
)
def test_meaningless_limits_are_refused(name, value):
    limits = {"max_speed": 0.5, "max_acceleration": 1.0, "max_jerk": 1.0, "dt": DT, "hold_s": 0.1}
    with refused(ConfigError, parameter=f"safety_guard.{name}"):
        Dynamics(**(limits | {name: value}))
