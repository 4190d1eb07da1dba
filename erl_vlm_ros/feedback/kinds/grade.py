# SPDX-License-Identifier: Apache-2.0
"""Grades of a clip from 1 to 5, as reward models give them (RoboReward, arXiv 2601.00675): ``ANSWER: 4``.

A grade becomes a class of the task: of five it is the class itself, of fewer the middle grades are brought together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erl_vlm_ros.feedback.kinds.base import FeedbackKind, Template
from erl_vlm_ros.feedback.kinds.rating import RATING, Rating
from erl_vlm_ros.feedback.vlm.parsing import parse_grade


class Grade(Rating):
    """One grade for a segment, asked for at once and in plain text: such models were trained on one form of answer."""

    name = "grade"
    templates: Mapping[str, Template] = {
        "one_stage": Template(
            "grade", frozenset({"instruction"}), frozenset({"images", "focus", "actions", "measurements", "last_image"})
        )
    }

    @property
    def part(self) -> FeedbackKind:
        """What is learned from is a rating."""
        return RATING

    def schema(self, names: Sequence[str], count: int) -> dict[str, Any]:
        """None: the answer has a form of its own."""
        return {}

    def parse(self, text: str, names: Sequence[str], count: int) -> list[int]:
        """The class that the grade stands for."""
        return [parse_grade(text, len(names))]


GRADE = Grade()
