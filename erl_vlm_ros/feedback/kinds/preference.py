# SPDX-License-Identifier: Apache-2.0
"""Which of two segments is better: RL-VLM-F (arXiv 2402.03681) and PLARE (arXiv 2507.23391).

The classes are 0, the first segment is preferred; 1, the second; 2, no preference. The last is an answer like the
others, paid for and counted, but nothing is learned from it. Answers are words, not the papers' 0, 1 and -1: a model
that says "1" may mean the first of two images as well as answer 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.tasks import RatingClass, Task
from erl_vlm_ros.data.pairs import select_pairs
from erl_vlm_ros.data.query import Query
from erl_vlm_ros.data.selection import Candidates, SelectionConfig
from erl_vlm_ros.feedback.kinds.base import FeedbackKind, Template
from erl_vlm_ros.feedback.vlm.parsing import choice_schema, parse_choice

FIRST, SECOND, NO_PREFERENCE = 0, 1, 2
SAME = 0.05  # difference of true progress, of 0 to 1, below which neither segment is preferred
NAMES = ("First", "Second", "No preference")
KEY = "preference"  # of the JSON object that an endpoint with schemas answers
#: other words for the classes; a bare number is none of them
ALIASES = {
    "first image": FIRST, "first one": FIRST, "first situation": FIRST, "first video": FIRST,
    "second image": SECOND, "second one": SECOND, "second situation": SECOND, "second video": SECOND,
    "neither": NO_PREFERENCE, "no difference": NO_PREFERENCE,
}  # fmt: skip
_ASKED = frozenset({"focus", "actions", "measurements", "last_image", "comparison"})


class Preference(FeedbackKind):
    """One answer for two segments of equal length."""

    name = "preference"
    size = 2
    captions = ("First:", "Second:")
    templates: Mapping[str, Template] = {
        "analysis": Template("analysis_preference", frozenset({"images", "instruction"}), _ASKED),
        "rating": Template(
            "preference", frozenset({"analysis", "instruction", "classes"}),
            frozenset({"images", "last_image", "focus", "comparison"}),
        ),
        "one_stage": Template("one_stage_preference", frozenset({"images", "instruction", "classes"}), _ASKED),
    }  # fmt: skip

    def draw(
        self, candidates: Candidates, count: int, config: SelectionConfig, rng: np.random.Generator
    ) -> list[tuple[int, ...]]:
        """Pairs of frames as ``selection.pairs`` says."""
        return list(select_pairs(candidates, count, config, rng))

    def classes(self, task: Task, n_classes: int = 0) -> list[RatingClass]:
        """The same for every task; ``n_classes`` is that of its ratings."""
        told = ("the first is better", "the second is better", "they are equally good, or it cannot be judged")
        return [RatingClass(name, description) for name, description in zip(NAMES, told)]

    def words(self, n_images: int, strip: bool) -> dict[str, str]:
        """What is shown of each, and in which way they are compared."""
        several = n_images > 1
        images = f"{n_images} consecutive camera images of each" if several else "a camera image of each"
        if several and strip:
            images = f"of each one picture with {n_images} consecutive camera images side by side"
        return {
            "images": images,
            "last_image": "the images" if several else "the image",
            "comparison": "makes better progress towards" if several else "is closer to",
        }

    def schema(self, names: Sequence[str], count: int) -> dict[str, Any]:
        """One of the names, under ``preference``."""
        return choice_schema(KEY, list(names))

    def parse(self, text: str, names: Sequence[str], count: int) -> list[int]:
        """The one class that the answer states."""
        return [parse_choice(text, list(names), ALIASES)]

    def truth(self, truths: Sequence[Mapping[str, float]], n_classes: int) -> int:
        """Which made more progress: at its frame, or on average over its frames where it has several."""
        first, second = (t.get("mean_progress", t["progress"]) for t in truths)
        if abs(second - first) < SAME:
            return NO_PREFERENCE
        return SECOND if second > first else FIRST

    def mistake(self, value: int, n_classes: int, rng: np.random.Generator) -> int:
        """The other side; instead of no preference, either."""
        return int(rng.integers(2)) if value == NO_PREFERENCE else 1 - value

    def mistakes(self, n_classes: int) -> np.ndarray:
        """See ``mistake``."""
        return np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])

    def teaches(self, value: int) -> bool:
        """No preference says nothing about which is better."""
        return value in (FIRST, SECOND)

    def text(self, value: int, names: Sequence[str], reason: str = "") -> str:
        """A label in words."""
        return super().text(value, names, reason).replace("no rating", "no answer")


PREFERENCE = Preference()


def swapped(query: Query) -> Query:
    """The same two segments in the other order."""
    first, second = query
    return Query(second, first)


def swapped_back(value: int) -> int:
    """The label of a query from that of the swapped one; no preference and no label stay what they are."""
    return 1 - value if value in (FIRST, SECOND) else value
