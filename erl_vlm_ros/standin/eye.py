# SPDX-License-Identifier: Apache-2.0
"""The stand-in's eye: a JPEG in, a description in words out."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.standin import (
    block as standin_block,
)
from erl_vlm_ros.standin import (
    drawer as standin_drawer,
)
from erl_vlm_ros.standin import (
    gripper as standin_gripper,
)
from erl_vlm_ros.standin import scene as scene
from erl_vlm_ros.standin import (
    words as standin_words,
)
from erl_vlm_ros.standin.vision import BLUE, View, cylinder, labels, view

if TYPE_CHECKING:
    from erl_vlm_ros.standin.robot_arm import RobotArm

_GRASP_SLACK = 0.012  # m, of the finger gap around a held block
_HEIGHT = 128  # px; larger images are reduced to it before they are looked at


def describe(task: str, jpeg: bytes, mirrored: bool = False, share: float = 1.0, robot: str = "") -> str:
    """What the image shows, in words. Raises ValueError when it cannot be decoded.

    Args:
        mirrored: left and right are exchanged in the image. share: it is this share, 0..1, of the camera image's
            width and height, cut from its middle. robot: file of the robot that stands in the scene; empty: our arm.
    """
    image = decode_image(jpeg)
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    height, width = image.shape[:2]
    if height > 1.25 * _HEIGHT:
        image = cv2.resize(image, (round(width * _HEIGHT / height), _HEIGHT), interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    return _DESCRIBE[task](view(task, width, height, share), labels(image), robot_arm(robot, task))


@lru_cache(maxsize=4)
def robot_arm(robot: str, task: str) -> RobotArm | None:
    """The arm of a robot file; None for our own, which is known by its measures."""
    if not robot:
        return None
    from erl_vlm_ros.standin.robot_arm import RobotArm  # loads MuJoCo

    return RobotArm(robot, task)


def _drawer(eye: View, seen: np.ndarray, arm: RobotArm | None) -> str:
    drawer = standin_drawer.look(eye, seen)
    gripper = standin_gripper.look(eye, seen, "drawer_open", arm)
    tool = None if gripper is None else gripper.position
    if drawer is None:
        return standin_words.describe_drawer(None, None, tool, None)
    away = None
    if tool is not None:
        offset = tool - drawer.handle
        offset[1] -= np.clip(offset[1], -scene.DRAWER.limits.handle_half_length, scene.DRAWER.limits.handle_half_length)
        away = float(np.linalg.norm(offset))
    return standin_words.describe_drawer(drawer.opening, drawer.handle, tool, away)


def _sweep(eye: View, seen: np.ndarray, arm: RobotArm | None) -> str:
    half = scene.SWEEP.block_half
    block = standin_block.look(eye, seen, half, half)
    gripper = standin_gripper.look(eye, seen, "sweep_into", arm)
    tool = None if gripper is None else gripper.position
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


def _pick(eye: View, seen: np.ndarray, arm: RobotArm | None) -> str:
    half, top = scene.PICK.block_half, scene.PICK.plate_height
    gripper = standin_gripper.look(eye, seen, "pick_place", arm)
    tool, width = (None, None) if gripper is None else (gripper.position, gripper.width)
    plate = [(cylinder((*scene.PICK.plate, 0.0), (*scene.PICK.plate, top), scene.PICK.plate_radius), BLUE)]
    table = standin_block.look(eye, seen, half, half, in_front=plate)
    if table is None:
        return standin_words.describe_pick(None, "", tool, width)
    # the image alone leaves open how high the block is: on the table, on the plate, or between the fingers
    places = {"table": table}
    places["plate"] = standin_block.look(eye, seen, half, top + half, behind=plate)
    if np.hypot(*(places["plate"].position[:2] - scene.PICK.plate)) > scene.PICK.plate_radius:
        del places["plate"]
    if gripper is not None and abs(width - 2 * half) < _GRASP_SLACK and tool[2] > 2 * half:
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
