# SPDX-License-Identifier: Apache-2.0
"""An Intel RealSense camera, or a recording of one, through pyrealsense2.

Sensors are used directly and not through a pipeline: then a camera, a recording and a software device all take the
same way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.camera import realsense_device as devices
from erl_vlm_ros.camera.clock import ClockMapper
from erl_vlm_ros.camera.frame import NS, EndOfRecording, Frame, Profile, SourceError
from erl_vlm_ros.camera.intrinsics import Intrinsics

OFF, RAW, ALIGNED = "off", "raw", "aligned"
_PLAUSIBLE_NS = 5 * NS  # a system-clock stamp further from now than this is not believed
_QUEUE = 16  # frames, half a second at 30 Hz: what a busy machine may hold up; their stamps stay true


@dataclass(frozen=True)
class RealSenseConfig:
    """``serial`` empty: the only one. ``file``: play this recording instead. ``depth``: off, raw or aligned to colour;
    ``depth_profile`` empty values: as ``profile``. ``exposure``, ``gain``, ``white_balance`` None: automatic."""

    profile: Profile = Profile()
    serial: str = ""
    file: str = ""
    depth: str = OFF
    depth_profile: Profile = Profile()
    exposure: float | None = None
    gain: float | None = None
    white_balance: float | None = None


class RealSenseSource:
    """One camera.

    Stamps: librealsense puts a frame's time on the system's clock ("global time"); where it gives the camera's own
    clock, or in a recording, ClockMapper does.

    Args:
        config: what to open.
        device: gives the device in place of looking for one (tests: a software_device). May raise SourceError.
    """

    def __init__(self, config: RealSenseConfig, device: Callable[[], Any] | None = None):
        self._rs = devices.library()
        self._config, self._make_device = config, device
        self.hardware = config.file or (f"RealSense {config.serial}".strip())
        self.size, self.fps = (0, 0), 0.0
        self.intrinsics: Intrinsics | None = None
        self.depth_intrinsics: Intrinsics | None = None
        self._context: Any = None
        self._running: list[Any] = []

    def open(self) -> None:
        """Find, configure, start. SourceError: not there; ConfigError: it cannot do what is asked for."""
        self.close()
        rs, config = self._rs, self._config
        try:
            self._device = self._find()
            color, profile = devices.choose(rs, self._device, "color", config.profile, "profile")
            self._describe(profile)
            streams = {color: [profile]}
            if config.depth != OFF:
                streams = self._with_depth(streams)
            if not config.file:
                wanted = {n: getattr(config, n) for n in ("exposure", "gain", "white_balance")}
                devices.set_options(rs, color, wanted)
            self._start(streams)
        except RuntimeError as error:  # what librealsense raises; SourceError is one, too
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{self.hardware}: {error}") from error
        self._clock, self._last = ClockMapper(sure=bool(config.file)), (-1, -1.0)

    def _find(self) -> Any:
        if self._make_device is not None:
            return self._make_device()
        self._context = self._rs.context()
        if self._config.file:
            return devices.load(self._context, self._config.file)
        return devices.find(self._rs, self._context, self._config.serial)

    def _describe(self, profile: Any) -> None:
        info = self._rs.camera_info
        if not self._config.file:
            parts = (self._device.get_info(i) for i in (info.name, info.serial_number) if self._device.supports(i))
            self.hardware = " ".join(parts) or self.hardware
        video = profile.as_video_stream_profile()
        self.size, self.fps = (video.width(), video.height()), float(profile.fps())
        self.intrinsics = devices.intrinsics_of(self._rs, profile)

    def _with_depth(self, streams: dict[Any, list[Any]]) -> dict[Any, list[Any]]:
        config = self._config
        named = config.depth_profile.width > 0
        wanted = config.depth_profile if named else config.profile
        parameter = "realsense.depth_profile" if named else "profile"
        sensor, profile = devices.choose(self._rs, self._device, "depth", wanted, parameter)
        for known, profiles in streams.items():
            if _name(self._rs, known) == _name(self._rs, sensor):  # D405 has one sensor for both
                profiles.append(profile)
                break
        else:
            streams[sensor] = [profile]
        aligned = config.depth == ALIGNED
        self.depth_intrinsics = self.intrinsics if aligned else devices.intrinsics_of(self._rs, profile)
        self._align = self._rs.align(self._rs.stream.color) if aligned else None
        units = self._rs.option.depth_units
        self._depth_mm = 1e3 * sensor.get_option(units) if sensor.supports(units) else 1.0
        return streams

    def _start(self, streams: dict[Any, list[Any]]) -> None:
        with_depth = self._config.depth != OFF
        self._queue = self._rs.syncer(_QUEUE) if with_depth else self._rs.frame_queue(_QUEUE)
        for sensor, profiles in streams.items():
            sensor.open(profiles)
            self._running.append(sensor)
        for sensor in streams:
            sensor.start(self._queue)

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame. SourceError when the camera is gone; EndOfRecording."""
        limit = max(1, round(1e3 * timeout_s))
        try:
            if self._config.depth == OFF:
                frame = self._queue.wait_for_frame(limit)
                return self._frame(frame, None)
            frames = self._queue.wait_for_frames(limit)
            if not (frames.get_color_frame() and frames.get_depth_frame()):
                return None  # the syncer also gives the half of a pair
            frames = self._align.process(frames) if self._align is not None else frames
            return self._frame(frames.get_color_frame(), frames.get_depth_frame())
        except RuntimeError as error:
            return self._nothing(error)

    def _nothing(self, error: RuntimeError) -> None:
        """Tell a quiet moment from a camera that is gone and from the end of a recording."""
        if self._config.file:
            if self._device.current_status() == self._rs.playback_status.stopped:
                raise EndOfRecording from error
        elif not self._device.is_connected():
            raise SourceError(f"{self.hardware} was unplugged") from error
        if "arrive" not in str(error):  # librealsense's words for a time-out
            raise SourceError(f"{self.hardware}: {error}") from error

    def _frame(self, color: Any, depth: Any) -> Frame | None:
        arrival, number, time_ms = time.time_ns(), color.get_frame_number(), color.get_timestamp()
        if (number, time_ms) == self._last:
            return None  # the syncer may give a colour frame again with a newer depth frame
        before, self._last = self._last[0], (number, time_ms)
        missed = number - before - 1 if 0 <= before < number else 0  # counters begin anew after a reset
        rgb = np.asanyarray(color.get_data()).copy()  # librealsense reuses the memory
        return Frame(rgb, self._stamp(color, time_ms, arrival), missed, self._millimetres(depth) if depth else None)

    def _stamp(self, color: Any, time_ms: float, arrival: int) -> int:
        device_ns = round(time_ms * 1e6)
        own_clock = color.get_frame_timestamp_domain() == self._rs.timestamp_domain.hardware_clock
        if own_clock or self._config.file or abs(arrival - device_ns) > _PLAUSIBLE_NS:
            return self._clock.map(device_ns, arrival)
        return device_ns

    def _millimetres(self, depth: Any) -> np.ndarray:
        data = np.asanyarray(depth.get_data())
        if abs(self._depth_mm - 1.0) < 1e-6:
            return data.copy()
        scaled = np.rint(data * np.float32(self._depth_mm))
        return np.where(scaled > np.iinfo(np.uint16).max, 0, scaled).astype(np.uint16)  # 0: unknown

    def close(self) -> None:
        """Stop the streams."""
        for sensor in self._running:
            for step in (sensor.stop, sensor.close):
                with contextlib.suppress(RuntimeError):  # it is gone, or was only opened
                    step()
        self._running, self._queue, self._device, self._context = [], None, None, None


def _name(rs: Any, sensor: Any) -> str:
    return sensor.get_info(rs.camera_info.name)
