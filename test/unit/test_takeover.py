# SPDX-License-Identifier: Apache-2.0
"""When the watchdog sends and when it is silent, in any order of events; the line between the two processes."""

from __future__ import annotations

import math
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.local import OnlyOne, local_folder, local_name
from erl_vlm_ros.robot.drivers import watchdog_use
from erl_vlm_ros.safety.lifeline import BEAT, REFUSED, STATE, GuardEnd, Line, Listener, readable
from erl_vlm_ros.safety.takeover import DIED, LEFT_BEHIND, SILENT, Takeover


def test_a_guard_that_beats_is_left_alone_and_one_that_hangs_is_not():
    dog = Takeover(0.1)
    for tick in range(50):
        now = 0.02 * tick
        dog.beat(0, True, now)
        dog.check(now + 0.019)
        assert not dog.sending and dog.wait_s(now + 0.019) == pytest.approx(0.081)
    dog.check(now + 0.1)
    assert dog.sending and dog.reason == SILENT and dog.number == 1


def test_death_is_noticed_at_once_and_a_leave_is_none():
    dog = Takeover(0.1)
    dog.beat(0, True, 0.0)
    dog.lost()
    assert dog.sending and dog.reason == DIED
    gone = Takeover(0.1)
    gone.beat(0, True, 0.0)
    gone.left()
    gone.lost()
    gone.check(10.0)
    assert not gone.sending


def test_a_guard_that_sends_nothing_may_be_silent_or_die():
    """Disarmed, it leaves the arm to whoever moves it by hand; zeros from the watchdog would be in the way."""
    dog = Takeover(0.1)
    dog.beat(0, False, 0.0)
    dog.check(5.0)
    dog.lost()
    assert not dog.sending and dog.wait_s(5.0) == math.inf


def test_it_hands_back_only_to_a_guard_that_knows_of_the_takeover():
    dog = Takeover(0.1)
    dog.beat(0, True, 0.0)
    dog.check(0.2)
    dog.beat(0, True, 0.21)  # was still under way when the guard was stopped
    assert dog.sending
    dog.beat(1, True, 0.22)
    assert not dog.sending
    dog.check(0.4)
    assert dog.sending and dog.number == 2


def test_what_two_dead_processes_left_is_ended_by_the_next_guard():
    dog = Takeover(0.1)
    dog.left_behind()
    assert dog.sending and dog.reason == LEFT_BEHIND
    dog.beat(1, True, 3.0)
    assert not dog.sending


events = st.sampled_from(["beat", "hang", "die", "leave", "wait"])


@given(st.lists(events, max_size=40), st.floats(0.02, 1.0))
def test_never_silent_over_a_dead_guard_that_moved_the_arm_never_sending_beside_a_live_one(order, silence):
    dog, now, commanded = Takeover(silence), 0.0, False
    for event in order:
        now += 0.01
        if event == "beat":  # a tick of a guard that has read the watchdog's state before
            dog.beat(dog.number, True, now)
            commanded = True
            assert not dog.sending
        elif event == "leave":
            dog.left()
            commanded = False
        elif event == "die":
            dog.lost()
        elif event == "hang":
            now += silence
        dog.check(now)
        dead_or_hung = event in ("die", "hang")
        assert dog.sending or not (commanded and dead_or_hung)
        if not commanded:
            assert not dog.sending


# -- the line


@pytest.fixture
def listener(tmp_path):
    out = Listener(tmp_path / "s")
    yield out
    out.close()


def connected(listener, **hello):
    guard = GuardEnd(listener.path, hello or {"joints": 6}, 0.5)
    guard.read(0.0)
    assert readable([listener], 1.0) == [listener]
    return guard, listener.accept()


def test_guard_and_watchdog_talk(listener):
    guard, line = connected(listener, adapter="joint_velocity", joints=6)
    (hello,) = line.read()
    assert hello["joints"] == 6 and hello["adapter"] == "joint_velocity" and hello["pid"]
    guard.beat(True)
    assert line.read() == [] and guard.problem(0.0)  # it knows nothing of the watchdog yet
    line.send(STATE, number=3, sending=True, why="x", matched=1)
    assert guard.read(0.1) == "" and guard.problem(0.1) == ""  # a takeover from before this guard was there
    guard.beat(True)
    assert line.read() == [{"kind": BEAT, "number": 3, "sends": True}]
    line.send(STATE, number=4, sending=True, why="silent", matched=1)
    assert guard.read(0.2) == "silent" and guard.read(0.2) == ""
    assert guard.problem(0.6) == "" and guard.problem(0.9)  # then the watchdog hangs
    guard.leave()
    assert [m["kind"] for m in line.read()] == ["bye"] and not line.open


def test_the_death_of_the_watchdog_is_seen_at_once_and_a_new_one_is_found(listener):
    guard, line = connected(listener)
    line.send(STATE, number=0, matched=2)
    guard.read(0.0)
    assert not guard.problem(0.0) and guard.matched == 2
    line.close()
    guard.read(0.01)
    assert guard.problem(0.01)
    guard.read(0.3)
    assert listener.accept() is not None


def test_a_refusal_is_said(listener):
    guard, line = connected(listener)
    line.send(REFUSED, why="another adapter")
    line.close()
    guard.read(0.1)
    assert guard.problem(0.1) == "another adapter"


def test_a_driver_that_the_watchdog_does_not_reach_is_a_problem(listener):
    guard, line = connected(listener)
    line.send(STATE, number=0, matched=0)
    guard.read(0.0)
    assert guard.problem(0.0)


@pytest.mark.parametrize("data", [b"{", b"[]", b'"x"', b"{}", b'{"kind": 3}', b"\xff\xfe", b"x" * 5000])
def test_nonsense_ends_the_connection_and_nothing_else(data):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = Line(ours)
    theirs.send(data)
    assert line.read() == [] and not line.open
    line.send(BEAT)


def test_a_side_that_does_not_read_blocks_nobody(listener):
    guard, line = connected(listener)
    line.send(STATE, number=0, matched=1)
    guard.read(0.0)
    for _ in range(20_000):
        guard.beat(True)
    assert len(line.read()) > 1


def test_a_lock_is_held_by_one(tmp_path):
    first = OnlyOne(tmp_path / "lock")
    with refused(BlockingIOError, shows=str(os.getpid())):
        OnlyOne(tmp_path / "lock")
    first.close()
    OnlyOne(tmp_path / "lock").close()


def test_the_local_folder_belongs_to_us_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = local_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert local_name("watchdog", 7, "/cell/safety_guard").parent == folder
    folder.chmod(0o777)
    with pytest.raises(ConfigError):
        local_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ConfigError):
        local_folder()


@pytest.mark.parametrize(
    "wanted, adapter, lock_step, use",
    [
        ("auto", "joint_velocity", False, "required"),
        ("auto", "servo_twist", False, "off"),
        ("auto", "joint_position", False, "off"),
        ("required", "servo_twist", False, "required"),
        ("off", "joint_velocity", False, "off"),
        ("auto", "joint_velocity", True, "off"),
        ("required", "joint_position", False, None),
        ("optional", "servo_twist", True, None),
    ],
)
def test_where_a_watchdog_is_used(wanted, adapter, lock_step, use):
    if use is None:
        with pytest.raises(ConfigError):
            watchdog_use(wanted, adapter, lock_step)
    else:
        assert watchdog_use(wanted, adapter, lock_step) == use
