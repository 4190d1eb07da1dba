# SPDX-License-Identifier: Apache-2.0
"""When an image was taken, and which images are new."""

from __future__ import annotations

import numpy as np
import pytest

from erl_vlm_ros.camera.clock import Backlog, ClockMapper
from erl_vlm_ros.camera.frame import NS, Frame
from erl_vlm_ros.camera.gate import Gate
from erl_vlm_ros.camera.opencv import driver_time

MS = 1_000_000
START = 1_800_000_000 * NS  # some system time


def arrivals(seed, count, delay_ms=8.0, rate=30, drift=0.0):
    """(device time, arrival) pairs: even device times, arrivals late by a varying delay."""
    rng = np.random.default_rng(seed)
    device = np.arange(count) * NS / rate
    late = (delay_ms + rng.exponential(4.0, count)) * MS
    return [(round(d), START + round(d * (1 + drift) + e)) for d, e in zip(device, late)]


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
def test_jitter_is_taken_out_and_drift_followed(drift):
    mapper = ClockMapper()
    pairs = arrivals(1, 1500, drift=drift)
    stamps = [mapper.map(*pair) for pair in pairs]
    truth = [START + d * (1 + drift) for d, _ in pairs]
    late = (np.array(stamps) - truth)[60:] / MS
    raw = (np.array([a for _, a in pairs]) - truth)[60:] / MS
    # What remains is the smallest delay, and the drift of ten seconds.
    assert np.all(np.abs(late - 8.0) < 1.5) and raw.max() > 20
    assert np.all(np.diff(stamps[60:]) > 0)


def test_a_frame_that_was_held_up_gets_its_true_time():
    mapper = ClockMapper()
    for device, arrival in arrivals(2, 90):
        stamp = mapper.map(device, arrival)
    held = mapper.map(device + NS // 30, arrival + 700 * MS)
    assert held - stamp == pytest.approx(NS // 30, abs=3 * MS)


@pytest.mark.parametrize("speed", [25 / 30, 25 / 10, 0.0])
def test_invented_times_are_not_believed(speed):
    """MJPEG over HTTP: the decoder counts frames at 25 Hz, whatever their real rate."""
    mapper = ClockMapper()
    for device, arrival in arrivals(3, 600):
        stamp = mapper.map(round(device * speed), arrival)
        assert arrival - stamp < 25 * MS


def test_a_clock_that_was_set_anew_is_learned_anew():
    mapper = ClockMapper()
    pairs = arrivals(4, 120)
    for device, arrival in pairs:
        mapper.map(device, arrival)
    for jump in (-3 * NS, 3600 * NS):
        for device, arrival in pairs:
            arrival += 60 * NS
            assert abs(mapper.map(device + jump, arrival) - arrival) < 40 * MS


def test_recordings_keep_their_spacing_from_the_first_frame_on():
    mapper = ClockMapper(sure=True)
    first = mapper.map(100 * NS, START)
    assert first == START and mapper.map(100 * NS + 33 * MS, START + 50 * MS) == START + 33 * MS


def test_frames_held_up_by_a_network_are_not_live():
    backlog, now = Backlog(), START
    for _ in range(20):
        now += 33 * MS
        assert not backlog.is_old(now)
    now += 600 * MS  # the network stops, then gives what it held
    burst = [backlog.is_old(now + i * MS) for i in range(18)]
    assert all(burst)
    assert not backlog.is_old(now + 17 * MS + 30 * MS)  # this one had to be waited for


def test_a_queue_at_the_opening_does_not_spoil_the_judgement():
    backlog, now = Backlog(), START
    for _ in range(20):
        assert not backlog.is_old(now := now + MS // 10)
    assert not any(backlog.is_old(now := now + 100 * MS) for _ in range(20))


def test_a_camera_that_becomes_slower_is_live_again():
    backlog, now = Backlog(), START
    for _ in range(20):
        backlog.is_old(now := now + 33 * MS)
    old = [backlog.is_old(now := now + 200 * MS) for _ in range(60)]
    assert old[0] and not any(old[-20:])


def frame(stamp, value=0):
    return Frame(np.full((4, 4, 3), value, np.uint8), stamp)


def test_gate_lets_only_new_frames_pass():
    gate = Gate(max_age_s=0.5)
    assert gate.refuse(frame(START), START + 10 * MS) == ""
    assert gate.refuse(frame(START), START + 20 * MS) == "repeated"
    assert gate.refuse(frame(START - 1), START + 20 * MS) == "out of order"
    assert gate.refuse(frame(START + 33 * MS), START + 600 * MS) == "too old"
    assert gate.refuse(frame(START + NS), START + 600 * MS) == "from the future"
    assert gate.refuse(frame(START + 66 * MS), START + 100 * MS) == ""


def test_gate_goes_on_when_the_clock_is_set_back():
    gate = Gate(max_age_s=0.5)
    assert gate.refuse(frame(START + 60 * NS), START + 60 * NS) == ""
    assert gate.refuse(frame(START), START + MS) == "" and gate.refuse(frame(START), START + MS) == "repeated"


def test_gate_notices_a_frozen_image():
    gate = Gate(max_age_s=0.5, frozen_s=0.1)
    said = [gate.refuse(frame(START + i * 33 * MS, 7), START + i * 33 * MS) for i in range(6)]
    assert said == ["", "", "", "", "frozen image", "frozen image"]
    assert gate.refuse(frame(START + 6 * 33 * MS, 8), START + 6 * 33 * MS) == ""


def test_driver_times_are_used_only_if_they_are_such():
    steady = 5000 * NS
    assert driver_time(steady / MS - 20, steady, START) == START - 20 * MS
    for nonsense in (0.0, -1.0, steady / MS + 5, 1.8e12):
        assert driver_time(nonsense, steady, START) == START
