# SPDX-License-Identifier: Apache-2.0
"""The envelope, for anything that a policy or a broken link may send."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.safety.envelope import Envelope, Rejected, limit_velocity, limit_width

BOX = Envelope((0.2, -0.3, 0.03), (0.66, 0.3, 0.4), max_speed=0.9, horizon_s=0.1, frame="base_link")
any_number = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
inside = st.tuples(*(st.floats(a, b) for a, b in zip(BOX.box_min, BOX.box_max)))
near = st.tuples(*(st.floats(a - 1, b + 1) for a, b in zip(BOX.box_min, BOX.box_max)))


@settings(max_examples=500)
@given(st.tuples(any_number, any_number, any_number), st.tuples(any_number, any_number, any_number))
def test_whatever_comes_in_the_output_is_finite_and_slow_or_nothing(velocity, position):
    try:
        out = limit_velocity(velocity, position, "base_link", BOX).velocity
    except Rejected:
        assert not all(map(math.isfinite, (*velocity, *position)))
        return
    assert all(map(math.isfinite, out))
    assert math.hypot(*out) <= BOX.max_speed


@settings(max_examples=500)
@given(st.tuples(finite, finite, finite), inside)
def test_from_inside_the_integrated_position_stays_inside(velocity, position):
    out = limit_velocity(velocity, position, "base_link", BOX).velocity
    assert BOX.contains([p + v * BOX.horizon_s for p, v in zip(position, out)])


@settings(max_examples=500)
@given(st.tuples(finite, finite, finite), near)
def test_from_outside_no_axis_moves_further_out(velocity, position):
    out = limit_velocity(velocity, position, "base_link", BOX).velocity
    for p, v, low, high in zip(position, out, BOX.box_min, BOX.box_max):
        after = p + v * BOX.horizon_s
        assert min(low, p) <= after <= max(high, p)
        if p > high:
            assert v <= 0
        if p < low:
            assert v >= 0


@settings(max_examples=300)
@given(st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=30), inside)
def test_a_path_of_limited_commands_never_leaves_the_box(commands, position):
    for velocity in commands:
        out = limit_velocity(velocity, position, "base_link", BOX).velocity
        position = tuple(p + v * BOX.horizon_s for p, v in zip(position, out))
        assert BOX.contains(position)


@given(st.tuples(*[st.floats(-0.2, 0.2)] * 3), st.tuples(*[st.floats(0.3, 0.35)] * 3))
def test_what_is_within_all_limits_passes_unchanged(velocity, position):
    box = Envelope((0, 0, 0), (1, 1, 1), 0.9, 0.1, "base_link")
    limited = limit_velocity(velocity, position, "base_link", box)
    assert limited.velocity == velocity and limited.changed == ()


def test_speed_is_scaled_in_direction_and_the_change_is_named():
    limited = limit_velocity((3.0, 4.0, 0.0), (0.4, 0.0, 0.2), "base_link", BOX)
    assert limited.velocity == pytest.approx((0.54, 0.72, 0.0))
    assert limited.changed == ("speed",)
    assert limit_velocity((0.5, 0, 0), (0.65, 0, 0.2), "base_link", BOX).changed == ("box",)


def test_another_frame_is_rejected():
    with refused(Rejected, field="frame", shows=("tool0", "base_link")):
        limit_velocity((0.1, 0, 0), (0.4, 0, 0.2), "tool0", BOX)


@given(any_number)
def test_gripper_width_stays_in_range(width):
    if math.isfinite(width):
        assert 0 <= limit_width(width, BOX) <= 0.08
    else:
        with pytest.raises(Rejected):
            limit_width(width, BOX)


@given(finite, finite)
def test_an_empty_box_is_refused(a, b):
    assume(not a < b)
    with refused(ConfigError, parameter="workspace"):
        Envelope((a, 0, 0), (b, 1, 1), 0.5, 0.1, "base_link")


@pytest.mark.parametrize("kwargs", [{"max_speed": 0.0}, {"max_speed": math.nan}, {"horizon_s": -1.0}])
def test_meaningless_limits_are_refused(kwargs):
    with refused(ConfigError, parameter=f"safety_guard.{next(iter(kwargs))}"):
        Envelope((0, 0, 0), (1, 1, 1), **({"max_speed": 0.5, "horizon_s": 0.1} | kwargs), frame="base_link")
