# SPDX-License-Identifier: Apache-2.0
"""Camera intrinsics, how cropping, turning and resizing an image changes them, and camera_calibration's files.

Pixel centres are at whole numbers, as in OpenCV and ROS: (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.yaml_file import read_yaml

# sensor_msgs/distortion_models.hpp: name -> number of coefficients
MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera of ``width`` x ``height`` px: focal lengths and principal point in px, distortion in ROS's
    terms. ``fx`` 0 means not calibrated, as in sensor_msgs/CameraInfo."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "plumb_bob"
    coefficients: tuple[float, ...] = (0.0,) * 5

    @property
    def matrix(self) -> list[float]:
        """K, row by row."""
        return [self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0]

    @property
    def projection(self) -> list[float]:
        """P [3, 4], row by row, of an unrectified image: K and no translation."""
        return [self.fx, 0.0, self.cx, 0.0, 0.0, self.fy, self.cy, 0.0, 0.0, 0.0, 1.0, 0.0]

    def cropped(self, x: int, y: int, width: int, height: int) -> Intrinsics:
        """Of the part that begins at pixel (x, y)."""
        return replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y)

    def resized(self, width: int, height: int) -> Intrinsics:
        """Of the image scaled to another size."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5, cy=(self.cy + 0.5) * sy - 0.5,
        )  # fmt: skip

    def turned(self, degrees: int) -> Intrinsics:
        """Of the image turned clockwise by 0, 90, 180 or 270 degrees (and the camera's frame with it)."""
        out = self
        for _ in range(degrees // 90 % 4):
            out = out._quarter()
        return out

    def _quarter(self) -> Intrinsics:
        # Pixel (u, v) goes to (height - 1 - v, u); radial terms stay, the tangential pair turns.
        d = list(self.coefficients)
        if self.model != "equidistant":
            d[2], d[3] = d[3], -d[2]
        return replace(
            self, width=self.height, height=self.width, fx=self.fy, fy=self.fx,
            cx=self.height - 1 - self.cy, cy=self.cx, coefficients=tuple(d),
        )  # fmt: skip


def uncalibrated(width: int, height: int) -> Intrinsics:
    """What sensor_msgs/CameraInfo prescribes for an unknown camera: K of zeros."""
    return Intrinsics(width, height, 0.0, 0.0, 0.0, 0.0)


def load_calibration(path: str) -> Intrinsics:
    """A calibration in the YAML of ROS's camera_calibration (camera_matrix, distortion_model, ...).

    Raises:
        ConfigError: unreadable, or not such a file; names the file and parameter ``calibration_file``.
    """
    where = f"parameter 'calibration_file' of camera: {path}"
    content, _ = read_yaml(Path(path).expanduser(), where, "camera.calibration_file")
    if not isinstance(content, dict):
        text = f"{where} holds no mapping; expected a file of ROS's camera_calibration"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="camera.calibration_file", file=path)
    width, height = _size(content, "image_width", path), _size(content, "image_height", path)
    k = _matrix(content, "camera_matrix", (9,), path)
    model = content.get("distortion_model", "plumb_bob")
    if model not in MODELS:
        raise _refused(path, "distortion_model", f"is {model!r}; it must be one of {', '.join(MODELS)}")
    # rational_polynomial files may carry 14 numbers; the last six are zero unless thin prisms were asked for.
    d = _matrix(content, "distortion_coefficients", (MODELS[model], 12, 14), path)
    if any(d[MODELS[model] :]):
        problem = "has thin-prism or tilt distortion, which is not supported; calibrate without it"
        raise _refused(path, "distortion_coefficients", problem)
    if k[0] <= 0 or k[4] <= 0 or k[1] or any(k[i] != v for i, v in ((3, 0), (6, 0), (7, 0), (8, 1))):
        raise _refused(path, "camera_matrix", "is not [fx 0 cx; 0 fy cy; 0 0 1] with positive fx and fy")
    if not (0 <= k[2] < width and 0 <= k[5] < height):
        problem = f"has its principal point outside the image of {width}x{height}"
        raise _refused(path, "camera_matrix", problem, Code.DOES_NOT_FIT)
    return Intrinsics(width, height, k[0], k[4], k[2], k[5], model, tuple(d[: MODELS[model]]))


def _refused(path: str, key: str, problem: str, code: Code = Code.VALUE) -> ConfigError:
    text = f"parameter 'calibration_file' of camera: {path}: {key} {problem}"
    return ConfigError(text, code=code, parameter=key, file=path)


def _size(content: dict[str, Any], key: str, path: str) -> int:
    value = content.get(key)
    if type(value) is not int or not 0 < value < 100_000:
        raise _refused(path, key, f"is {value!r}; it must be a whole number of pixels")
    return value


def _matrix(content: dict[str, Any], key: str, sizes: tuple[int, ...], path: str) -> list[float]:
    entry = content.get(key)
    data = entry.get("data") if isinstance(entry, dict) else None
    good = isinstance(data, list) and all(type(v) in (int, float) and math.isfinite(v) for v in data)
    if not good or len(data) not in sizes:
        raise _refused(path, key, f"must have data of {' or '.join(map(str, sizes))} finite numbers")
    return [float(v) for v in data]
