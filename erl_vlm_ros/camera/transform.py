# SPDX-License-Identifier: Apache-2.0
"""Crop, turn, resize: what is done to each image before it is published, and to its intrinsics."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.common.errors import Code, ConfigError, DataError, wrong_parameter

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class ImageTransformConfig:
    """In this order: ``crop`` x, y, width, height in px of the source (zeros: all), ``square``: the largest centred
    square of it, ``rotate`` clockwise in degrees, resize to ``width`` x ``height`` (0: as it is)."""

    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    square: bool = False
    rotate: int = 0
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if any(self.crop) and min(self.crop[2:]) < 1:
            raise wrong_parameter(
                "camera", "crop", f"is {list(self.crop)}; it must be x, y, width, height, or four zeros"
            )
        if bool(self.width) != bool(self.height):
            text = f"parameters 'width' and 'height' of camera are {self.width} and {self.height}; set both or neither"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="camera.width")


class ImageTransform:
    """The changes for images of one size. ``size`` (width, height) is that of the result."""

    def __init__(self, config: ImageTransformConfig, width: int, height: int):
        """ConfigError when the crop does not fit into ``width`` x ``height``."""
        self.config, self.source = config, (width, height)
        x, y, w, h = config.crop if any(config.crop) else (0, 0, width, height)
        if x + w > width or y + h > height:
            text = f"is {list(config.crop)}, outside the camera's image of {width}x{height}"
            raise wrong_parameter("camera", "crop", text, code=Code.DOES_NOT_FIT)
        if config.square:
            side = min(w, h)
            x, y, w, h = x + (w - side) // 2, y + (h - side) // 2, side, side
        self._box = x, y, w, h
        turned = (h, w) if config.rotate in (90, 270) else (w, h)
        self.size = (config.width, config.height) if config.width else turned
        self._resize = self.size != turned
        self._shrinks = self.size[0] <= turned[0] and self.size[1] <= turned[1]

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] of the source size -> uint8 of ``size``, contiguous. ValueError for another size."""
        image = self._cut(rgb)
        if self._resize:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA if self._shrinks else cv2.INTER_LINEAR)
        return np.ascontiguousarray(image)

    def apply_depth(self, depth: np.ndarray) -> np.ndarray:
        """The same for uint16 [h, w]: the nearest value is taken, because a mean over an edge is no depth."""
        image = self._cut(depth)
        if self._resize:
            image = cv2.resize(np.ascontiguousarray(image), self.size, interpolation=cv2.INTER_NEAREST_EXACT)
        return np.ascontiguousarray(image)

    def intrinsics(self, source: Intrinsics) -> Intrinsics:
        """Those of the result."""
        return source.cropped(*self._box).turned(self.config.rotate).resized(*self.size)

    def _cut(self, image: np.ndarray) -> np.ndarray:
        if image.shape[1::-1] != self.source:
            raise DataError(
                f"expected an image of {self.source[0]}x{self.source[1]}, got {image.shape[1]}x{image.shape[0]}",
                field="image",
            )
        x, y, w, h = self._box
        image = image[y : y + h, x : x + w]
        return cv2.rotate(image, _TURNS[self.config.rotate]) if self.config.rotate else image
