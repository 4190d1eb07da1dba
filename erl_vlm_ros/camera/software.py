# SPDX-License-Identifier: Apache-2.0
"""A RealSense made of software by librealsense itself: for tests and for measuring without a camera."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from erl_vlm_ros.camera.realsense_device import library


class SoftwareCamera:
    """A colour sensor (rgb8) and, if wanted, a depth sensor (z16), fed by hand.

    ``device`` is what CameraNode and RealSenseSource take in place of a camera. ``depth_m``: metres per depth unit;
    0: no depth sensor. ``hardware_clock``: stamps count from the camera's start, as without "global time".
    """

    def __init__(
        self, width: int = 640, height: int = 480, fps: int = 30, depth_m: float = 0.0, hardware_clock: bool = False
    ):
        rs = self._rs = library()
        self.size, self.fps = (width, height), fps
        self.number = 0
        self._begun, self._hardware_clock = time.time(), hardware_clock
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "Software camera")
        self.device.register_info(rs.camera_info.serial_number, "0001")
        self._color = self.device.add_sensor("RGB Camera")
        self._profile = self._color.add_video_stream(self._stream(rs.stream.color, rs.format.rgb8, 3, 1), True)
        self._depth = None
        if depth_m:
            self._depth = self.device.add_sensor("Stereo Module")
            self._depth.add_read_only_option(rs.option.depth_units, depth_m)
            self._depth_profile = self._depth.add_video_stream(self._stream(rs.stream.depth, rs.format.z16, 2, 2), True)
            same = rs.extrinsics()
            same.rotation, same.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
            self._depth_profile.register_extrinsics_to(self._profile, same)
            self._profile.register_extrinsics_to(self._depth_profile, same)
        self.device.create_matcher(rs.matchers.default)

    def allow(self, option: str, low: float, high: float, value: float, step: float = 1.0) -> None:
        """Give the colour sensor an option, exposure for instance."""
        allowed = self._rs.option_range()  # by name: its constructor's order is not the documented one
        allowed.min, allowed.max, allowed.default, allowed.step = low, high, value, step
        self._color.add_option(getattr(self._rs.option, option), allowed)

    def option(self, name: str) -> float:
        """Value of an option of the colour sensor."""
        return self._color.get_option(getattr(self._rs.option, name))

    def feed(self, rgb: np.ndarray, depth: np.ndarray | None = None, skip: int = 0) -> int:
        """Give a frame, taken now, to the reader of the device; ``skip``: frames lost before it.

        Returns the stamp in ns of the system's clock.
        """
        now, self.number = time.time(), self.number + 1 + skip
        shown = now - self._begun if self._hardware_clock else now
        if depth is not None:
            self._give(self._depth, self._depth_profile, depth, shown)
        self._give(self._color, self._profile, rgb, shown)
        return round(now * 1e9)

    def _give(self, sensor: Any, profile: Any, pixels: np.ndarray, shown: float) -> None:
        domain = self._rs.timestamp_domain
        frame = self._rs.software_video_frame()
        frame.pixels, frame.bpp = pixels, pixels.nbytes // (self.size[0] * self.size[1])
        frame.stride, frame.frame_number = self.size[0] * frame.bpp, self.number
        frame.timestamp = 1e3 * shown
        frame.domain = domain.hardware_clock if self._hardware_clock else domain.system_time
        frame.profile = profile.as_video_stream_profile()
        sensor.on_video_frame(frame)

    def _stream(self, kind: Any, pixel: Any, size: int, uid: int) -> Any:
        rs, (width, height) = self._rs, self.size
        lens = rs.intrinsics()
        lens.width, lens.height, lens.model = width, height, rs.distortion.brown_conrady
        lens.fx = lens.fy = 0.95 * width
        lens.ppx, lens.ppy, lens.coeffs = 0.51 * width, 0.48 * height, [0.1, -0.05, 0.001, 0.002, 0.0]
        out = rs.video_stream()
        out.type, out.fmt, out.bpp, out.uid, out.index = kind, pixel, size, uid, 0
        out.width, out.height, out.fps, out.intrinsics = width, height, self.fps, lens
        return out
