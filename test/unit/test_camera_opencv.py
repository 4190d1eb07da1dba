# SPDX-License-Identifier: Apache-2.0
"""OpenCV's sources with real files and a real HTTP server."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.camera import opencv
from erl_vlm_ros.camera.frame import EndOfRecording, Profile, SourceError
from erl_vlm_ros.camera.opencv import OpenCvSource, VideoFile, to_rgb, without_password
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.images import encode_jpeg

WIDTH, HEIGHT = 160, 120
START = 1_800_000_000 * 10**9


def coloured(red):
    return np.full((HEIGHT, WIDTH, 3), (red, 60, 30), np.uint8)


def write_video(path, count=15):
    """Frames at 30 Hz, each redder than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (WIDTH, HEIGHT))
    for i in range(count):
        writer.write(coloured(15 * i % 250)[:, :, ::-1])
    writer.release()
    return str(path)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.avi")


def read_all(source):
    frames = []
    while True:
        try:
            frame = source.read(0.5)
        except EndOfRecording:
            return frames
        if frame is not None:
            frames.append((frame, time.time_ns()))


def test_video_file_is_played_at_its_own_speed(video):
    source = VideoFile(video, Profile(WIDTH, HEIGHT, 30))
    source.open()
    assert (source.size, source.fps) == ((WIDTH, HEIGHT), 30.0)
    frames = read_all(source)
    missed = sum(f.missed for f, _ in frames)
    assert len(frames) + missed == 15
    spacing = np.diff([f.stamp_ns for f, _ in frames]) / [1 + f.missed for f, _ in frames[1:]]
    assert spacing == pytest.approx(1e9 / 30, rel=0.01)
    for frame, at in frames:
        assert frame.stamp_ns <= at
        index = round((frame.stamp_ns - frames[0][0].stamp_ns) * 30e-9)
        assert frame.rgb[60, 80] == pytest.approx([15 * index, 60, 30], abs=8)  # red first
    source.close()
    with pytest.raises(EndOfRecording):
        source.read(0.1)


def test_a_slow_reader_gets_the_newest_frame_and_the_count_of_those_it_missed(tmp_path):
    source = VideoFile(write_video(tmp_path / "long.avi", 150), Profile())
    source.open()
    source.read(0.5)
    time.sleep(0.2)
    asked = time.time_ns()
    frame = source.read(0.5)
    assert frame.missed >= 4 and frame.stamp_ns > asked - 1.1e9 / 30
    source.close()


def test_bad_files_are_refused_by_name(video, tmp_path):
    (tmp_path / "text.avi").write_text("no video")
    for path, profile, told in (
        (str(tmp_path / "none.avi"), Profile(), {"parameter": "camera.opencv.source", "code": Code.MISSING_FILE}),
        (str(tmp_path / "text.avi"), Profile(), {"parameter": "camera.opencv.source", "code": Code.UNREADABLE}),
        (video, Profile(640, 480, 30), {"parameter": "camera.profile", "shows": ("640x480", "160x120")}),
    ):
        with refused(ConfigError, **told):
            VideoFile(path, profile).open()


class Camera(http.server.ThreadingHTTPServer):
    """A network camera that sends MJPEG; ``pause`` holds frames up, ``hang_up`` ends the connections."""

    def __init__(self, rate):
        super().__init__(("127.0.0.1", 0), Stream)
        self.rate, self.frames, self.live, self.ended = rate, 0, threading.Event(), False
        self.live.set()
        self.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server_port}/video"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Stream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
        self.end_headers()
        camera, due = self.server, time.monotonic()
        try:
            while not camera.ended:
                held = not camera.live.is_set()
                burst = [self.part() for _ in range(15 if held else 1)]
                camera.live.wait(30)
                due = max(due + 1 / camera.rate, time.monotonic() if held else 0.0)
                time.sleep(max(0.0, due - time.monotonic()))
                self.wfile.write(b"".join(burst))
        except OSError:
            pass  # the reader has gone

    def part(self):
        self.server.frames += 1
        jpeg = encode_jpeg(coloured(self.server.frames % 250))
        head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return head.encode() + jpeg + b"\r\n"

    def log_message(self, *_):
        pass


@pytest.fixture
def camera():
    out = Camera(rate=25)
    yield out
    out.ended = True
    out.live.set()
    out.shutdown()
    out.server_close()


def read(source, count):
    """``count`` frames, and how many reads gave none."""
    frames, none = [], 0
    deadline = time.monotonic() + 30
    while len(frames) < count and time.monotonic() < deadline:
        frame = source.read(0.2)
        none += frame is None
        frames += [frame] if frame is not None else []
    return frames, none


@pytest.mark.slow
def test_http_stream_gives_new_frames_with_rising_stamps(camera):
    source = OpenCvSource(camera.url, Profile(WIDTH, HEIGHT), 1.0)
    source.open()
    assert source.size == (WIDTH, HEIGHT)
    frames, _ = read(source, 40)
    stamps = [f.stamp_ns for f in frames]
    assert stamps == sorted(set(stamps)) and 0 <= time.time_ns() - stamps[-1] < 0.2e9
    reds = [int(f.rgb[60, 80, 0]) for f in frames]
    assert reds == sorted(reds) and len(set(reds)) >= 15  # JPEG rounds
    source.close()


@pytest.mark.slow
def test_frames_that_a_network_held_up_are_not_given_as_new(camera):
    source = OpenCvSource(camera.url, Profile(), 2.0)
    source.open()
    read(source, 20)
    camera.live.clear()
    timer = threading.Timer(0.8, camera.live.set)
    timer.start()  # then come the frames of the pause in one burst
    frames, none = read(source, 3)  # one may have been under way before the pause
    assert none >= 5 and sum(f.missed for f in frames) == none
    source.close()


def test_a_stream_that_stops_or_hangs_up_is_an_error_and_can_be_opened_again(camera):
    source = OpenCvSource(camera.url, Profile(), 0.4)
    source.open()
    read(source, 5)
    camera.live.clear()
    begin = time.monotonic()
    with refused(SourceError, code=Code.UNREACHABLE):
        read(source, 1000)
    assert time.monotonic() - begin < 5
    camera.live.set()
    source.open()
    assert read(source, 5)[0]
    camera.ended = True
    with pytest.raises(SourceError):
        read(source, 100000)
    source.close()
    source.close()


def test_a_stream_that_carries_times_keeps_their_spacing(tmp_path, monkeypatch):
    """MPEG-TS with the sender's times, as RTSP has them; it arrives with jitter, and one image late."""
    path, rate, count = str(tmp_path / "stream.ts"), 25, 100
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp2v"), rate, (WIDTH, HEIGHT))
    random = np.random.default_rng(0)
    for _ in range(count):
        writer.write(random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    listener = socket.create_server(("127.0.0.1", 0))

    def send():
        with listener, listener.accept()[0] as connection:
            connection.sendall((tmp_path / "stream.ts").read_bytes())

    threading.Thread(target=send, daemon=True).start()
    numbers, late = iter(range(1000)), 60
    arrivals = []

    def arrival():
        i = next(numbers)
        delay = 0.2 if i == late else 0.01 + 0.02 * random.random()
        before = arrivals[-1] if arrivals else 0
        arrivals.append(max(before + 10**6, START + round((i / rate + delay) * 1e9)))
        return arrivals[-1]

    monkeypatch.setattr(opencv, "time", SimpleNamespace(time_ns=arrival, monotonic_ns=time.monotonic_ns))
    source = OpenCvSource(f"tcp://127.0.0.1:{listener.getsockname()[1]}", Profile(WIDTH, HEIGHT), 5.0)
    source.open()
    stamps = []
    with pytest.raises(SourceError):
        while True:
            stamps.append(source.read(0.2).stamp_ns)
    source.close()
    assert len(stamps) >= count - 5
    steps = np.diff(stamps)[2 * rate :] / 1e9
    assert steps == pytest.approx(1 / rate, abs=1e-3) and stamps[late] < arrivals[late] - 0.1e9


def test_nobody_there():
    for address in ("http://127.0.0.1:9/video", "63", "/dev/video63"):
        with refused(SourceError, parameter="camera.opencv.source", code=Code.UNREACHABLE, shows=address):
            OpenCvSource(address, Profile(), 0.3).open()


def test_wrong_size_of_a_stream_is_refused(camera):
    with refused(ConfigError, parameter="camera.profile", code=Code.DOES_NOT_FIT, shows=("640x480", "160x120")):
        OpenCvSource(camera.url, Profile(640, 480, 30), 1.0).open()


def test_passwords_stay_out_of_logs():
    assert without_password("rtsp://me:secret@cam:554/live?token=x") == "rtsp://cam:554/live"
    assert without_password("0") == "0" and without_password("video.mp4") == "video.mp4"


def test_grey_images_become_rgb():
    assert to_rgb(np.full((4, 5), 9, np.uint8)).shape == (4, 5, 3)
