# SPDX-License-Identifier: Apache-2.0
"""How the stand-in looks at a request's pictures: a strip is cut into its frames, a chart is left aside."""

from __future__ import annotations

import re

import cv2
import numpy as np

from erl_vlm_ros.feedback.modalities import PLOT_WORDS
from erl_vlm_ros.feedback.strip import split_strip


def frames_in(text: str, images: list[bytes]) -> list[bytes]:
    """The camera images of a question, in order. ValueError when a strip does not hold what the text says."""
    if PLOT_WORDS in text:
        images = images[:-1]
    told = re.search(r"(\d+) consecutive camera images side by side", text)
    if told is None or len(images) != 1:
        return images
    picture = cv2.imdecode(np.frombuffer(images[0], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the image cannot be decoded")
    return [cv2.imencode(".png", frame)[1].tobytes() for frame in split_strip(picture, int(told.group(1)))]
