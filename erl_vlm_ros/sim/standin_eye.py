# SPDX-License-Identifier: Apache-2.0
"""The stand-in's eye: a JPEG in, a description in words out."""

from __future__ import annotations

import cv2
import numpy as np

from erl_vlm_ros.sim import standin_block, standin_drawer, standin_gripper, standin_words
from erl_vlm_ros.sim import standin_scene as scene
from erl_vlm_ros.sim.standin_vision import BLUE, View, cylinder, labels, view

_GRASP_SLACK = 0.012  # m, of the finger gap around a held block
_HEIGHT = 128  # px; larger pictures are reduced to it before they are looked at


def describe(task: str, jpeg: bytes, mirrored: bool = False, share: float = 1.0) -> str:
    """What the picture shows, in words. Raises ValueError when it cannot be decoded.

    Args:
        mirrored: left and right are exchanged in the picture. share: it is this share, 0..1, of the camera image's
            width and height, cut from its middle.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the image cannot be decoded")
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    height, width = image.shape[:2]
    if height > 1.25 * _HEIGHT:
        image = cv2.resize(image, (round(width * _HEIGHT / height), _HEIGHT), interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    return _DESCRIBE[task](view(task, width, height, share), labels(image))


def _drawer(eye: View, seen: np.ndarray) -> str:
    drawer = standin_drawer.look(eye, seen)
    hand = standin_gripper.look(eye, seen, "drawer_open")
    tool = None if hand is None else hand.position
    if drawer is None:
        return standin_words.describe_drawer(None, None, tool, None)
    away = None
    if tool is not None:
        offset = tool - drawer.handle
        offset[1] -= np.clip(offset[1], -scene.DRAWER.limits.handle_half_length, scene.DRAWER.limits.handle_half_length)
        away = float(np.linalg.norm(offset))
    return standin_words.describe_drawer(drawer.opening, drawer.handle, tool, away)


def _sweep(eye: View, seen: np.ndarray) -> str:
    half = scene.SWEEP.block_half
    block = standin_block.look(eye, seen, half, half)
    hand = standin_gripper.look(eye, seen, "sweep_into")
    tool = None if hand is None else hand.position
    if block is None:
        return standin_words.describe_sweep(None, None, tool, None)
    zone = float(np.hypot(*(block.position[:2] - scene.SWEEP.zone)))
    away = None
    if tool is not None:
        c, s = np.cos(block.yaw), np.sin(block.yaw)
        x, y, z = tool - block.position
        outside = np.abs([c * x + s * y, c * y - s * x, z]) - half
        away = float(np.linalg.norm(np.maximum(outside, 0.0)))
    return standin_words.describe_sweep(block.position, zone, tool, away)


def _pick(eye: View, seen: np.ndarray) -> str:
    half, top = scene.PICK.block_half, scene.PICK.plate_height
    hand = standin_gripper.look(eye, seen, "pick_place")
    tool, width = (None, None) if hand is None else (hand.position, hand.width)
    plate = [(cylinder((*scene.PICK.plate, 0.0), (*scene.PICK.plate, top), scene.PICK.plate_radius), BLUE)]
    table = standin_block.look(eye, seen, half, half, in_front=plate)
    if table is None:
        return standin_words.describe_pick(None, "", tool, width)
    # the picture alone leaves open how high the block is: on the table, on the plate, or between the fingers
    places = {"table": table}
    places["plate"] = standin_block.look(eye, seen, half, top + half, behind=plate)
    if np.hypot(*(places["plate"].position[:2] - scene.PICK.plate)) > scene.PICK.plate_radius:
        del places["plate"]
    if hand is not None and abs(width - 2 * half) < _GRASP_SLACK and tool[2] > 2 * half:
        held = standin_block.look(eye, seen, half, tool[2], behind=plate)
        if np.linalg.norm(held.position - tool) < 0.03:
            places["held"] = held
    where = min(places, key=lambda k: places[k].loss - (0.5 if k == "held" else 0.0))
    block = places[where].position
    between = tool is not None and np.linalg.norm(block - tool) < scene.PICK.limits.near
    over = np.hypot(*(block[:2] - scene.PICK.plate)) < scene.PICK.limits.above and block[2] - half > top - 0.005
    if (
        over
        and (where == "plate" or block[2] < top + half + scene.PICK.limits.settled)
        and (width is None or width > scene.PICK.limits.released)
    ):
        phrase = "rests on the plate and the gripper has let it go"
    elif over:
        phrase = "is over the plate, between the fingers"
    elif block[2] - half > scene.PICK.limits.lifted:
        phrase = "is off the table, between the fingers"
    else:
        phrase = "stands on the table" + (" between the fingers" if between else "")
    return standin_words.describe_pick(block, phrase, tool, width)


_DESCRIBE = {"drawer_open": _drawer, "sweep_into": _sweep, "pick_place": _pick}
TASKS = tuple(_DESCRIBE)
