# SPDX-License-Identifier: Apache-2.0
"""Several frames as one image: side by side, each with its number above it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.images import decode_image

BAR, GAP = 22, 6  # height of the numbers' bar and space between frames, pixels
MAX_SIDE = 8192  # pixels; a wider image is refused by every endpoint that says so
_QUALITY = 92


def strip(jpegs: Sequence[bytes]) -> bytes:
    """JPEG with the frames from left to right, labelled "image 1" and so on.

    Raises:
        ValueError: a frame cannot be decoded, frames differ in size, or the image would be too wide.
    """
    frames = [decode_image(jpeg) for jpeg in jpegs]
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        told = ", ".join(f"{w}x{h}" for h, w, _ in sorted(sizes))
        raise DataError(f"the frames of a segment differ in size: {told}", field="sizes")
    height, width, _ = frames[0].shape
    total = len(frames) * (width + GAP) - GAP
    if total > MAX_SIDE:
        raise DataError(
            f"{len(frames)} frames of {width} pixels make an image wider than {MAX_SIDE} pixels", field="width"
        )
    canvas = np.full((height + BAR, total, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        left = i * (width + GAP)
        canvas[BAR:, left : left + width] = frame
        cv2.putText(canvas, f"image {i + 1}", (left + 3, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def split_strip(image: np.ndarray, count: int) -> list[np.ndarray]:
    """Inverse of ``strip``: the frames in an image [h, w, 3]. ValueError when it does not hold ``count`` of them."""
    height, total, _ = image.shape
    width, rest = divmod(total + GAP, count)
    if rest or width <= GAP or height <= BAR:
        raise DataError(f"an image of {total}x{height} pixels is no strip of {count} frames", field="width")
    return [image[BAR:, i * width : (i + 1) * width - GAP] for i in range(count)]
