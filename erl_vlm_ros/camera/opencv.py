# SPDX-License-Identifier: Apache-2.0
"""What OpenCV can open: a device on this machine, a network stream (RTSP, HTTP), a video file."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from erl_vlm_ros.camera.clock import Backlog, ClockMapper
from erl_vlm_ros.camera.frame import NS, EndOfRecording, Frame, Profile, SourceError
from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.common.errors import Code, wrong_parameter

# Streams that carry the sender's times; MJPEG over HTTP does not.
_TIMED = ("rtsp", "rtsps", "rtp", "udp", "tcp", "srt")


class OpenCvSource:
    """A device or a network stream.

    Stamps: a V4L2 driver tells when the image was taken. A stream's own times are mapped to this machine's clock;
    where there are none, the arrival counts. ``latency_s`` (known delay of the camera) is taken off in both cases.

    Args:
        address: device number, device path (/dev/...) or URL.
        profile: what a device is asked for, and what the image must have.
        timeout_s: for opening, and for a frame.
        fourcc: pixel format that a device is asked for, for instance MJPG; empty: the driver's choice.
        exposure: in the driver's own unit; None: left as it is.
    """

    intrinsics: Intrinsics | None = None
    depth_intrinsics: Intrinsics | None = None

    def __init__(
        self, address: str, profile: Profile, timeout_s: float, fourcc: str = "", exposure: float | None = None,
        latency_s: float = 0.0,
    ):  # fmt: skip
        self.hardware = without_password(address)
        self.size, self.fps = (0, 0), 0.0
        self._address, self._profile, self._timeout_s = address, profile, timeout_s
        self._fourcc, self._exposure, self._latency_ns = fourcc, exposure, round(latency_s * NS)
        scheme = urlsplit(address).scheme.lower() if "://" in address else ""
        self._device, self._timed = not scheme, scheme in _TIMED
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open and ask for the profile. SourceError: not there; ConfigError: it gives another size."""
        self.close()
        capture = self._capture = cv2.VideoCapture()
        if self._device:
            # The driver's own patience is 10 s. Read once by OpenCV, so it must be there before the first device.
            os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(self._timeout_s)))
            name = int(self._address) if self._address.isdecimal() else self._address
            capture.open(name, cv2.CAP_V4L2)
        else:
            limit = round(1e3 * self._timeout_s)
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5 * limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            capture.open(self._address, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            text = f"cannot open {self.hardware} (parameter 'opencv.source'): not there, or busy"
            raise SourceError(text, parameter="camera.opencv.source")
        if self._device:
            self._configure(capture)
        self.size = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._profile.check_size(*self.size, self.hardware)
        self.fps = _rate(capture) if self._device else float(self._profile.fps)
        self._clock, self._backlog, self._last_pos = ClockMapper(), Backlog(), -1.0
        self._missed = 0

    def _configure(self, capture: cv2.VideoCapture) -> None:
        """Tell a device what is wanted; what it made of it is checked afterwards."""
        wanted = [(cv2.CAP_PROP_BUFFERSIZE, 2)]  # a longer queue only holds older images
        if self._fourcc:
            wanted.append((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._fourcc)))
        profile = self._profile
        wanted += [(cv2.CAP_PROP_FRAME_WIDTH, profile.width), (cv2.CAP_PROP_FRAME_HEIGHT, profile.height)]
        wanted.append((cv2.CAP_PROP_FPS, profile.fps))
        for prop, value in wanted:
            if value:
                capture.set(prop, value)
        if self._exposure is not None:
            manual = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # V4L2_EXPOSURE_MANUAL
            if not (manual and capture.set(cv2.CAP_PROP_EXPOSURE, self._exposure)):
                raise wrong_parameter(
                    "camera",
                    "opencv.exposure",
                    f"is {self._exposure:g}: {self.hardware} refuses it; "
                    "see v4l2-ctl --list-ctrls for its range, or set -1 for automatic",
                )

    def read(self, timeout_s: float) -> Frame | None:
        """The next image; waits for it as long as OpenCV does (``timeout_s`` of this source, not the argument)."""
        if self._capture is None or not self._capture.grab():
            raise SourceError(f"{self.hardware} gives no image any more")
        arrival, steady = time.time_ns(), time.monotonic_ns()
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._device:
            stamp = driver_time(position, steady, arrival)
        else:
            stamp = self._clock.map(round(position * 1e6), arrival) if self._timed else arrival
            repeated, self._last_pos = self._timed and position == self._last_pos, position
            held_up = self._backlog.is_old(arrival) and stamp == arrival
            if repeated or held_up:  # the decoder gave the last image again, or it lay in a queue
                self._missed += 1
                return None
        done, image = self._capture.retrieve()
        if not done or image is None:
            raise SourceError(f"{self.hardware}: an image could not be decoded", code=Code.UNREADABLE)
        missed, self._missed = self._missed, 0
        return Frame(to_rgb(image), stamp - self._latency_ns, missed)

    def close(self) -> None:
        """Let the device go."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFile:
    """A video file, played at its own speed. A frame's stamp is when it was due; frames that a slow reader missed are
    skipped and counted."""

    intrinsics: Intrinsics | None = None
    depth_intrinsics: Intrinsics | None = None

    def __init__(self, path: str, profile: Profile):
        self.hardware, self._profile = path, profile
        self.size, self.fps = (0, 0), 0.0
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open from the start. ConfigError: no such file, no video, or another size than the profile's."""
        self.close()
        if not Path(self.hardware).is_file():
            text = f": there is no file {self.hardware}"
            raise wrong_parameter("camera", "opencv.source", text, code=Code.MISSING_FILE, file=str(self.hardware))
        self._capture = cv2.VideoCapture(self.hardware, cv2.CAP_FFMPEG)
        self.size = tuple(round(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or not self._capture.grab():
            text = f": {self.hardware} is no video that OpenCV can read"
            raise wrong_parameter("camera", "opencv.source", text, code=Code.UNREADABLE, file=str(self.hardware))
        self._profile.check_size(*self.size, self.hardware)
        self.fps = _rate(self._capture)
        self._begun_ns, self._first_ns = time.time_ns(), self._position_ns()

    def read(self, timeout_s: float) -> Frame | None:
        """Wait until the next frame is due. EndOfRecording after the last one."""
        if self._capture is None:
            raise EndOfRecording
        missed, now = 0, time.time_ns()
        due = self._due_ns()
        while self.fps and now - due > NS / self.fps and self._capture.grab():
            missed, due = missed + 1, self._due_ns()
        if due - now > timeout_s * NS:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0, due - now) * 1e-9)
        done, image = self._capture.retrieve()
        if not self._capture.grab():
            self.close()
        if not done:
            raise EndOfRecording
        return Frame(to_rgb(image), due, missed)

    def _position_ns(self) -> int:
        return round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)

    def _due_ns(self) -> int:
        return self._begun_ns + self._position_ns() - self._first_ns

    def close(self) -> None:
        """Let the file go."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def driver_time(position_ms: float, steady_ns: int, now_ns: int) -> int:
    """System time of a V4L2 image from its time on the steady clock; ``now_ns`` if the driver gives no such time."""
    age = steady_ns - round(position_ms * 1e6)
    return now_ns - age if 0 <= age < NS else now_ns


def to_rgb(image):
    """OpenCV's BGR or grey image as uint8 [h, w, 3] RGB."""
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 or image.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)


def without_password(address: str) -> str:
    """The address without user and password: it stands in logs and diagnostics."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _rate(capture: cv2.VideoCapture) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate < 1000 else 0.0
