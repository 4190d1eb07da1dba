# SPDX-License-Identifier: Apache-2.0
"""Ratings of each transition of a segment: H - 1 for the price of one question, each for the frame it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erl_vlm_ros.data.query import Query
from erl_vlm_ros.data.segment import transitions
from erl_vlm_ros.feedback.kinds.base import FeedbackKind, Template
from erl_vlm_ros.feedback.kinds.rating import RATING, Rating
from erl_vlm_ros.feedback.vlm.parsing import parse_ratings, ratings_schema

_ASKED = frozenset({"focus", "actions", "measurements"})


class Transitions(Rating):
    """A class for each transition of a segment; its parts are segments of one frame, each with a rating of its own."""

    name = "transitions"
    min_frames = 2
    templates: Mapping[str, Template] = {
        "analysis": Template("analysis_transitions", frozenset({"images", "instruction"}), _ASKED | {"steps"}),
        "rating": Template(
            "rating_transitions", frozenset({"analysis", "instruction", "classes", "steps"}),
            frozenset({"images", "focus"}),
        ),
        "one_stage": Template(
            "one_stage_transitions", frozenset({"images", "instruction", "classes", "steps"}), _ASKED
        ),
    }  # fmt: skip

    @property
    def part(self) -> FeedbackKind:
        """A rating."""
        return RATING

    def parts(self, query: Query) -> list[Query]:
        """The H - 1 frames that the transitions lead to."""
        self.check(query)
        return [Query(part) for part in transitions(query[0])]

    def labels_a_query(self, frames: int) -> int:
        """One for each transition."""
        return max(frames - 1, 1)

    def schema(self, names: Sequence[str], count: int) -> dict[str, Any]:
        """A name for each step, under ``step_1`` .. ``step_N``."""
        return ratings_schema(list(names), count)

    def parse(self, text: str, names: Sequence[str], count: int) -> list[int]:
        """The class of each step."""
        return parse_ratings(text, list(names), count)


TRANSITIONS = Transitions()
