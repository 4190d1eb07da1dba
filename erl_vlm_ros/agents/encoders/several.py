# SPDX-License-Identifier: Apache-2.0
"""An encoder for each of several cameras: their features one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.agents.encoders import Encoder
from erl_vlm_ros.data.views import split_views


@dataclass(frozen=True)
class SeveralViews:
    """``encoders``: of each camera, in order, for images of one size. ValueError: fewer than two, or sizes differ."""

    encoders: tuple[Encoder, ...]

    def __post_init__(self) -> None:
        sizes = {encoder.image_size for encoder in self.encoders}
        if len(self.encoders) < 2 or len(sizes) != 1:
            raise ValueError(f"{len(self.encoders)} encoders for images of {sorted(sizes)} px; two or more of one size")

    @property
    def image_size(self) -> int:
        """Side of each camera's image, px."""
        return self.encoders[0].image_size

    @property
    def size(self) -> int:
        """Features of all cameras together."""
        return sum(encoder.size for encoder in self.encoders)

    @property
    def version(self) -> str:
        """Of all encoders."""
        return hashlib.sha256(" ".join(encoder.version for encoder in self.encoders).encode()).hexdigest()[:16]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 [N, s * C, s, 3], RGB, the cameras below each other -> float32 [N, F]. ValueError: as theirs."""
        parts = zip(self.encoders, split_views(images, len(self.encoders)))
        return np.hstack([encoder.encode(np.ascontiguousarray(part)) for encoder, part in parts])


def encoder_of(encoders: Sequence[Encoder]) -> Encoder:
    """One encoder as it is, several together."""
    return encoders[0] if len(encoders) == 1 else SeveralViews(tuple(encoders))
