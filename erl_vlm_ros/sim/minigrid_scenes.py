# SPDX-License-Identifier: Apache-2.0
"""MiniGrid's scenes that are played here, their words, and how a step is classed. Without the package."""

from __future__ import annotations

from dataclasses import dataclass, replace

from erl_vlm_ros.data.text import BagOfWords

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("door", "key", "ball", "box")
WORDS = BagOfWords(("go", "to", "the", "a", "get", "fetch", "you", "must", *COLORS, *KINDS))
#: in MiniGrid's order
ACTIONS = (
    "turn left", "turn right", "go forward", "pick up what is in front", "put down what is carried",
    "open or shut what is in front", "say that the mission is done",
)  # fmt: skip
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE, DONE = range(7)


@dataclass(frozen=True)
class Level:
    """An environment of MiniGrid.

    environment: its registered name. facing: the last step is made in front of the target, else on any side of it.
    last: what is done there; None: being there is all.
    target: the one color and kind that missions may name; None: any.
    """

    environment: str
    facing: bool
    last: int | None
    target: tuple[str, str] | None = None


_GO_TO = {"5x5": "BabyAI-GoToLocalS5N2-v0", "6x6": "BabyAI-GoToLocalS6N2-v0", "8x8": "BabyAI-GoToLocalS8N2-v0"}
_FETCH = {"5x5": "MiniGrid-Fetch-5x5-N2-v0", "6x6": "MiniGrid-Fetch-6x6-N2-v0", "8x8": "MiniGrid-Fetch-8x8-N3-v0"}
SIZES = tuple(_GO_TO)
#: of the three missions that one policy learns, as ALFRED's tasks have one instruction each
TARGETS = {"GoToDoor": ("red", "door"), "GoToLocal": ("green", "ball"), "Fetch": ("blue", "key")}
SCENES: dict[str, tuple[Level, ...]] = {}
for _size in SIZES:
    _levels = {
        "GoToDoor": Level(f"MiniGrid-GoToDoor-{_size}-v0", False, DONE),
        "GoToLocal": Level(_GO_TO[_size], True, None),
        "Fetch": Level(_FETCH[_size], True, PICK_UP),
    }
    SCENES |= {f"{name}-{_size}": (level,) for name, level in _levels.items()}
    SCENES[f"all-{_size}"] = tuple(_levels.values())
    SCENES[f"three-{_size}"] = tuple(replace(level, target=TARGETS[name]) for name, level in _levels.items())


def classes_of_step(nearer: int, done: bool, over: bool) -> dict[str, float]:
    """class_n for n = 2..5, worst 0, of the step that led here, as ERL-VLM's teacher rates each transition.

    nearer: steps that are left to the mission's end, fewer than before. done: it is completed. over: it can not be
    completed any more. What counts as near is what the step changed, not where it ended: standing beside the target
    would else be worth half of being done, for ever, and what may end a mission badly is never tried.
    """
    if done:
        classes = (1, 2, 3, 4)
    elif over:
        classes = (0, 0, 0, 0)
    else:
        classes = (0, int(nearer > 0), (nearer > 0) + (nearer >= 0), 2 + (nearer > 0) - (nearer < 0))
    return {f"class_{n}": float(value) for n, value in zip((2, 3, 4, 5), classes)}
