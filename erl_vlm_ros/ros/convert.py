# SPDX-License-Identifier: Apache-2.0
"""Messages to and from numpy. Written by hand: no cv_bridge, and large arrays are moved as buffers."""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, Float64MultiArray, MultiArrayDimension, UInt8MultiArray

from erl_vlm_ros.common.errors import DataError

_NS = 1_000_000_000
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


# -- time


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return stamp.sec * _NS + stamp.nanosec


def set_stamp(stamp: Time, ns: int) -> None:
    """Write nanoseconds into a stamp that a message already holds."""
    stamp.sec, stamp.nanosec = divmod(ns, _NS)


def ns_to_stamp(ns: int) -> Time:
    """A new stamp. ValueError for negative time."""
    if ns < 0:
        raise DataError(f"a stamp cannot be negative, got {ns} ns", field="stamp")
    return Time(sec=ns // _NS, nanosec=ns % _NS)


# -- images


def image_message(rgb: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
    """An rgb8 Image from uint8 [h, w, 3]. ValueError for another shape or dtype."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise DataError(f"expected an uint8 image [h, w, 3], got {rgb.dtype} {list(rgb.shape)}", field="image")
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    message.data = array.array("B", rgb.tobytes())
    return message


def image_to_rgb(message: Image) -> np.ndarray:
    """uint8 [h, w, 3] RGB from rgb8, bgr8, rgba8, bgra8 or mono8; padding at the end of rows is dropped.

    For rgb8 without padding the result is a view of the message's data.

    Raises:
        ValueError: another encoding, or data that are too short for the size.
    """
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise DataError(
            f"image encoding '{message.encoding}' is not supported; use one of {', '.join(_CHANNELS)}", field="encoding"
        )
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or step < width * channels or data.size < height * step:
        raise DataError(
            f"image of {width}x{height} {message.encoding} with step {step} does not fit {data.size} bytes",
            field="data",
        )
    image = data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    if message.encoding.startswith("bgr"):
        return np.ascontiguousarray(image[:, :, 2::-1])
    return image if channels == 3 else np.ascontiguousarray(image[:, :, :3])


def compressed_message(jpeg: bytes, stamp_ns: int, frame_id: str) -> CompressedImage:
    """A JPEG as CompressedImage."""
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    message.data = array.array("B", jpeg)
    return message


def camera_info_message(matrix: np.ndarray, width: int, height: int, stamp_ns: int, frame_id: str) -> CameraInfo:
    """CameraInfo of an undistorted camera with intrinsics K [3, 3] in pixels."""
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    k = np.asarray(matrix, np.float64)
    message.k = k.reshape(-1)
    message.r = np.eye(3).reshape(-1)
    message.p = np.hstack([k, np.zeros((3, 1))]).reshape(-1)
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    return message


# -- state and commands


def joints_by_name(message: JointState, names: Sequence[str]) -> np.ndarray:
    """Positions float64 [len(names)] in the order of ``names``; drivers publish in any order.

    Raises:
        ValueError: a joint is missing, or names and positions differ in length.
    """
    if len(message.position) != len(message.name):
        raise DataError(
            f"joint state has {len(message.name)} names and {len(message.position)} positions", field="position"
        )
    at = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in names if name not in at]
    if missing:
        raise DataError(f"joint state lacks {', '.join(missing)} (it has {', '.join(message.name)})", field="name")
    position = message.position
    return np.array([position[at[name]] for name in names])


def joint_message(
    names: Sequence[str],
    positions: Iterable[float],
    velocities: Iterable[float],
    stamp_ns: int,
    efforts: Iterable[float] = (),
) -> JointState:
    """A JointState; positions in rad (or m), velocities per second, efforts in N m (or N) or none."""
    message = JointState(name=list(names))
    message.position = array.array("d", positions)
    message.velocity = array.array("d", velocities)
    message.effort = array.array("d", efforts)
    set_stamp(message.header.stamp, stamp_ns)
    return message


def pose_message(position: Sequence[float], quaternion: Sequence[float], stamp_ns: int, frame_id: str) -> PoseStamped:
    """A PoseStamped; position [3] m, quaternion [4] x y z w."""
    message = PoseStamped()
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    point, rotation = message.pose.position, message.pose.orientation
    point.x, point.y, point.z = map(float, position)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, quaternion)
    return message


def position_of(message: PoseStamped) -> tuple[float, float, float]:
    """Position (x, y, z) in m."""
    point = message.pose.position
    return point.x, point.y, point.z


def twist_message(
    linear: Sequence[float], stamp_ns: int, frame_id: str, angular: Sequence[float] = (0.0, 0.0, 0.0)
) -> TwistStamped:
    """A TwistStamped with linear velocity [3] m/s and angular velocity [3] rad/s."""
    message = TwistStamped()
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    vector = message.twist.linear
    vector.x, vector.y, vector.z = map(float, linear)
    rotation = message.twist.angular
    rotation.x, rotation.y, rotation.z = map(float, angular)
    return message


def linear_of(message: TwistStamped) -> tuple[float, float, float]:
    """Linear velocity (x, y, z) in m/s."""
    vector = message.twist.linear
    return vector.x, vector.y, vector.z


def angular_of(message: TwistStamped) -> tuple[float, float, float]:
    """Angular velocity (x, y, z) in rad/s."""
    vector = message.twist.angular
    return vector.x, vector.y, vector.z


def width_message(width: float, stamp_ns: int) -> Float64MultiArray:
    """A gripper command: opening in m. Float64MultiArray has no header, so the stamp rides in the layout's
    label, which controllers ignore; lock-step uses it to pair the command with its observation."""
    message = Float64MultiArray(data=[float(width)])
    message.layout.dim = [MultiArrayDimension(label=str(stamp_ns), size=1, stride=1)]
    return message


def width_of(message: Float64MultiArray) -> tuple[float, int]:
    """(opening in m, stamp in ns or -1 when it carries none). ValueError unless it holds one number."""
    if len(message.data) != 1:
        raise DataError(f"gripper command must hold one number, got {len(message.data)}", field="data")
    label = message.layout.dim[0].label if message.layout.dim else ""
    return message.data[0], int(label) if label.isdecimal() else -1


def rewards_message(rewards: np.ndarray, episode: int) -> Float32MultiArray:
    """The learned reward of each step [T] of a training episode; its number stands in the layout's label."""
    message = Float32MultiArray()
    message.data = array.array("f", np.asarray(rewards, np.float32).tobytes())
    message.layout.dim = [MultiArrayDimension(label=str(episode), size=len(rewards), stride=1)]
    return message


def rewards_of(message: Float32MultiArray) -> tuple[np.ndarray, int]:
    """(rewards float32 [T], number of the episode). ValueError for a message that names no episode."""
    label = message.layout.dim[0].label if message.layout.dim else ""
    if not label.isdecimal():
        raise DataError(f"rewards of no episode (label '{label}')", field="label")
    return np.array(message.data, np.float32), int(label)


def wrench_message(wrench: Sequence[float], stamp_ns: int, frame_id: str) -> WrenchStamped:
    """A WrenchStamped from force [3] N and torque [3] N m."""
    message = WrenchStamped()
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    force, torque = message.wrench.force, message.wrench.torque
    force.x, force.y, force.z, torque.x, torque.y, torque.z = map(float, wrench)
    return message


# -- bulk data and figures


def bytes_message(data: bytes) -> UInt8MultiArray:
    """Any bytes (a tensor bundle)."""
    message = UInt8MultiArray()
    message.data = array.array("B", data)
    return message


def bytes_of(message: UInt8MultiArray) -> memoryview:
    """The bytes of a message, without a copy."""
    return memoryview(message.data)


def metrics_message(
    node: str,
    values: Mapping[str, float],
    stamp_ns: int,
    level: bytes = b"\x00",
    text: str = "",
    texts: Mapping[str, str] | None = None,
) -> DiagnosticArray:
    """Figures of one node as a DiagnosticArray with one status; numbers keep full precision.

    ``texts``: values in words (a model's name, a currency); ``texts_of`` reads them, ``metrics_of`` skips them.
    """
    message = DiagnosticArray()
    set_stamp(message.header.stamp, stamp_ns)
    pairs = [KeyValue(key=key, value=repr(float(value))) for key, value in values.items()]
    pairs += [KeyValue(key=key, value=value) for key, value in (texts or {}).items()]
    message.status = [DiagnosticStatus(level=level, name=node, message=text, hardware_id="erl_vlm_ros", values=pairs)]
    return message


def metrics_of(message: DiagnosticArray) -> dict[str, dict[str, float]]:
    """Status name -> its numeric values; entries that are not numbers are left out."""
    out: dict[str, dict[str, float]] = {}
    for status in message.status:
        values = out.setdefault(status.name, {})
        for pair in status.values:
            number = _number(pair.value)
            if number is not None and not math.isinf(number):
                values[pair.key] = number
    return out


def texts_of(message: DiagnosticArray) -> dict[str, dict[str, str]]:
    """Status name -> its values that are not numbers."""
    return {
        status.name: {pair.key: pair.value for pair in status.values if _number(pair.value) is None}
        for status in message.status
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def header_ns(message: Any) -> int:
    """Nanoseconds of a stamped message's header."""
    return stamp_to_ns(message.header.stamp)
