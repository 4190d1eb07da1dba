# SPDX-License-Identifier: Apache-2.0
"""Kinds of feedback: what is asked, about how many segments, and what the labels mean. One file a kind.

A configuration names a kind: a registered one, or ``MODULE:NAME`` of an object anywhere (docs/how_to).
"""

from __future__ import annotations

from erl_vlm_ros.feedback.kinds.base import BadQuery, FeedbackKind
from erl_vlm_ros.feedback.kinds.grade import GRADE
from erl_vlm_ros.feedback.kinds.preference import PREFERENCE
from erl_vlm_ros.feedback.kinds.rating import RATING
from erl_vlm_ros.feedback.kinds.registry import BOTH, kind_named, kinds_named, known_kind, register, true_class
from erl_vlm_ros.feedback.kinds.transitions import TRANSITIONS

__all__ = [
    "BOTH",
    "GRADE",
    "PREFERENCE",
    "RATING",
    "TRANSITIONS",
    "BadQuery",
    "FeedbackKind",
    "kind_named",
    "kinds_named",
    "known_kind",
    "register",
    "true_class",
]
