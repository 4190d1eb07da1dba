# SPDX-License-Identifier: Apache-2.0
"""Stalls, unplugging and recordings: what the supervisor does with a source, on a clock of its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.camera.frame import NS, EndOfRecording, Frame, SourceError
from erl_vlm_ros.camera.gate import Gate
from erl_vlm_ros.camera.health import Health
from erl_vlm_ros.camera.supervisor import Patience, Supervisor
from erl_vlm_ros.common.errors import Code, ConfigError, wrong_parameter

START = 1_800_000_000 * NS
FRAME, SILENCE, BROKEN, OVER, OLD = "frame", "silence", "broken", "over", "old"
UNPLUGGED = SourceError("cam was unplugged")


class World:
    """A clock that only moves while a thread waits, and a source that does what a script says.

    ``lives``: one entry an opening: an exception, or the list of what its reads give. The last life's end stops all.
    """

    intrinsics = depth_intrinsics = None
    size, fps, hardware = (4, 4), 30.0, "cam"

    def __init__(self, lives, **patience):
        self.now, self.waits, self.closed, self.given, self.lives = 100.0, [], 0, [], list(lives)
        self.stop = threading.Event()
        self.health = Health(patience.get("stall_s", 1.0), lambda: self.now)
        self.states = []
        self.supervisor = Supervisor(
            self, Patience(**patience), Gate(1.0), self.health, now_ns=self.now_ns, clock=lambda: self.now
        )

    def now_ns(self):
        return START + round(self.now * NS)

    # what Supervisor needs of threading.Event
    def is_set(self):
        return self.stop.is_set()

    def wait(self, seconds):
        self.states.append(self.health.verdict())
        self.waits.append(seconds)
        self.now += seconds
        return self.stop.is_set()

    # the source
    def open(self):
        if not self.lives:
            self.stop.set()
            raise SourceError("the script is over")
        life = self.lives.pop(0)
        if isinstance(life, Exception):
            raise life
        self.script = list(life)

    def read(self, timeout_s):
        what = self.script.pop(0) if self.script else SILENCE
        if what == BROKEN:
            raise UNPLUGGED
        if what == OVER:
            raise EndOfRecording
        self.now += timeout_s if what == SILENCE else 1 / 30
        if what == SILENCE:
            return None
        age = 2.0 if what == OLD else 0.01
        return Frame(np.zeros((4, 4, 3), np.uint8), self.now_ns() - round(age * NS))

    def close(self):
        self.closed += 1

    def run(self):
        self.supervisor.run(self.given.append, self)
        return self


def test_a_stall_is_noticed_and_the_source_opened_again():
    world = World([[FRAME] * 5, [FRAME] * 3], stall_s=1.0, backoff_s=0.5).run()
    assert len(world.given) == 8 and world.closed >= 2
    assert world.states[0] == ("stale", "no new frame from cam for 1 s")
    assert world.health.values()["reopened"] == 1
    stamps = [f.stamp_ns for f in world.given]
    assert stamps == sorted(set(stamps))


def test_pauses_grow_and_shrink_back_after_success():
    lives = [[FRAME], UNPLUGGED, UNPLUGGED, UNPLUGGED, [FRAME, FRAME], UNPLUGGED]
    world = World(lives, backoff_s=0.5, backoff_max_s=1.5).run()
    assert world.waits[:6] == [0.5, 1.0, 1.5, 1.5, 0.5, 1.0]


def test_it_does_not_try_for_ever():
    world = World([[FRAME]] + [UNPLUGGED] * 50, attempts=7)
    with refused(SourceError, code=Code.UNREACHABLE, attempts=8, shows="cam was unplugged"):
        world.run()
    assert len(world.waits) == 7


def test_a_source_that_opens_but_gives_nothing_counts_as_a_failure():
    with refused(SourceError, code=Code.UNREACHABLE, attempts=4):
        World([[FRAME]] + [[]] * 50, attempts=3).run()


def test_a_camera_that_never_comes_ends_the_start():
    world = World([SourceError("no RealSense is connected")] * 99, start_timeout_s=10.0, attempts=90, backoff_max_s=1.0)
    with refused(SourceError, code=Code.UNREACHABLE, attempts=12, shows="no RealSense is connected"):
        world.run()
    assert 10 <= world.now - 100 <= 12


def test_wrong_configuration_is_told_at_once_but_not_after_a_success():
    with refused(ConfigError, parameter="camera.profile"):
        World([wrong_parameter("camera", "profile", "...")]).run()
    world = World([[FRAME, BROKEN], ConfigError("slower port"), [FRAME]]).run()
    assert len(world.given) == 2 and world.states[1] == ("stale", "slower port")


def test_dark_first_frames_are_thrown_away_after_each_opening():
    world = World([[FRAME] * 5 + [BROKEN], [FRAME] * 4], warmup_frames=3).run()
    assert len(world.given) == 3
    assert world.health.values()["dropped"] == 0


def test_old_frames_are_refused_and_do_not_count_as_life():
    world = World([[FRAME] + [OLD] * 40, [FRAME]], stall_s=1.0).run()
    assert len(world.given) == 2 and world.health.values()["refused_out_of_order"] >= 29
    assert world.health.values()["reopened"] == 1


def test_a_recording_ends_or_begins_anew():
    world = World([[FRAME] * 3 + [OVER]]).run()
    assert len(world.given) == 3 and world.health.verdict() == ("stale", "the recording is over")
    assert world.closed == 1
    world = World([[FRAME] * 3 + [OVER], [FRAME] * 3 + [BROKEN]], loop=True).run()
    assert len(world.given) == 6 and world.health.values()["reopened"] == 0


def test_an_error_of_ours_still_closes_the_source():
    world = World([[FRAME] * 3])
    with pytest.raises(ZeroDivisionError):
        world.supervisor.run(lambda frame: 1 / 0, world)
    assert world.closed == 1


def test_health_tells_rate_losses_and_age():
    now = [0.0]
    health = Health(1.0, lambda: now[0])
    assert health.verdict() == ("stale", "opening")
    health.opened(30.0)
    assert health.verdict()[0] == "stale"
    for _ in range(90):
        now[0] += 1 / 30
        health.passed(0.004, 0)
    assert health.verdict() == ("ok", "30.0 Hz")
    health.passed(0.004, 2)
    assert health.verdict()[0] == "warn" and "2 frames dropped" in health.verdict()[1]
    values = health.values()
    assert values["dropped"] == 2 and values["frames"] == 91 and values["latency_p50_ms"] == pytest.approx(4)
    now[0] += 2.0
    assert health.verdict() == ("stale", "no frame for 2.0 s") and health.values()["age_s"] == 2.0
    for _ in range(300):
        now[0] += 1 / 15
        health.passed(0.004, 0)
    assert health.verdict() == ("warn", "15.0 Hz instead of 30 Hz")
