# SPDX-License-Identifier: Apache-2.0
"""RealSenseSource on librealsense itself: a software device, and recordings of one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 and libusb-1.0-0", exc_type=ImportError)

import pyrealsense2 as rs
from refusals import refused

from erl_vlm_ros.camera.frame import EndOfRecording, Profile, SourceError
from erl_vlm_ros.camera.realsense import RealSenseConfig, RealSenseSource
from erl_vlm_ros.camera.software import SoftwareCamera
from erl_vlm_ros.common.errors import Code, ConfigError

# 15 frames at 30 Hz, colour 10, 20, ... and depth 100, 200, ... mm, 64x48; recorded from a SoftwareCamera by
# librealsense 2.55, because newer ones write .db3 only.
BAG = Path(__file__).resolve().parents[1] / "data" / "realsense.bag"
W, H = 64, 48
BAG_TIMES = {10 * n: n / 30 for n in range(1, 16)}
SMALL = Profile(W, H, 30)
PERIOD = 1 / 30


def grey(value):
    return np.full((H, W, 3), value, np.uint8)


def opened(camera, **config):
    source = RealSenseSource(RealSenseConfig(profile=SMALL, **config), lambda: camera.device)
    source.open()
    return source


def next_frame(source, patience=5.0):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        frame = source.read(0.1)
        if frame is not None:
            return frame
    pytest.fail("no frame")


def test_colour_frames_with_their_own_time_and_losses():
    camera = SoftwareCamera(W, H)
    source = opened(camera)
    assert (source.size, source.fps, source.hardware) == ((W, H), 30.0, "Software camera 0001")
    assert source.intrinsics.model == "plumb_bob" and source.intrinsics.fx == pytest.approx(0.95 * W)
    assert source.intrinsics.coefficients == pytest.approx((0.1, -0.05, 0.001, 0.002, 0.0))
    for i in range(3):
        stamp = camera.feed(grey(40 * i))
        frame = next_frame(source)
        assert abs(frame.stamp_ns - stamp) < 1000 and frame.missed == 0 and frame.depth is None
        assert frame.rgb.shape == (H, W, 3) and frame.rgb[5, 5].tolist() == [40 * i] * 3
    first = frame.rgb
    camera.feed(grey(200), skip=4)
    assert next_frame(source).missed == 4 and first[0, 0, 0] == 80  # the older image is not overwritten
    assert source.read(0.05) is None
    source.close()


def test_a_reader_that_was_away_does_not_get_a_queue_of_old_frames():
    camera = SoftwareCamera(W, H)
    source = opened(camera)
    for i in range(60):
        camera.feed(grey(i))
    frames = []
    while (frame := source.read(0.05)) is not None:
        frames.append(frame)
    assert 1 <= len(frames) <= 20 and frames[-1].rgb[0, 0, 0] == 59
    stamps = [f.stamp_ns for f in frames]
    assert stamps == sorted(set(stamps))
    source.close()


@pytest.mark.slow
def test_stamps_of_the_cameras_own_clock_are_mapped():
    camera = SoftwareCamera(W, H, hardware_clock=True)
    source = opened(camera)
    late = []
    for i in range(50):
        stamp = camera.feed(grey(i))
        late.append(next_frame(source).stamp_ns - stamp)
        time.sleep(PERIOD)
    assert min(late) > -1e6 and np.median(late[-15:]) < 0.02e9  # a busy machine may delay a few
    source.close()


@pytest.mark.parametrize("depth, units, factor", [("raw", 0.001, 1), ("aligned", 0.001, 1), ("raw", 0.0001, 0.1)])
def test_depth_in_millimetres(depth, units, factor):
    camera = SoftwareCamera(W, H, depth_m=units)
    source = opened(camera, depth=depth)
    assert source.depth_intrinsics.width == W
    found, stop = [], threading.Event()

    def lens():  # at an even pace: librealsense's syncer gives up on a stream that is late
        while not stop.wait(PERIOD):
            i = camera.number % 200
            camera.feed(grey(i), np.full((H, W), 1000 + 10 * i, np.uint16))

    thread = threading.Thread(target=lens)
    thread.start()
    deadline = time.monotonic() + 30
    while len(found) < 3 and time.monotonic() < deadline:
        frame = source.read(0.1)
        found += [frame] if frame else []
    stop.set()
    thread.join()
    assert len(found) == 3
    for frame in found:
        expected = round((1000 + 10 * int(frame.rgb[0, 0, 0])) * factor)
        assert frame.depth.dtype == np.uint16 and frame.depth.shape == (H, W)
        assert np.median(frame.depth) == pytest.approx(expected, abs=1)
    source.close()


def test_exposure_is_set_within_the_cameras_range():
    camera = SoftwareCamera(W, H)
    camera.allow("exposure", 1, 10000, 156)
    camera.allow("enable_auto_exposure", 0, 1, 1)
    opened(camera, exposure=300.0).close()
    assert camera.option("exposure") == 300 and camera.option("enable_auto_exposure") == 0
    opened(camera).close()
    assert camera.option("enable_auto_exposure") == 1
    with refused(ConfigError, parameter="camera.realsense.exposure", shows="10000"):
        opened(camera, exposure=20000.0)
    camera.allow("white_balance", 2800, 6500, 4600, step=10)
    with refused(ConfigError, parameter="camera.realsense.white_balance", shows=("2800", "6500")):
        opened(camera, white_balance=3001.0)
    with refused(ConfigError, parameter="camera.realsense.gain", code=Code.DOES_NOT_FIT):
        opened(camera, gain=20.0)


def test_what_the_camera_lacks_is_refused_by_name():
    camera = SoftwareCamera(W, H)

    def make(**config):
        return RealSenseSource(RealSenseConfig(**config), lambda: camera.device)

    with refused(ConfigError, parameter="camera.profile", code=Code.DOES_NOT_FIT, shows=("1280x720x30", "64x48x30")):
        make(profile=Profile(1280, 720, 30)).open()
    with refused(ConfigError, parameter="camera.profile", code=Code.DOES_NOT_FIT, shows="depth"):
        make(profile=SMALL, depth="aligned").open()
    with refused(ConfigError, parameter="camera.realsense.depth_profile", code=Code.DOES_NOT_FIT):
        make(profile=SMALL, depth="raw", depth_profile=Profile(32, 24, 30)).open()


def test_absent_cameras_and_bad_recordings(tmp_path):
    with refused(SourceError, parameter="camera.realsense.serial", code=Code.UNREACHABLE, shows="4711"):
        RealSenseSource(RealSenseConfig(serial="4711")).open()
    with refused(SourceError, parameter="", code=Code.UNREACHABLE):
        RealSenseSource(RealSenseConfig()).open()
    (tmp_path / "bad.bag").write_text("not a recording")
    for name, code in (("none.bag", Code.MISSING_FILE), ("bad.bag", Code.UNREADABLE)):
        path = tmp_path / name
        with refused(ConfigError, parameter="camera.realsense.file", code=code, file=path):
            RealSenseSource(RealSenseConfig(file=str(path))).open()


def play(path, **config):
    """All frames of a recording, with the time when each was given."""
    source = RealSenseSource(RealSenseConfig(profile=SMALL, file=str(path), **config))
    source.open()
    out, deadline = [], time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            frame = source.read(0.2)
            out += [(frame, time.time_ns())] if frame is not None else []
    except EndOfRecording:
        return source, out
    finally:
        source.close()
    pytest.fail("the recording does not end")


def check_played(frames, recorded, missing):
    """Frames in order and at the recorded pace, with stamps of now; at most ``missing`` of them lost.

    ``recorded``: grey value -> time in s at which it was recorded.
    """
    values = list(recorded)
    seen = [int(f.rgb[0, 0, 0]) for f, _ in frames]
    assert seen == sorted(set(seen)) and set(seen) <= set(values) and len(seen) >= len(values) - missing
    stamps = np.array([f.stamp_ns for f, _ in frames])
    wrong = np.diff(stamps) / 1e9 - np.diff([recorded[v] for v in seen])
    assert np.median(np.abs(wrong)) < 0.008  # while the least delay is being learned, single steps are longer
    for frame, at in frames:
        assert -1e6 < at - frame.stamp_ns < 1e9


@pytest.mark.slow
def test_a_bag_of_another_librealsense_is_played():
    source, frames = play(BAG)
    assert source.size == (W, H) and source.intrinsics.fx == pytest.approx(0.95 * W)
    check_played(frames, BAG_TIMES, missing=8)
    _, frames = play(BAG, depth="aligned")
    check_played(frames, BAG_TIMES, missing=8)
    assert all(np.median(f.depth) == 10 * int(f.rgb[0, 0, 0]) for f, _ in frames)


def test_a_recording_made_here_is_played(tmp_path):
    camera = SoftwareCamera(W, H)
    path = tmp_path / "recording.db3"
    try:
        recorder = rs.recorder(str(path), camera.device)
    except RuntimeError:  # before 2.57
        path = tmp_path / "recording.bag"
        recorder = rs.recorder(str(path), camera.device)
    recorders = [recorder]
    source = RealSenseSource(RealSenseConfig(profile=SMALL), recorders.pop)
    source.open()
    due, recorded = time.monotonic(), {}
    for i in range(12):
        recorded[20 * i] = camera.feed(grey(20 * i)) * 1e-9
        next_frame(source)
        due += PERIOD
        time.sleep(max(0.0, due - time.monotonic()))
    source.close()
    del recorder, source
    _, frames = play(path)
    check_played(frames, recorded, missing=8)
