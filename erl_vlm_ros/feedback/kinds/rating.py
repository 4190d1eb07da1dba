# SPDX-License-Identifier: Apache-2.0
"""Rating of a segment: one of the task's n classes, worst first, for its last frame (ERL-VLM, arXiv 2506.12822)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.tasks import RatingClass, Task
from erl_vlm_ros.data.query import NO_LABEL
from erl_vlm_ros.data.selection import Candidates, SelectionConfig, select
from erl_vlm_ros.feedback.kinds.base import FeedbackKind, Template
from erl_vlm_ros.feedback.vlm.parsing import parse_rating, rating_schema

_ASKED = frozenset({"focus", "actions", "measurements", "last_image"})


class Rating(FeedbackKind):
    """One class for a segment."""

    name = "rating"
    templates: Mapping[str, Template] = {
        "analysis": Template("analysis", frozenset({"images", "instruction"}), _ASKED),
        "rating": Template(
            "rating", frozenset({"analysis", "instruction", "classes"}), frozenset({"images", "last_image", "focus"})
        ),
        "one_stage": Template("one_stage", frozenset({"images", "instruction", "classes"}), _ASKED),
    }

    def draw(
        self, candidates: Candidates, count: int, config: SelectionConfig, rng: np.random.Generator
    ) -> list[tuple[int, ...]]:
        """Frames by novelty, level of predicted reward and doubt: see ``select``."""
        return [(int(i),) for i in select(candidates, count, config, rng)]

    def classes(self, task: Task, n_classes: int = 0) -> list[RatingClass]:
        """The task's, worst first."""
        n = n_classes or task.n_classes
        task.class_names(n)  # raises when the task does not describe n classes
        return list(task.classes[n])

    def schema(self, names: Sequence[str], count: int) -> dict[str, Any]:
        """One of the names, under ``rating``."""
        return rating_schema(list(names))

    def parse(self, text: str, names: Sequence[str], count: int) -> list[int]:
        """The one class that the answer states."""
        return [parse_rating(text, list(names))]

    def truth(self, truths: Sequence[Mapping[str, float]], n_classes: int) -> int:
        """The true class among n of the last frame."""
        return int(truths[-1][f"class_{n_classes}"])

    def stakes(self, values: np.ndarray, n_classes: int) -> np.ndarray:
        """A policy moves to where the ratings are too high: the higher, the more harm. No rating: a middling one."""
        return np.where(values == NO_LABEL, 0.5, values / (n_classes - 1))


RATING = Rating()
