# SPDX-License-Identifier: Apache-2.0
"""Joint state by joint: partial messages, several publishers, and values that are none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.robot.joint_store import JointProblem, JointStore

NS = 1_000_000_000
ARM = ("j1", "j2", "j3")


def test_arm_and_gripper_in_messages_of_their_own_make_one_state():
    store = JointStore((*ARM, "finger"))
    assert store.update(ARM, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), stamp_ns=5 * NS, at=10.0).joints == ARM
    assert store.missing() == ["finger"] and store.measured_at() == -math.inf
    assert store.update(("finger",), (0.04,), stamp_ns=4 * NS, at=9.0).joints == ("finger",)  # its own clock
    assert store.missing() == [] and store.measured_at() == 9.0
    assert store.vector(("finger", "j3", "j1")).tolist() == [0.04, 0.3, 0.1]
    assert store.vector(ARM, "velocity").tolist() == [1.0, 2.0, 3.0] and math.isnan(store.get("finger").velocity)
    assert store.oldest_stamp_ns(ARM) == 5 * NS
    assert store.stale(9.35, 0.3) == ["finger"] and store.stale(9.35, 0.3, ARM) == []


def test_an_arm_in_two_halves_is_kept_joint_by_joint():
    store = JointStore(ARM)
    store.update(("j1", "wheel"), (0.1, math.nan), stamp_ns=1, at=1.0)
    store.update(("j3", "j2"), (0.3, 0.2), stamp_ns=1, at=2.0)
    assert store.positions() == {"j1": 0.1, "j2": 0.2, "j3": 0.3}
    assert store.measured_at() == 1.0 and store.foreign == ("wheel",)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_refuses_ours_by_name_and_nobody_elses(bad):
    store = JointStore(ARM)
    assert store.update((*ARM, "wheel"), (0.1, 0.2, 0.3, bad), stamp_ns=1, at=1.0).problem is None
    told = store.update(ARM, (0.5, bad, 0.5), stamp_ns=2, at=2.0)
    assert told.problem is JointProblem.NOT_FINITE and told.joints == ("j2",) and "j2" in told.text
    assert store.positions() == {"j1": 0.1, "j2": 0.2, "j3": 0.3} and store.measured_at() == 1.0


@pytest.mark.parametrize(
    "names, positions, problem",
    [
        (ARM, (0.1, 0.2), JointProblem.LENGTHS),
        (ARM, (0.1, 0.2, 0.3, 0.4), JointProblem.LENGTHS),
        (("j1", "j1"), (0.1, 0.2), JointProblem.DUPLICATE),
        (("j1",), (1e300,), JointProblem.OUT_OF_RANGE),
        (("w",) * 100_000, (0.0,) * 100_000, JointProblem.TOO_MANY),
    ],
)
def test_messages_that_make_no_sense_are_refused(names, positions, problem):
    store = JointStore(ARM)
    assert store.update(names, positions, stamp_ns=1, at=1.0).problem is problem
    assert store.positions() == {}


def test_stamps_go_back_by_joint_and_a_clock_that_was_set_back_starts_anew():
    store = JointStore(ARM)
    store.update(ARM, (0.1, 0.2, 0.3), stamp_ns=100 * NS, at=1.0)
    assert store.update(ARM, (0, 0, 0), stamp_ns=99 * NS, at=1.1).problem is JointProblem.STAMP_BACK
    assert store.update(ARM, (0, 0, 0), stamp_ns=99 * NS, at=1.1, clock_ns=100 * NS).problem is JointProblem.STAMP_BACK
    assert store.update(ARM, (0, 0, 0), stamp_ns=50 * NS, at=1.2, clock_ns=50 * NS).problem is None
    assert store.update(ARM, (1, 1, 1), stamp_ns=None, at=1.3).problem is None  # stamps are not judged


def test_joints_that_become_ours_later_keep_what_was_seen_of_them():
    store = JointStore()
    store.update(("j1", "j2", "wheel", "x"), (0.1, 0.2, 9.0, math.nan), stamp_ns=1, at=1.0)
    assert store.positions() == {"j1": 0.1, "j2": 0.2, "wheel": 9.0} and store.measured_at() == 1.0
    store.expect(ARM)
    assert store.positions() == {"j1": 0.1, "j2": 0.2} and store.missing() == ["j3"]
    assert store.update(("wheel",), (1.0,), stamp_ns=2, at=2.0).joints == () and store.get("wheel") is None


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
MESSAGES = st.tuples(
    st.lists(st.sampled_from((*ARM, "wheel", "")), max_size=6),
    st.lists(NUMBERS, max_size=6),
    st.lists(NUMBERS, max_size=6),
    st.one_of(st.none(), st.integers(-(2**63), 2**63)),
)


@given(st.lists(MESSAGES, max_size=20), st.booleans())
def test_whatever_comes_only_finite_positions_are_kept_and_nothing_raises(messages, named):
    store = JointStore(ARM if named else ())
    for k, (names, positions, velocities, stamp) in enumerate(messages):
        before = store.positions()
        told = store.update(names, positions, velocities, stamp_ns=stamp, at=float(k))
        after = store.positions()
        assert all(math.isfinite(value) for value in after.values())
        assert told.problem is None or after == before
        assert not named or set(after) <= set(ARM)
        assert np.isfinite(store.vector(list(after))).all()
