# SPDX-License-Identifier: Apache-2.0
"""Images of several cameras as one, for screen and video: side by side, each under its name."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from erl_vlm_ros.data.images import decode_jpeg
from erl_vlm_ros.data.views import Frame

_GAP = 2  # px


def side_by_side(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """uint8 RGB of the first's height; the others are scaled to it. One image stays as it is."""
    height = next(iter(images.values())).shape[0]
    parts: list[np.ndarray] = []
    for name, image in images.items():
        width = max(1, round(image.shape[1] * height / image.shape[0]))
        same = image.shape[0] == height
        part = image.copy() if same else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if name and len(images) > 1:
            scale = max(0.3, height / 400)
            at = (max(2, height // 60), round(30 * scale))
            for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(part, name, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)
        parts += [part, np.zeros((height, _GAP, 3), np.uint8)]
    return np.hstack(parts[:-1])


def shown(frame: bytes) -> np.ndarray:
    """A frame as uint8 RGB: of several cameras side by side. ImageError: it cannot be decoded."""
    if not isinstance(frame, Frame) or len(frame.images) < 2:
        return decode_jpeg(frame)
    return side_by_side({name: decode_jpeg(jpeg) for name, jpeg in frame.images.items()})
