# SPDX-License-Identifier: Apache-2.0
"""The stand-in's eye: a JPEG in, a description in words out."""

from __future__ import annotations

import cv2
import numpy as np

from erl_vlm_ros.sim import standin_drawer, standin_gripper, standin_words
from erl_vlm_ros.sim import standin_scene as scene
from erl_vlm_ros.sim.standin_vision import View, labels, view

_HEIGHT = 128  # px; larger pictures are reduced to it before they are looked at


def describe(task: str, jpeg: bytes) -> str:
    """What the picture shows, in words. Raises ValueError when it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the image cannot be decoded")
    height, width = image.shape[:2]
    if height > 1.25 * _HEIGHT:
        image = cv2.resize(image, (round(width * _HEIGHT / height), _HEIGHT), interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    return _DESCRIBE[task](view(task, width, height), labels(image))


def _drawer(eye: View, seen: np.ndarray) -> str:
    drawer = standin_drawer.look(eye, seen)
    hand = standin_gripper.look(eye, seen, "drawer_open")
    if drawer is None:
        return standin_words.describe_drawer(None, None, hand and hand.position, None)
    away = None
    if hand is not None:
        offset = hand.position - drawer.handle
        offset[1] -= np.clip(offset[1], -scene.HANDLE_REACH, scene.HANDLE_REACH)
        away = float(np.linalg.norm(offset))
    return standin_words.describe_drawer(drawer.opening, drawer.handle, None if hand is None else hand.position, away)


_DESCRIBE = {"drawer_open": _drawer}
TASKS = tuple(_DESCRIBE)
