# SPDX-License-Identifier: Apache-2.0
"""From what was seen to words, and from words alone to a rung of the task: the stand-in's two stages.

The second stage reads numbers and phrases back from the text of the first, so it knows what the text says and
no more. Lengths are metres in the code and centimetres in the words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Union

from erl_vlm_ros.standin import scene as scene

#: n -> class of each of the five rungs, worst first, as the task files describe them
MERGE = {2: (0, 0, 0, 0, 1), 3: (0, 0, 1, 1, 2), 4: (0, 1, 2, 2, 3), 5: (0, 1, 2, 3, 4)}

_DRAWER, _SWEEP = scene.DRAWER.limits, scene.SWEEP.limits  # what the class descriptions mean, m
_DRAWER_WORDS = ("closed", "open by a crack", "about half open", "open all the way or nearly so")
_ZONE_WORDS = ("inside it", "over its edge", "close to it", "well away from it")
_KEYWORDS = {
    "drawer_open": ("drawer", "handle", "cabinet"),
    "sweep_into": ("push", "sweep", "zone"),
    "pick_place": ("pick", "plate", "put it down", "lift"),
}
_PULL_N = 10.0  # N, a force that shows a drawer to be pulled, not pushed
_FAR = 0.4  # m: farther away is not told apart
_PLACE = r"x (-?[\d.]+), y (-?[\d.]+)(?:, z (-?[\d.]+))? cm"

Place = Union[Sequence[float], None]  # noqa: UP007 (evaluated by Python 3.10); None: not visible


def task_of(prompt: str) -> str | None:
    """The task that a prompt talks about, by its words; None when it speaks of none of the three."""
    low = prompt.lower()
    score = {task: sum(low.count(word) for word in words) for task, words in _KEYWORDS.items()}
    best = max(score, key=lambda task: score[task])
    return best if score[best] else None


# -- stage 1: words --------------------------------------------------------------------------------------


def describe_drawer(opening: float | None, handle: Place, tool: Place, away: float | None) -> str:
    """Words for the drawer task; None for what is not visible. ``away``: gripper to handle, m."""
    if opening is None or handle is None:
        return "The drawer is not visible. " + _tool(tool)
    how = _step(opening, (_DRAWER.crack, _DRAWER.half, _DRAWER.done), _DRAWER_WORDS)
    text = f"The drawer is {100 * opening:.1f} cm open, that is, {how}. "
    text += f"Its red handle is at {_place(handle)}. " + _tool(tool)
    return text if away is None else f"{text} It is {100 * away:.1f} cm from the handle."


def describe_sweep(block: Place, zone: float | None, tool: Place, away: float | None) -> str:
    """Words for the sweep task. ``zone``: from block's to zone's centre; ``away``: gripper to block, m."""
    if block is None or zone is None:
        return "The red block is not visible. " + _tool(tool)
    how = _step(zone, (_SWEEP.done, _SWEEP.edge, _SWEEP.approached), _ZONE_WORDS)
    text = f"The red block is at {_place(block)}. It is {100 * zone:.1f} cm from the middle of the zone, "
    text += f"that is, {how}. " + _tool(tool)
    return text if away is None else f"{text} It is {100 * away:.1f} cm from the block's surface."


def describe_pick(block: Place, where: str, tool: Place, width: float | None) -> str:
    """Words for pick and place. ``where``: a phrase that says what the block rests on or who holds it."""
    seen = "The red block is not visible. " if block is None else f"The red block is at {_place(block)}. It {where}. "
    text = seen + _tool(tool)
    return text if width is None else f"{text} Its fingers are {100 * width:.1f} cm apart."


def hidden(task: str, description: str, prompt: str) -> str:
    """A description without what the gripper hides: near its handle, a drawer's opening below the half. The force along
    the tool's x that a prompt tells of (the last image's) says whether the drawer pulls back."""
    if task != "drawer_open" or rung(task, description) not in (1, 2):
        return description
    distance = _metres(r"([\d.]+) cm from the handle", description)
    if distance is None or distance >= _DRAWER.near:
        return description
    told = re.search(r"^- force x: (?:.*, )?(-?[\d.]+) N$", prompt, re.MULTILINE)
    seen = re.sub(r"The drawer is .*?\. (?=Its)", "The gripper hides how far the drawer is open. ", description)
    return seen if told is None else f"{seen} The drawer pulls it back with {-float(told.group(1)):.1f} N."


def _step(value: float, limits: Sequence[float], names: Sequence[str]) -> str:
    """The name of the step that a value is on; ``limits`` ascending, one fewer than names."""
    return names[sum(value >= limit for limit in limits)]


def _tool(tool: Place) -> str:
    if tool is None:
        return "The green gripper is not visible."
    return f"The green gripper's tool point is at {_place(tool)}."


def _place(point: Sequence[float]) -> str:
    return ", ".join(f"{axis} {100 * value:.1f}" for axis, value in zip("xyz", point)) + " cm"


# -- stage 2: reading the words --------------------------------------------------------------------------


def rung(task: str, text: str) -> int:
    """0 (worst) .. 4 (done) from a description. What is not visible counts as not achieved."""
    return {"drawer_open": _drawer_rung, "sweep_into": _sweep_rung, "pick_place": _pick_rung}[task](text)


def within(task: str, text: str) -> float:
    """How far a description is on its rung, 0 to below 1, by what it measures; 0 where it measures nothing."""
    level = rung(task, text)
    if task == "drawer_open" and level >= 2:
        opening = _metres(r"drawer is (-?[\d.]+) cm open", text)
        low, high = [(_DRAWER.crack, _DRAWER.half), (_DRAWER.half, _DRAWER.done), (_DRAWER.done, 2 * _DRAWER.done)][
            level - 2
        ]
        return min(max((opening - low) / (high - low), 0.0), 0.99)
    if task == "sweep_into" and level >= 2:
        zone = _metres(r"([\d.]+) cm from the middle of the zone", text)
        low, high = [(_SWEEP.edge, _SWEEP.approached), (_SWEEP.done, _SWEEP.edge), (0.0, _SWEEP.done)][level - 2]
        return min(max((high - zone) / (high - low), 0.0), 0.99)
    away = _metres(r"([\d.]+) cm from the (?:handle|block's surface)", text)
    if away is None:
        return 0.0
    near = {"drawer_open": _DRAWER.near, "sweep_into": _SWEEP.near}.get(task, 0.0)
    low, high = (0.0, near) if level == 1 and near else (near, near + _FAR)
    return min(max((high - away) / (high - low), 0.0), 0.99)


def _drawer_rung(text: str) -> int:
    opening = _metres(r"drawer is (-?[\d.]+) cm open", text)
    if opening is not None and opening >= _DRAWER.crack:
        return 2 + (opening >= _DRAWER.half) + (opening >= _DRAWER.done)
    pull = re.search(r"The drawer pulls it back with (-?[\d.]+) N", text)
    if pull is not None and float(pull.group(1)) >= _PULL_N:
        return 2
    distance = _metres(r"([\d.]+) cm from the handle", text)
    return int(distance is not None and distance < _DRAWER.near)


def _sweep_rung(text: str) -> int:
    zone = _metres(r"([\d.]+) cm from the middle of the zone", text)
    if zone is not None and zone < _SWEEP.approached:
        return 2 + (zone < _SWEEP.edge) + (zone < _SWEEP.done)
    distance = _metres(r"([\d.]+) cm from the block's surface", text)
    return int(distance is not None and distance < _SWEEP.near)


def _pick_rung(text: str) -> int:
    if "It rests on the plate" in text:
        return 4
    if "It is over the plate" in text:
        return 3
    if "It is off the table" in text:
        return 2
    return int("It stands on the table between the fingers" in text)


def cell(task: str, text: str, size_cm: float) -> str:
    """The view cluster: where gripper and object are described to be, in cells of ``size_cm``."""
    numbers: list[object] = []
    for thing in ("tool point", "red block"):
        found = re.search(f"{thing} is at {_PLACE}", text)
        numbers.append([math.floor(float(v) / size_cm) for v in found.groups() if v] if found else None)
    opening = _metres(r"drawer is (-?[\d.]+) cm open", text)
    numbers.append(None if opening is None else math.floor(100 * opening / size_cm))
    return f"{task}{numbers}"


# -- what tells the variations of a question apart --------------------------------------------------------


def treatment(prompt: str) -> tuple[bool, float]:
    """(mirrored, share of the camera image's width and height) of the image, as the prompt says."""
    mirrored = re.search(r"\bmirrored left to right\b", prompt) is not None
    share = re.search(r"\bcut from the middle of the camera image, (\d+)% of its width and height", prompt)
    return mirrored, float(share.group(1)) / 100 if share else 1.0


def wording(prompt: str) -> str:
    """How a prompt asks for the rating: its last question, without numbers, so that all segments share it."""
    text = re.sub(r"<analysis>.*?</analysis>", "", prompt, flags=re.DOTALL)
    end = text.rfind("?")
    start = max(text.rfind("\n", 0, max(end, 0)), text.rfind("?", 0, max(end, 0))) + 1
    return re.sub(r"\d+", "#", text[start : end + 1]).strip() if end >= 0 else ""


def _metres(pattern: str, text: str) -> float | None:
    """The number of centimetres at a pattern's group, in metres."""
    found = re.search(pattern, text)
    return float(found.group(1)) / 100 if found else None
