# SPDX-License-Identifier: Apache-2.0
"""Depth images, intrinsics and the state of a camera as messages, as realsense2_camera has them."""

from __future__ import annotations

import array
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CameraInfo, Image

from erl_vlm_ros.camera.intrinsics import MODELS, Intrinsics
from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.ros.convert import metrics_message, set_stamp

_LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "stale": DiagnosticStatus.STALE}


def depth_message(depth: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
    """A 16UC1 Image in mm from uint16 [h, w]; 0 is unknown. ValueError for another shape or dtype."""
    if depth.dtype != np.uint16 or depth.ndim != 2:
        raise DataError(f"expected an uint16 depth image [h, w], got {depth.dtype} {list(depth.shape)}", field="image")
    height, width = depth.shape
    message = Image(height=height, width=width, encoding="16UC1", is_bigendian=0, step=2 * width)
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    message.data = array.array("B", depth.astype("<u2", copy=False).tobytes())
    return message


def depth_of(message: Image) -> np.ndarray:
    """uint16 [h, w] mm from 16UC1 (or mono16), or from 32FC1 metres, where NaN becomes 0 (REP 118).

    Raises:
        ValueError: another encoding, or data too short for the size.
    """
    kinds = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
    if message.encoding not in kinds:
        raise DataError(
            f"depth encoding '{message.encoding}' is not supported; use one of {', '.join(kinds)}", field="encoding"
        )
    dtype = np.dtype((">" if message.is_bigendian else "<") + kinds[message.encoding])
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or step < width * dtype.itemsize or data.size < height * step:
        raise DataError(f"depth of {width}x{height} with step {step} does not fit {data.size} bytes", field="data")
    rows = data[: height * step].reshape(height, step)[:, : width * dtype.itemsize]
    values = np.ascontiguousarray(rows).view(dtype)
    if dtype.kind == "u":
        return values.astype(np.uint16)
    known = np.isfinite(values) & (values > 0) & (values < 65.535)
    return np.rint(np.where(known, values, 0.0) * 1e3).astype(np.uint16)


def info_message(intrinsics: Intrinsics, stamp_ns: int, frame_id: str) -> CameraInfo:
    """CameraInfo of an image that is not rectified."""
    message = CameraInfo(width=intrinsics.width, height=intrinsics.height, distortion_model=intrinsics.model)
    message.d = list(intrinsics.coefficients)
    if intrinsics.fx:
        message.k, message.p = intrinsics.matrix, intrinsics.projection
        message.r = np.eye(3).reshape(-1)
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    return message


def intrinsics_of(message: CameraInfo) -> Intrinsics | None:
    """Intrinsics from another driver's CameraInfo; None when it is not calibrated, or in terms not known here."""
    k, model = message.k, message.distortion_model or "plumb_bob"
    d = tuple(message.d) or (0.0,) * MODELS.get(model, 0)
    if not k[0] > 0 or not k[4] > 0 or len(d) != MODELS.get(model):
        return None
    return Intrinsics(message.width, message.height, *map(float, (k[0], k[4], k[2], k[5])), model, d)


def state_message(
    name: str, hardware: str, verdict: tuple[str, str], values: Mapping[str, float], stamp_ns: int
) -> DiagnosticArray:
    """The state of a camera: ``verdict`` is ("ok" | "warn" | "stale", text)."""
    level, text = verdict
    message = metrics_message(name, values, stamp_ns, _LEVELS[level], text)
    message.status[0].hardware_id = hardware
    return message
