# SPDX-License-Identifier: Apache-2.0
"""Kinds of feedback by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.feedback.kinds.base import FeedbackKind

KINDS: Registry[FeedbackKind] = Registry(
    "feedback",
    {
        "rating": "erl_vlm_ros.feedback.kinds.rating:RATING",
        "grade": "erl_vlm_ros.feedback.kinds.grade:GRADE",
        "preference": "erl_vlm_ros.feedback.kinds.preference:PREFERENCE",
        "transitions": "erl_vlm_ros.feedback.kinds.transitions:TRANSITIONS",
    },
)
BOTH = "both"  # a setting, not a kind: rounds of ratings and of comparisons take turns
_MOST_NAMES = 1000  # that are remembered: names from the network do not fill the memory
_known: dict[str, FeedbackKind | None] = {}  # by the names that messages and files say


def register(kind: FeedbackKind) -> FeedbackKind:
    """Make a kind known by its name. ConfigError: another object has that name."""
    if kind.name == BOTH:
        text = f"feedback '{BOTH}' is a setting, no kind; choose another name"
        raise ConfigError(text, code=Code.EXISTS, parameter="vlm_rater.feedback")
    known = known_kind(kind.name)
    if known is None:
        KINDS.register(kind.name, kind)
        known = _known[kind.name] = kind
    if type(known) is not type(kind):
        text = f"feedback '{kind.name}' is {type(known).__qualname__} already; choose another name"
        raise ConfigError(text, code=Code.EXISTS, parameter="vlm_rater.feedback")
    return known


def known_kind(name: str) -> FeedbackKind | None:
    """The kind of that name, for names in messages and files: no module is imported that a person has not chosen."""
    if name in _known:
        return _known[name]
    try:
        kind = KINDS.load(name, trusted=False)
    except ConfigError:
        kind = None
    if len(_known) < _MOST_NAMES:
        _known[name] = kind
    return kind


def kind_named(name: str) -> FeedbackKind:
    """The kind that a configuration names: by its name, or as ``MODULE:NAME`` of an object, which is then registered.

    Raises:
        ConfigError: there is none; names those there are.
    """
    kind = KINDS.load(name)
    if not isinstance(kind, FeedbackKind):
        raise ConfigError(
            f"feedback '{name}' is a {type(kind).__name__}, not a FeedbackKind object", parameter="vlm_rater.feedback"
        )
    return register(kind)


def kinds_named(name: str) -> tuple[FeedbackKind, ...]:
    """The kinds that rounds take turns in, by what a configuration says: of ``both``, rating and preference.

    Raises:
        ConfigError: as of ``kind_named``.
    """
    return (kind_named("rating"), kind_named("preference")) if name == BOTH else (kind_named(name),)


def true_class(name: str, truths: Sequence[Mapping[str, float]], n_classes: int) -> int | None:
    """The right class of a query of a kind by the ground truth about its segments; None: the kind is not known here."""
    kind = known_kind(name)
    return None if kind is None else kind.truth(truths, n_classes)
