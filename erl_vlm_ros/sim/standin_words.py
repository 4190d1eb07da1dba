# SPDX-License-Identifier: Apache-2.0
"""From what was seen to words, and from words alone to a rung of the task: the stand-in's two stages.

The second stage reads numbers and phrases back from the text of the first, so it knows what the text says and no more.
Lengths are metres in the code and centimetres in the words.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

#: n -> class of each of the five rungs, worst first, as the task files describe them
MERGE = {2: (0, 0, 0, 0, 1), 3: (0, 0, 1, 1, 2), 4: (0, 1, 2, 2, 3), 5: (0, 1, 2, 3, 4)}

# what the class descriptions mean, cm
DRAWER_CRACK, DRAWER_HALF, DRAWER_DONE, HANDLE_NEAR = 1.5, 7.0, 15.0, 6.0
ZONE_APPROACHED, ZONE_EDGE, ZONE_INSIDE, BLOCK_NEAR = 14.5, 10.5, 5.0, 4.5

CELL_CM = 8.0  # size of the kinds of view that systematic errors belong to

_KEYWORDS = {
    "drawer_open": ("drawer", "handle", "cabinet"),
    "sweep_into": ("push", "sweep", "zone"),
    "pick_place": ("pick", "plate", "put it down", "lift"),
}
_PLACE = r"x (-?[\d.]+), y (-?[\d.]+)(?:, z (-?[\d.]+))? cm"


def task_of(prompt: str) -> str | None:
    """The task that a prompt talks about, by its words; None when it speaks of none of the three."""
    low = prompt.lower()
    score = {task: sum(low.count(word) for word in words) for task, words in _KEYWORDS.items()}
    best = max(score, key=lambda task: score[task])
    return best if score[best] else None


# -- stage 1: words ---------------------------------------------------------------------------------------------


def describe_drawer(opening: float | None, handle: Sequence[float] | None, tool: Sequence[float] | None, away: float | None) -> str:
    """Words for the drawer task; None for what is not visible. ``away``: gripper to handle, m."""
    lines = []
    if opening is None:
        lines.append("The drawer is not visible.")
    else:
        cm = 100 * opening
        how = "closed" if cm < DRAWER_CRACK else "open by a crack" if cm < DRAWER_HALF else "about half open"
        how = "open all the way or nearly so" if cm >= DRAWER_DONE else how
        lines.append(f"The drawer is {cm:.1f} cm open, that is, {how}.")
        lines.append(f"Its red handle is at {_place(handle)}.")
    lines.append(_tool(tool) + ("" if away is None or tool is None else f" It is {100 * away:.1f} cm from the handle."))
    return " ".join(lines)


def describe_sweep(block: Sequence[float] | None, zone: float | None, tool: Sequence[float] | None, away: float | None) -> str:
    """Words for the sweep task. ``zone``: block's centre to zone's centre; ``away``: gripper to the block's surface."""
    if block is None:
        return "The red block is not visible. " + _tool(tool)
    cm = 100 * zone
    how = "well away from it" if cm >= ZONE_APPROACHED else "close to it" if cm >= ZONE_EDGE else "over its edge"
    how = "inside it" if cm < ZONE_INSIDE else how
    text = f"The red block is at {_place(block)}. It is {cm:.1f} cm from the middle of the zone, that is, {how}. " + _tool(tool)
    return text if away is None or tool is None else f"{text} It is {100 * away:.1f} cm from the block's surface."


def describe_pick(block: Sequence[float] | None, where: str, tool: Sequence[float] | None, width: float | None) -> str:
    """Words for pick and place. ``where``: a phrase that says what the block rests on or who holds it."""
    text = "The red block is not visible. " if block is None else f"The red block is at {_place(block)}. It {where}. "
    return text + _tool(tool) + ("" if width is None or tool is None else f" Its fingers are {100 * width:.1f} cm apart.")


def _tool(tool: Sequence[float] | None) -> str:
    return "The green gripper is not visible." if tool is None else f"The green gripper's tool point is at {_place(tool)}."


def _place(point: Sequence[float]) -> str:
    return ", ".join(f"{axis} {100 * value:.1f}" for axis, value in zip("xyz", point)) + " cm"


# -- stage 2: reading the words -----------------------------------------------------------------------------------


def rung(task: str, text: str) -> int:
    """0 (worst) .. 4 (done) from a description. What is not visible counts as not achieved."""
    return {"drawer_open": _drawer_rung, "sweep_into": _sweep_rung, "pick_place": _pick_rung}[task](text)


def _drawer_rung(text: str) -> int:
    opening = _number(r"drawer is (-?[\d.]+) cm open", text)
    if opening is not None and opening >= DRAWER_CRACK:
        return 2 + (opening >= DRAWER_HALF) + (opening >= DRAWER_DONE)
    distance = _number(r"([\d.]+) cm from the handle", text)
    return int(distance is not None and distance < HANDLE_NEAR)


def _sweep_rung(text: str) -> int:
    zone = _number(r"([\d.]+) cm from the middle of the zone", text)
    if zone is not None and zone < ZONE_APPROACHED:
        return 2 + (zone < ZONE_EDGE) + (zone < ZONE_INSIDE)
    distance = _number(r"([\d.]+) cm from the block's surface", text)
    return int(distance is not None and distance < BLOCK_NEAR)


def _pick_rung(text: str) -> int:
    if "rests on the plate" in text:
        return 4
    if "over the plate" in text:
        return 3
    if "off the table" in text:
        return 2
    return int("between the fingers" in text)


def cell(task: str, text: str) -> str:
    """The kind of view: where the gripper and the object are described to be, in cells of CELL_CM."""
    numbers = []
    for thing in ("tool point", "red block"):
        found = re.search(f"{thing} is at {_PLACE}", text)
        numbers.append([math.floor(float(v) / CELL_CM) for v in found.groups() if v] if found else None)
    opening = _number(r"drawer is (-?[\d.]+) cm open", text)
    numbers.append(None if opening is None else math.floor(opening / CELL_CM))
    return f"{task}{numbers}"


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but ``parts``: the same question gets the same luck."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def _number(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found.group(1)) if found else None
