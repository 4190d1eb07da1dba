# SPDX-License-Identifier: Apache-2.0
"""Finding a RealSense camera, its stream profiles and options. Everything here talks to librealsense's Python module,
which is passed in as ``rs``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erl_vlm_ros.camera.frame import Profile, SourceError
from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.common.errors import Code, wrong_parameter

RECORDINGS = (".bag", ".db3")
_AUTOMATIC = {
    "exposure": "enable_auto_exposure",
    "gain": "enable_auto_exposure",
    "white_balance": "enable_auto_white_balance",
}


def library() -> Any:
    """pyrealsense2. ConfigError telling how to install it."""
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise wrong_parameter(
            "camera",
            "source",
            f"is 'realsense', but pyrealsense2 cannot be imported ({error}); install it "
            "with: pip install pyrealsense2, and: sudo apt-get install libusb-1.0-0; or use realsense2_camera's driver "
            "with source 'topic'",
            code=Code.MISSING_PACKAGE,
            remedy="pip install pyrealsense2",
        ) from error


def find(rs: Any, context: Any, serial: str) -> Any:
    """The device with ``serial``, or the only one. SourceError when it is not there (it may be plugged in later).

    Raises:
        ConfigError: several are connected and none was named.
    """
    devices = list(context.query_devices())
    serials = [d.get_info(rs.camera_info.serial_number) for d in devices]
    there = ", ".join(serials) or "none"
    if serial:
        if serial not in serials:
            text = f"no RealSense with serial number {serial} (parameter 'realsense.serial'; found: {there})"
            raise SourceError(text, parameter="camera.realsense.serial")
        return devices[serials.index(serial)]
    if not devices:
        text = "no RealSense is connected, or the user may not use it (udev rules)"
        raise SourceError(text)
    if len(devices) > 1:
        raise wrong_parameter(
            "camera", "realsense.serial", f"is empty, but several are connected: {there}", code=Code.NOT_GIVEN
        )
    return devices[0]


def load(context: Any, path: str) -> Any:
    """A recording as a device. ConfigError naming the parameter."""
    if not Path(path).is_file():
        raise wrong_parameter(
            "camera", "realsense.file", f": there is no file {path}", code=Code.MISSING_FILE, file=str(path)
        )
    try:
        return context.load_device(path)
    except RuntimeError as error:
        text = f": librealsense cannot read {path} as a recording ({' or '.join(RECORDINGS)}): {error}"
        raise wrong_parameter("camera", "realsense.file", text, code=Code.UNREADABLE, file=str(path)) from error


def choose(rs: Any, device: Any, stream: str, profile: Profile, parameter: str) -> tuple[Any, Any]:
    """The sensor and the stream profile for ``stream`` (color: rgb8, depth: z16).

    Raises:
        ConfigError: the camera does not offer it; names the parameter and what there is.
    """
    kind, pixel = getattr(rs.stream, stream), rs.format.rgb8 if stream == "color" else rs.format.z16
    offered, found = set(), []
    for sensor in device.query_sensors():
        for candidate in sensor.get_stream_profiles():
            if candidate.stream_type() != kind or candidate.format() != pixel:
                continue
            video = candidate.as_video_stream_profile()
            offer = video.width(), video.height(), candidate.fps()
            offered.add(offer)
            size_fits = not profile.width or offer[:2] == (profile.width, profile.height)
            if size_fits and profile.fps in (0, offer[2]):
                found.append((candidate.is_default(), offer, sensor, candidate))
    if not found:
        listed = ", ".join("x".join(map(str, o)) for o in sorted(offered)) or "none at all"
        wanted = f"{profile.width}x{profile.height}x{profile.fps}"
        raise wrong_parameter(
            "camera",
            parameter,
            f"asks for {wanted}, which the camera does not offer as {stream} "
            f"({'rgb8' if stream == 'color' else 'z16'}); it offers: {listed}",
            code=Code.DOES_NOT_FIT,
        )
    _, _, sensor, candidate = max(found, key=lambda entry: entry[:2])
    return sensor, candidate


def set_options(rs: Any, sensor: Any, wanted: Mapping[str, float | None]) -> None:
    """Set exposure, gain, white_balance of a sensor in the library's units; None is automatic.

    Raises:
        ConfigError: not supported or out of the camera's range; names the parameter.
    """
    for name, value in wanted.items():
        option, automatic = getattr(rs.option, name), getattr(rs.option, _AUTOMATIC[name])
        if value is None:
            if sensor.supports(automatic) and not any(
                v is not None and _AUTOMATIC[n] == _AUTOMATIC[name] for n, v in wanted.items()
            ):
                sensor.set_option(automatic, 1.0)
            continue
        if not sensor.supports(option):
            raise wrong_parameter(
                "camera",
                f"realsense.{name}",
                f"is {value:g}: this camera cannot set it; leave it out",
                code=Code.DOES_NOT_FIT,
            )
        allowed = sensor.get_option_range(option)
        steps = (value - allowed.min) / (allowed.step or 1.0)
        if not allowed.min <= value <= allowed.max or abs(steps - round(steps)) > 1e-4:
            text = (
                f"is {value:g}: the camera allows {allowed.min:g} to {allowed.max:g} in steps of {allowed.step:g}, or "
                "leave it out: automatic"
            )
            raise wrong_parameter("camera", f"realsense.{name}", text)
        if sensor.supports(automatic):
            sensor.set_option(automatic, 0.0)
        sensor.set_option(option, float(value))


def intrinsics_of(rs: Any, profile: Any) -> Intrinsics:
    """Intrinsics of a stream profile in ROS's terms, as realsense2_camera gives them."""
    i = profile.as_video_stream_profile().get_intrinsics()
    fisheye = i.model in (rs.distortion.kannala_brandt4, rs.distortion.ftheta)
    model, count = ("equidistant", 4) if fisheye else ("plumb_bob", 5)
    return Intrinsics(i.width, i.height, i.fx, i.fy, i.ppx, i.ppy, model, tuple(map(float, i.coeffs[:count])))
