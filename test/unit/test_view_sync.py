# SPDX-License-Identifier: Apache-2.0
"""Images of several cameras put together by their stamps: the newest set of one moment."""

from __future__ import annotations

import pytest

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.control.camera_watch import CameraWatch
from erl_vlm_ros.control.view_sync import ViewSync

MS = 1_000_000
START = 1_000_000 * MS


def sync(tolerance_s: float = 0.02, cameras=("scene", "wrist")) -> ViewSync:
    return ViewSync(cameras, tolerance_s)


def feed(views: ViewSync, *entries: tuple[str, float], now: float | None = None) -> ViewSync:
    """(camera, stamp in ms), received at the time of the stamp unless ``now`` says another."""
    for camera, ms in entries:
        views.add(camera, START + round(ms * MS), f"{camera}{ms:g}", ms / 1e3 if now is None else now)
    return views


class TestSet:
    def test_both_of_one_moment(self):
        found = feed(sync(), ("scene", 0), ("wrist", 5)).found
        assert found.images == {"scene": "scene0", "wrist": "wrist5"}
        assert found.stamp == START and found.spread_s == pytest.approx(0.005) and found.oldest == START

    def test_the_newest_that_agrees(self):
        views = feed(sync(), ("scene", 0), ("wrist", 1), ("scene", 33), ("wrist", 34), ("scene", 66))
        assert views.found.images == {"scene": "scene33", "wrist": "wrist34"}
        feed(views, ("wrist", 60))
        assert views.found.images == {"scene": "scene66", "wrist": "wrist60"}

    def test_an_image_that_comes_late_finds_its_place(self):
        views = feed(sync(), ("scene", 0), ("scene", 33), ("scene", 66), ("wrist", 0))
        assert views.found.images == {"scene": "scene0", "wrist": "wrist0"}
        feed(views, ("wrist", 66), ("wrist", 33), now=0.2)
        assert views.found.images == {"scene": "scene66", "wrist": "wrist66"}

    def test_what_is_older_than_the_set_is_let_go(self):
        views = feed(sync(), *[(c, t) for t in range(0, 990, 33) for c in ("scene", "wrist")])
        assert {len(seen) for seen in views._seen.values()} == {1}

    def test_a_dropped_image_is_passed_over(self):
        views = feed(sync(), *[(c, t) for t in (0, 33, 100) for c in ("scene", "wrist")], ("scene", 66))
        assert views.found.images["scene"] == "scene100"

    def test_rates_that_differ(self):
        views = sync(0.02)
        feed(views, *[("scene", t) for t in range(0, 400, 10)], *[("wrist", t) for t in range(5, 400, 66)])
        assert views.found.spread_s <= 0.02 and views.found.images["wrist"] == "wrist335"

    def test_three_cameras_need_all(self):
        views = feed(sync(cameras=("a", "b", "c")), ("a", 0), ("b", 3), ("a", 33), ("b", 36))
        assert views.found is None and views.unheard == ["c"]
        assert feed(views, ("c", 35)).found.images == {"a": "a33", "b": "b36", "c": "c35"}

    def test_one_camera(self):
        assert feed(sync(cameras=("a",)), ("a", 0), ("a", 33)).found.images == {"a": "a33"}

    def test_an_old_image_once_more_does_not_count_as_received(self):
        views = feed(sync(), ("scene", 0), ("wrist", 0))
        feed(views, ("scene", 0), ("wrist", 0), now=9.0)
        assert views.found.heard_at == 0.0 and views.problem(9.0, 0.3)

    def test_a_clock_that_begins_anew(self):
        views = feed(sync(), ("scene", 5000), ("wrist", 5000))
        feed(views, ("scene", 0), ("wrist", 1))
        assert views.found.images == {"scene": "scene0", "wrist": "wrist1"}


class TestProblem:
    def test_none(self):
        assert feed(sync(), ("scene", 0), ("wrist", 0)).problem(0.1, 0.3) == ""

    def test_a_camera_that_was_never_heard(self):
        assert "wrist" in feed(sync(), ("scene", 0)).problem(0.0, 0.3)

    def test_beyond_tolerance(self):
        views = feed(sync(0.01), ("scene", 0), ("wrist", 16), ("scene", 33), ("wrist", 49))
        assert views.found is None and views.problem(0.05, 0.3)
        assert views.closest_s == pytest.approx(0.016)

    def test_clocks_that_differ(self):
        views = feed(sync(), ("scene", 0), ("scene", 33), ("wrist", 900), ("wrist", 933))
        assert views.found is None and views.closest_s == pytest.approx(0.867, abs=0.04)

    def test_one_falls_silent(self):
        views = feed(sync(), ("scene", 0), ("wrist", 0), *[("scene", t) for t in range(33, 990, 33)])
        assert "wrist" in views.problem(0.99, 0.3)

    def test_they_drift_apart(self):
        both = [pair for t in range(33, 990, 33) for pair in (("scene", t), ("wrist", t + 16))]
        views = feed(sync(0.005), ("scene", 0), ("wrist", 0), *both)
        assert views.found.images["wrist"] == "wrist0" and views.problem(1.0, 0.3)

    def test_from_before_the_reset(self):
        views = feed(sync(), ("scene", 0), ("wrist", 10))
        assert views.problem(0.0, 0.3, START + 5 * MS) and not views.problem(0.0, 0.3, START)


class TestWatch:
    def test_a_camera_without_images_ends_the_start(self):
        watch, views = CameraWatch(("scene", "wrist"), None, 5.0), sync()
        watch.heard("scene", 64, 64)
        watch.check(0.0, views)
        watch.check(4.9, views)
        for pairing in (views, None):
            with pytest.raises(ConfigError) as error:
                watch.check(5.1, pairing)
            assert error.value.parameter == "cameras"

    def test_images_that_never_agree_end_the_start(self):
        watch, views = CameraWatch(("scene", "wrist"), None, 5.0), feed(sync(0.001), ("scene", 0), ("wrist", 9))
        for camera in ("scene", "wrist"):
            watch.heard(camera, 64, 64)
        watch.check(0.0, views)
        with pytest.raises(ConfigError) as error:
            watch.check(5.1, views)
        assert error.value.parameter == "policy_controller.camera_tolerance_s"

    def test_once_they_agreed_it_is_silent(self):
        watch, views = CameraWatch(("scene", "wrist"), None, 5.0), feed(sync(), ("scene", 0), ("wrist", 9))
        watch.check(0.0, views)
        watch.check(100.0, sync())

    def test_sizes(self):
        watch = CameraWatch(("scene", "wrist"), [64, 48, 0, 0], 5.0)
        watch.heard("scene", 64, 48)
        watch.heard("wrist", 1, 1)
        with pytest.raises(ConfigError) as error:
            watch.heard("scene", 48, 64)
        assert error.value.parameter == "cameras"
        with pytest.raises(ConfigError):
            CameraWatch(("scene", "wrist"), [64, 48], 5.0)

    def test_figures(self):
        watch = CameraWatch(("scene", "wrist"), None, 5.0)
        assert watch.figures() == {}
        watch.used([0, 10 * MS])
        watch.used([20 * MS, 0])
        assert watch.figures() == {"camera_spread_s": pytest.approx(0.015), "camera_spread_max_s": pytest.approx(0.02)}
        assert watch.figures() == {}
