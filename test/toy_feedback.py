# SPDX-License-Identifier: Apache-2.0
"""A kind of feedback from outside the package: a coin is flipped for each of two frames, and one question asks both."""

from __future__ import annotations

import json

from erl_vlm_ros.common.tasks import RatingClass
from erl_vlm_ros.data.query import NO_LABEL
from erl_vlm_ros.feedback.kinds import FeedbackKind
from erl_vlm_ros.feedback.kinds.base import Template
from erl_vlm_ros.feedback.vlm.parsing import NoRating

_FIELDS = frozenset({"images", "instruction", "classes"})


class CoinFlip(FeedbackKind):
    """Heads when the last frame's progress is above a half: tails is the worse side, so that it can be learned from."""

    name = "coin_flip"
    templates = {
        "analysis": Template("coin_analysis", frozenset({"images"}), frozenset({"instruction"})),
        "rating": Template("coin_flip", frozenset({"analysis", "classes"}), frozenset({"instruction"})),
        "one_stage": Template("coin_one_stage", _FIELDS, frozenset()),
    }

    def draw(self, candidates, count, config, rng):
        free = [int(i) for i in range(len(candidates.rated)) if not candidates.rated[i]]
        return [(int(i),) for i in rng.permutation(free)[:count]]

    def classes(self, task, n_classes=0):
        return [RatingClass("Tails", "the coin's back"), RatingClass("Heads", "the coin's front")]

    def schema(self, names, count):
        schema = {
            "type": "object",
            "properties": {"coin": {"type": "string", "enum": list(names)}},
            "required": ["coin"],
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "coin", "strict": True, "schema": schema}}

    def parse(self, text, names, count):
        try:
            return [list(names).index(json.loads(text)["coin"])]
        except (ValueError, KeyError, TypeError):
            raise NoRating("no_coin") from None

    def truth(self, truths, n_classes):
        return int(truths[-1]["progress"] > 0.5)

    def text(self, value, names, reason=""):
        return f"it rolled away: {reason}" if value == NO_LABEL else f"{names[value]}!"


COIN = CoinFlip()
NOT_A_KIND = object()
