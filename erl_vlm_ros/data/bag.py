# SPDX-License-Identifier: Apache-2.0
"""Camera images from a rosbag2 recording (MCAP or SQLite), without a ROS installation: the extra `bag` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.image_headers import JPEG_SIGNATURE, ImageError
from erl_vlm_ros.data.images import decode_image, encode_jpeg

_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
# encoding -> (channels, OpenCV's conversion to RGB)
_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


def read_images(path: str | Path, topic: str = "") -> list[tuple[int, bytes]]:
    """(stamp in ns, JPEG) of every image of one topic, in the order recorded; JPEGs are kept as they are.

    Args:
        path: the bag's folder, or its .mcap or .db3 file.
        topic: of sensor_msgs Image or CompressedImage; empty: the only one there is, or its compressed form.

    Raises:
        ConfigError: not a bag, no such topic, or several to choose from; names them. Also when `rosbags` is missing.
    """
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ConfigError(
            f"{path}: reading a bag needs the package rosbags: pip install 'erl_vlm_ros[bag]'",
            code=Code.MISSING_PACKAGE,
            file=str(path),
            remedy="pip install 'erl_vlm_ros[bag]'",
        ) from None
    out: list[tuple[int, bytes]] = []
    chosen = topic
    try:
        with AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            kinds = {c.topic: c.msgtype for c in reader.connections if c.msgtype in (_RAW, _COMPRESSED)}
            chosen = _choose(kinds, topic, path)
            connections = [c for c in reader.connections if c.topic == chosen]
            for connection, time_ns, raw in reader.messages(connections=connections):
                message: Any = reader.deserialize(raw, connection.msgtype)
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                jpeg = _raw(message) if connection.msgtype == _RAW else _compressed(message)
                out.append((stamp or time_ns, jpeg))
    except ConfigError:
        raise
    except (AnyReaderError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a bag: {error}", code=Code.UNREADABLE, file=str(path)) from error
    except ValueError as error:
        raise ConfigError(
            f"{path}, topic {chosen}: {error}", code=Code.UNREADABLE, parameter="topic", file=str(path)
        ) from error
    if not out:
        raise ConfigError(
            f"{path}: topic {chosen} holds no image", code=Code.UNREADABLE, parameter="topic", file=str(path)
        )
    return out


def is_bag(path: Path) -> bool:
    """Whether the path looks like a rosbag2 recording."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(path.glob("*.mcap")) or any(path.glob("*.db3"))
    return path.suffix in (".mcap", ".db3")


def _choose(kinds: dict[str, str], topic: str, path: str | Path) -> str:
    """The topic to read: as asked, else the only camera, where the compressed stream is taken before the raw one."""
    if topic:
        if topic not in kinds:
            text = f"{path} has no images on {topic}; it has {', '.join(sorted(kinds)) or 'none at all'}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="topic", file=str(path))
        return topic
    cameras = {name.removesuffix("/compressed") for name in kinds if "depth" not in name.lower()}
    if len(cameras) != 1:
        text = f"{path}: choose --topic from {', '.join(sorted(kinds)) or '(no images in this bag)'}"
        raise ConfigError(text, code=Code.NOT_GIVEN, parameter="topic", file=str(path))
    camera = cameras.pop()
    return f"{camera}/compressed" if f"{camera}/compressed" in kinds else camera


def raw_rgb(message: Any) -> np.ndarray:
    """uint8 [h, w, 3], RGB, of a sensor_msgs Image. ValueError: an encoding that is not known, or too few bytes."""
    if message.encoding not in _ENCODINGS:
        raise ValueError(f"encoding '{message.encoding}' is not one of {', '.join(_ENCODINGS)}")
    channels, conversion = _ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8)
    if message.step < message.width * channels or len(rows) < message.height * message.step:
        raise ValueError(f"an image of {message.width}x{message.height} px has only {len(rows)} bytes")
    rows = rows[: message.height * message.step].reshape(message.height, message.step)
    image = np.ascontiguousarray(rows[:, : message.width * channels]).reshape(message.height, message.width, channels)
    return image if conversion is None else cv2.cvtColor(image, conversion)


def _raw(message: Any) -> bytes:
    return encode_jpeg(raw_rgb(message), 95)


def _compressed(message: Any) -> bytes:
    data = bytes(message.data)
    try:
        image = decode_image(data)
    except ImageError as error:
        raise ValueError(f"an image in format '{message.format}' cannot be decoded: {error}") from None
    return data if data[:2] == JPEG_SIGNATURE else encode_jpeg(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), 95)
