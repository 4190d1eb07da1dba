# SPDX-License-Identifier: Apache-2.0
"""The images of chosen frames: second reading of a recording, one image in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.control.recorder import square
from erl_vlm_ros.data.bag import raw_rgb
from erl_vlm_ros.data.image_headers import JPEG_SIGNATURE
from erl_vlm_ros.data.images import decode_image, encode_jpeg, image_size
from erl_vlm_ros.recordings.bag import Bag
from erl_vlm_ros.recordings.topics import COMPRESSED


def read_frames(
    bag: Bag, topic: str, episodes: Sequence[np.ndarray], size: int, quality: int
) -> Iterator[tuple[list[bytes], str]]:
    """For each episode its JPEGs, squares of ``size`` px, and why they are not there; one or the other is empty.

    Args:
        episodes: of each its images' numbers within the topic, int64, ascending over all.

    Raises:
        RecordingError: ``TRUNCATED`` or ``UNREADABLE``.
    """
    messages = enumerate(bag.messages((topic,)))
    number, raw = -1, b""
    for wanted in episodes:
        jpegs: list[bytes] = []
        problem = ""
        for image in wanted:
            while number < image:
                number, (_, _, raw) = next(messages)
            if problem:
                break
            try:
                jpegs.append(_jpeg(bag.read(topic, raw), bag.topics[topic], size, quality))
            except ValueError as error:
                problem = f"image {image} on {topic}: {error}"
        yield ([], problem) if problem else (jpegs, "")


def _jpeg(message: Any, kind: str, size: int, quality: int) -> bytes:
    """Raises ValueError for an image that cannot be decoded."""
    if kind != COMPRESSED:
        return encode_jpeg(square(raw_rgb(message), size), quality)
    data = bytes(message.data)
    height, width = image_size(data)
    if (height, width) == (size, size) and data[:2] == JPEG_SIGNATURE:
        decode_image(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        return data  # as it is: nothing is lost
    shorter, flag = min(height, width), cv2.IMREAD_COLOR
    if shorter >= 4 * size:  # the decoder itself reduces, for half the time
        flag = cv2.IMREAD_REDUCED_COLOR_4
    elif shorter >= 2 * size:
        flag = cv2.IMREAD_REDUCED_COLOR_2
    return encode_jpeg(cv2.cvtColor(square(decode_image(data, flag), size), cv2.COLOR_BGR2RGB), quality)
