# SPDX-License-Identifier: Apache-2.0
"""Encoders: a frozen map from an image to the numbers that a policy sees beside its proprioception, by name.

The robot side runs them, so no member imports torch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from erl_vlm_ros.common.registry import Registry

CLIP = 5.0  # standard deviations


class Encoder(Protocol):
    """Frozen: the same image gives the same features for as long as ``version`` is the same."""

    image_size: int  # side of its square input, px
    size: int  # how many features an image has
    version: str  # of the weights; features of another version must be encoded again

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 [N, s, s, 3], RGB -> features float32 [N, F]. ValueError for another shape or dtype."""


#: name -> class
ENCODERS: Registry[type] = Registry(
    "encoder",
    {
        "keypoints": "erl_vlm_ros.agents.encoders.keypoints:Keypoints",
        "file": "erl_vlm_ros.agents.encoders.file:FileEncoder",
    },
)


def check_images(images: np.ndarray, side: int) -> None:
    """ValueError unless they are uint8 [N, side, side, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3):
        raise ValueError(f"expected uint8 images [N, {side}, {side}, 3], got {images.dtype} {list(images.shape)}")
