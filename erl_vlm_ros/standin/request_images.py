# SPDX-License-Identifier: Apache-2.0
"""How the stand-in looks at a request's images: a strip is cut into its frames, a chart is left aside, and of several
views of one moment it looks at the first."""

from __future__ import annotations

import re

import cv2

from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.feedback.vlm.modalities import PLOT_WORDS
from erl_vlm_ros.feedback.vlm.prompts import VIEWS
from erl_vlm_ros.feedback.vlm.strip import split_strip


def frames_in(text: str, images: list[bytes]) -> list[bytes]:
    """The camera images of a question, in order. ValueError when a strip does not hold what the text says."""
    if PLOT_WORDS in text:
        images = images[:-1]
    several = re.search(VIEWS.format(r"(\d+)"), text)
    if several is not None:
        if len(images) % int(several.group(1)):
            raise ValueError(f"{len(images)} images are no views of {several.group(1)} cameras")
        images = images[: len(images) // int(several.group(1))]
    told = re.search(r"(\d+) consecutive camera images side by side", text)
    if told is None or len(images) != 1:
        return images
    image = decode_image(images[0])
    return [cv2.imencode(".png", frame)[1].tobytes() for frame in split_strip(image, int(told.group(1)))]


def split_frames(text: str, images: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The camera images of each of two situations. ValueError when they do not come in two equal halves."""
    if len(images) < 2 or len(images) % 2:
        raise ValueError(f"{len(images)} images do not belong to two situations alike")
    half = len(images) // 2
    return frames_in(text, images[:half]), frames_in(text, images[half:])
