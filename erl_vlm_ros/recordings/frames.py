# SPDX-License-Identifier: Apache-2.0
"""The images of chosen frames: second reading of a recording, one image in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from erl_vlm_ros.control.recorder import square
from erl_vlm_ros.data.bag import raw_rgb
from erl_vlm_ros.data.image_headers import JPEG_SIGNATURE
from erl_vlm_ros.data.images import decode_image, encode_jpeg, image_size
from erl_vlm_ros.data.views import Frame
from erl_vlm_ros.recordings.bag import Bag
from erl_vlm_ros.recordings.topics import COMPRESSED, Camera


class Problem(NamedTuple):
    """Why an episode has no frames."""

    text: str
    topic: str


def read_frames(
    bag: Bag, cameras: Sequence[Camera], episodes: Sequence[Sequence[np.ndarray]], size: int, quality: int
) -> Iterator[tuple[list[bytes], Problem | None]]:
    """For each episode its frames, squares of ``size`` px of each camera, and why they are not there: one or the other.

    Args:
        episodes: of each, of each camera, its images' numbers within the topic, int64 [T+1].

    Raises:
        RecordingError: ``TRUNCATED`` or ``UNREADABLE``.
    """
    wanted: dict[str, dict[int, list[tuple[int, int]]]] = {camera.topic: {} for camera in cameras}
    left = [0] * len(episodes)
    for number, images in enumerate(episodes):
        for k, camera in enumerate(cameras):
            for image in np.unique(images[k]).tolist():
                wanted[camera.topic].setdefault(image, []).append((number, k))
                left[number] += 1
    seen = dict.fromkeys(wanted, -1)
    kept: dict[int, dict[tuple[int, int], bytes]] = {}
    problems: dict[int, Problem] = {}
    due = 0
    for topic, _, raw in bag.messages(wanted.keys()):
        seen[topic] += 1
        for number, k in wanted[topic].pop(seen[topic], ()):
            left[number] -= 1
            if number in problems:
                continue
            try:
                jpeg = _jpeg(bag.read(topic, raw), bag.topics[topic], size, quality, cameras[k].crop)
                kept.setdefault(number, {})[k, seen[topic]] = jpeg
            except ValueError as error:
                problems[number] = Problem(f"image {seen[topic]} on {topic}: {error}", topic)
                kept.pop(number, None)
        while due < len(episodes) and not left[due]:
            yield ([], problems[due]) if due in problems else (_frames(cameras, episodes[due], kept.pop(due)), None)
            due += 1


def _frames(cameras: Sequence[Camera], images: Sequence[np.ndarray], kept: dict[tuple[int, int], bytes]) -> list[bytes]:
    if not cameras[0].name:
        return [kept[0, image] for image in images[0].tolist()]
    rows = zip(*(numbers.tolist() for numbers in images))
    return [Frame.of({c.name: kept[k, row[k]] for k, c in enumerate(cameras)}) for row in rows]


def _jpeg(message: Any, kind: str, size: int, quality: int, crop: tuple[int, ...]) -> bytes:
    """Raises ValueError for an image that cannot be decoded."""
    if kind != COMPRESSED:
        return encode_jpeg(square(_cropped(raw_rgb(message), crop), size), quality)
    data = bytes(message.data)
    height, width = image_size(data)
    if crop:
        return encode_jpeg(square(_cropped(cv2.cvtColor(decode_image(data), cv2.COLOR_BGR2RGB), crop), size), quality)
    if (height, width) == (size, size) and data[:2] == JPEG_SIGNATURE:
        decode_image(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        return data  # as it is: nothing is lost
    shorter, flag = min(height, width), cv2.IMREAD_COLOR
    if shorter >= 4 * size:  # the decoder itself reduces, for half the time
        flag = cv2.IMREAD_REDUCED_COLOR_4
    elif shorter >= 2 * size:
        flag = cv2.IMREAD_REDUCED_COLOR_2
    return encode_jpeg(cv2.cvtColor(square(decode_image(data, flag), size), cv2.COLOR_BGR2RGB), quality)


def _cropped(rgb: np.ndarray, crop: tuple[int, ...]) -> np.ndarray:
    """Raises ValueError: the crop reaches beyond the image."""
    if not crop:
        return rgb
    x, y, width, height = crop
    if y + height > rgb.shape[0] or x + width > rgb.shape[1]:
        raise ValueError(f"the crop {list(crop)} reaches beyond an image of {rgb.shape[1]}x{rgb.shape[0]} px")
    return rgb[y : y + height, x : x + width]
