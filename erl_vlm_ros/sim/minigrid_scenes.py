# SPDX-License-Identifier: Apache-2.0
"""MiniGrid's scenes that are played here, their words, and what counts as near. Without the package."""

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


def classes_by_nearness(progress: float, success: bool) -> dict[str, float]:
    """class_n for n = 2..5, worst 0: the top one is success, the others equal shares of nearness in [0, 1]."""
    return {f"class_{n}": float(n - 1 if success else min(int(progress * (n - 1)), n - 2)) for n in (2, 3, 4, 5)}
