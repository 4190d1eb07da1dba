# SPDX-License-Identifier: Apache-2.0
"""Other ways to ask about the same segment: another wording, a mirrored image, a detail of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.views import changed

_QUALITY = 95  # of the image that is encoded again


@dataclass(frozen=True)
class Variation:
    """``prompts``: the set in config/prompts that tells what was done to the image.

    mirror: left and right exchanged. share: this share of the image's sides, 0..1, cut from its middle and enlarged.
    """

    name: str
    prompts: str
    mirror: bool = False
    share: float = 1.0

    def image(self, jpeg: bytes) -> bytes:
        """The varied image as JPEG of the same size. ValueError when it cannot be decoded."""
        if not self.mirror and self.share == 1.0:
            return jpeg
        image = decode_image(jpeg)
        height, width = image.shape[:2]
        if self.share < 1.0:
            top, left = round(height * (1 - self.share) / 2), round(width * (1 - self.share) / 2)
            image = image[top : height - top, left : width - left]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        if self.mirror:
            image = image[:, ::-1]
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

    def segment(self, segment: Segment) -> Segment:
        """The segment with varied images; all else is kept."""
        return replace(segment, jpegs=[changed(frame, self.image) for frame in segment.jpegs])


#: the shares stand in the prompt sets, too: a model that is not told what it sees misjudges distances
VARIATIONS = {
    v.name: v
    for v in (
        Variation("reworded", "reworded"),
        Variation("mirrored", "mirrored", mirror=True),
        Variation("detail", "detail", share=0.85),
    )
}


def variations(names: list[str]) -> list[Variation]:
    """The variations of these names. ConfigError for an unknown one or one named twice."""
    unknown = [name for name in names if name not in VARIATIONS]
    if unknown:
        text = f"variation '{unknown[0]}' is unknown; choose from {', '.join(VARIATIONS)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="vlm_rater.rerate.variations")
    if len(set(names)) != len(names):
        raise ConfigError(f"variations {names}: one is named twice", parameter="vlm_rater.rerate.variations")
    return [VARIATIONS[name] for name in names]
