# SPDX-License-Identifier: Apache-2.0
"""Several frames as one picture: side by side, each with its number above it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

BAR, GAP = 22, 6  # height of the numbers' bar and space between frames, pixels
MAX_SIDE = 8192  # pixels; a wider picture is refused by every endpoint that says so
_QUALITY = 92


def strip(jpegs: Sequence[bytes]) -> bytes:
    """JPEG with the frames from left to right, labelled "image 1" and so on.

    Raises:
        ValueError: a frame cannot be decoded, frames differ in size, or the picture would be too wide.
    """
    frames = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
    if any(frame is None for frame in frames):
        raise ValueError("a frame cannot be decoded")
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        told = ", ".join(f"{w}x{h}" for h, w, _ in sorted(sizes))
        raise ValueError(f"the frames of a segment differ in size: {told}")
    height, width, _ = frames[0].shape
    total = len(frames) * (width + GAP) - GAP
    if total > MAX_SIDE:
        raise ValueError(f"{len(frames)} frames of {width} pixels make a picture wider than {MAX_SIDE} pixels")
    canvas = np.full((height + BAR, total, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        left = i * (width + GAP)
        canvas[BAR:, left : left + width] = frame
        cv2.putText(canvas, f"image {i + 1}", (left + 3, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def split_strip(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Inverse of ``strip``: the frames in a picture [h, w, 3]. ValueError when it does not hold ``count`` of them."""
    height, total, _ = picture.shape
    width, rest = divmod(total + GAP, count)
    if rest or width <= GAP or height <= BAR:
        raise ValueError(f"a picture of {total}x{height} pixels is no strip of {count} frames")
    return [picture[BAR:, i * width : (i + 1) * width - GAP] for i in range(count)]
