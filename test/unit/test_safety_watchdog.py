# SPDX-License-Identifier: Apache-2.0
"""The watchdog: disarmed start, latched e-stop, silence."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from erl_vlm_ros.safety.faults import Halt, Unready
from erl_vlm_ros.safety.watchdog import ARMED, DISARMED, ESTOPPED, Watchdog

LIMITS = {"policy command": 0.15, "joint_states": 0.3}


def stopped_by(verdict):
    return verdict.halt, verdict.source


def test_starts_disarmed_and_needs_every_source():
    dog = Watchdog(LIMITS)
    assert dog.verdict(0.0).halt is Halt.DISARMED
    assert dog.arm(True) is None and dog.state == ARMED
    assert stopped_by(dog.verdict(0.0)) == (Halt.SILENT, "policy command")
    dog.saw("policy command", 0.0)
    dog.saw("joint_states", 0.0)
    assert dog.verdict(0.1).moving
    assert stopped_by(dog.verdict(0.2)) == (Halt.SILENT, "policy command")
    dog.saw("policy command", 0.35)
    assert stopped_by(dog.verdict(0.35)) == (Halt.SILENT, "joint_states")
    dog.saw("joint_states", 0.36)
    assert dog.verdict(0.4).moving  # silence does not latch
    assert dog.arm(False) is None and dog.state == DISARMED
    assert not dog.verdict(0.4).moving


def test_estop_keeps_its_first_reason_and_needs_two_calls_to_move_again():
    dog = Watchdog({})
    dog.arm(True)
    assert dog.verdict(0.0).moving
    dog.estop("button")
    dog.estop("other")
    assert dog.verdict(0.0).halt is Halt.LATCHED and dog.estop_reason == "button"
    assert dog.arm(True).why is Unready.LATCHED
    assert dog.clear_estop()
    assert dog.verdict(0.0).halt is Halt.DISARMED
    assert not dog.clear_estop()
    dog.arm(True)
    assert dog.verdict(0.0).moving


def test_an_unknown_source_is_a_mistake():
    with pytest.raises(KeyError):
        Watchdog(LIMITS).saw("camera", 0.0)


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of calls: it moves only when armed last, not stopped, and nothing is silent."""

    def __init__(self):
        super().__init__()
        self.dog = Watchdog(LIMITS)
        self.now = 0.0
        self.allowed = self.latched = False
        self.seen = {}

    @rule(on=st.booleans())
    def arm(self, on):
        self.dog.arm(on)
        self.allowed = on and not self.latched

    @rule()
    def estop(self):
        self.dog.estop("test")
        self.latched, self.allowed = True, False

    @rule()
    def clear(self):
        self.dog.clear_estop()
        if self.latched:
            self.latched = self.allowed = False

    @rule(source=st.sampled_from(sorted(LIMITS)))
    def message(self, source):
        self.dog.saw(source, self.now)
        self.seen[source] = self.now

    @rule(seconds=st.floats(0.0, 0.5))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def moves_only_when_all_is_well(self):
        verdict = self.dog.verdict(self.now)
        heard = all(s in self.seen and self.now - self.seen[s] <= limit for s, limit in LIMITS.items())
        assert verdict.moving == (self.allowed and heard)
        assert bool(verdict.reason) != verdict.moving and (verdict.halt is None) == verdict.moving
        assert (self.dog.state == ESTOPPED) == self.latched


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40)
