# SPDX-License-Identifier: Apache-2.0
"""From a model's answer to a class: strict, so that an unclear answer is no rating and never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.feedback.vlm.choice import LABELS, Choices, Unstated, is_label
from erl_vlm_ros.feedback.vlm.thinking import answer_text

PARSER_VERSION = 3
GRADES = 5  # of models that grade a clip from 1 to 5
_LONGEST = 20_000  # characters of an answer without its thinking
_MOST_OBJECTS = 50  # that are looked for in one answer
# 1..5 -> class, worst first: the middle grades are brought together as the task files' classes are
_CLASS_OF_GRADE = {2: (0, 0, 0, 0, 1), 3: (0, 0, 1, 1, 2), 4: (0, 1, 2, 2, 3), 5: (0, 1, 2, 3, 4)}
_GRADE_NAMED = re.compile(rf"(?i)(?:{'|'.join(LABELS)})\W{{0,4}}(\d+(?:\.\d+)?)")
_LOOSE = re.compile(r"""\{\s*["']?(\w+)["']?\s*:\s*["']?([^"'{}:,]{1,80}?)["']?\s*,?\s*\}""")
_BEFORE = re.compile(r"(?:^|[:.!?。>`=])[\s*_`]*$")  # on the line of an object: nothing, or the end of something
_AFTER = re.compile(r"[\s`*)\]}]*(?:$|[.,;!。]|[-–—(#<\"]|\s+[A-ZÀ-ÞΑ-ΩА-Я])")


class NoRating(Exception):
    """The answer cannot be used; ``reason`` is a short word that is counted and stored."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def rating_schema(class_names: list[str]) -> dict[str, Any]:
    """``response_format`` that lets the model answer one of the class names and nothing else."""
    return choice_schema("rating", class_names)


def choice_schema(key: str, names: list[str]) -> dict[str, Any]:
    """The same, with the answer under ``key``."""
    schema = {
        "type": "object",
        "properties": {key: {"type": "string", "enum": list(names)}},
        "required": [key],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": key, "strict": True, "schema": schema}}


def ratings_schema(class_names: list[str], steps: int) -> dict[str, Any]:
    """``response_format`` for a class name per step, under ``step_1`` .. ``step_N``."""
    names = [f"step_{i}" for i in range(1, steps + 1)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "enum": list(class_names)} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "ratings", "strict": True, "schema": schema}}


def parse_rating(text: str, class_names: list[str]) -> int:
    """Index of the class that the answer states as its choice.

    Accepts one JSON object with exactly one rating (:func:`rating_schema`), whatever stands around it that names no
    other class, or text in the form of a choice (:mod:`~erl_vlm_ros.feedback.vlm.choice`). Thinking is left out.

    Raises:
        NoRating: ``out_of_class`` when a well-formed answer names no class, ``unreadable`` otherwise.
    """
    return _choice(_body(text), Choices(class_names))


def parse_choice(text: str, names: list[str], aliases: Mapping[str, int]) -> int:
    """The same for names that have other words (``aliases``: word -> index).

    Raises:
        NoRating: as parse_rating.
    """
    return _choice(_body(text), Choices([*names, *aliases], indices=[*range(len(names)), *aliases.values()]))


def parse_grade(text: str, n_classes: int) -> int:
    """Index of the class, out of ``n_classes`` (2..5), that a grade from 1 to 5 stands for (``ANSWER: 4``).

    Raises:
        NoRating: as parse_rating.
    """
    if re.search(r"(?<!\w)[-−]\d", text):
        raise NoRating("unreadable", "a grade below 0")
    body = re.sub(rf"\b([1-{GRADES}])\s*/\s*{GRADES}\b", r"\1", _body(text))  # "4/5"
    grade = _choice(body, Choices([str(i) for i in range(1, GRADES + 1)], _GRADE_NAMED), numbers=True)
    return _CLASS_OF_GRADE[n_classes][grade]


def parse_ratings(text: str, class_names: list[str], steps: int) -> list[int]:
    """Index of the class of each step.

    Accepts the JSON object of :func:`ratings_schema`, a JSON list of names, numbered lines ("step 1: Bad"), or just
    the names, separated by commas or line ends. There must be as many as steps.

    Raises:
        NoRating: as parse_rating, for the whole answer when one step cannot be read.
    """
    body, choices = _body(text), Choices(class_names)
    found = [f for f in _json(body) if isinstance(f.value, list) or f.pairs]
    if found or body.startswith(("{", "[")):
        if len(found) != 1 or choices.named(body[: found[0].start] + "\n" + body[found[0].end :]):
            raise NoRating("unreadable", "broken JSON, or more than one answer")
        return [_class(name, choices) for name in _steps(found[0], choices, steps)]
    lines = [line for line in body.splitlines() if line.strip()]
    pattern = r"[\s*-]*(?:step|transition)?\s*(\d+)[\s*]*[:.)]\s*(.+)"
    numbered = [m for line in lines if (m := re.fullmatch(pattern, line, re.IGNORECASE))]
    if numbered:
        others = [line for line in lines if not re.fullmatch(pattern, line, re.IGNORECASE)]
        if [int(m.group(1)) for m in numbered] != list(range(1, steps + 1)) or choices.named("\n".join(others)):
            raise NoRating("unreadable", "other steps than asked for")
        return [_class(m.group(2), choices) for m in numbered]
    parts = [part for part in re.split(r"[,;\n]", body) if part.strip()]
    if len(parts) != steps:
        raise NoRating("unreadable", f"{len(parts)} answers for {steps} steps")
    return [_class(part, choices) for part in parts]


@dataclass
class _Found:
    """A JSON object or list in a text. ``pairs``: every key with its value, also those of objects inside it."""

    start: int
    end: int
    value: Any
    pairs: list[tuple[str, Any]]
    texts: list[str]


class _Pairs(list):
    """An object as its keys and values, so that a key that comes twice is seen twice."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def _body(text: str) -> str:
    body = answer_text(text)
    if len(body) > _LONGEST:
        raise NoRating("unreadable", f"more than {_LONGEST} characters")
    return body


def _choice(body: str, choices: Choices, numbers: bool = False) -> int:
    found = [(f, v) for f in _json(body) for k, v in f.pairs if is_label(k)]
    if not found:
        if body.startswith(("{", "[")):
            raise NoRating("unreadable", "JSON without one rating")
        return _stated(body, choices)
    if not all(isinstance(v, str) or (numbers and type(v) is int) for _, v in found):
        raise NoRating("unreadable", "a rating of another kind")
    ratings = {choices.bare(str(v)) for _, v in found}
    if len(ratings) > 1:
        raise NoRating("unreadable", "several ratings")
    rating = ratings.pop()
    if rating is None:
        raise NoRating("out_of_class", str(found[0][1])[:40])
    texts = [body, *(text for f, _ in found for text in f.texts)]
    if set().union(*map(choices.named, texts)) - {rating}:
        raise NoRating("unreadable", "another class is named beside the JSON")
    if not all(_stands_alone(body, f) for f, _ in found):
        raise NoRating("unreadable", "JSON inside a sentence")
    return rating


def _stated(body: str, choices: Choices) -> int:
    try:
        return choices.stated(body)
    except Unstated as error:
        if body and len(body) <= 40 and not choices.named(body) - {-1}:
            raise NoRating("out_of_class", body) from None
        raise NoRating("unreadable", f"{error}: {body[:80]}") from None


def _class(name: str, choices: Choices) -> int:
    index = choices.bare(name)
    if index is None:
        raise NoRating("unreadable" if choices.named(name) else "out_of_class", name[:40])
    return index


def _steps(found: _Found, choices: Choices, steps: int) -> list[str]:
    """The names of the steps in an object or a list; what else is in it must name no class."""
    names = found.value
    if isinstance(names, _Pairs):
        keys = [f"step_{i}" for i in range(1, steps + 1)]
        given = {str(k).lower().replace(" ", "_"): v for k, v in names}
        others = [str(v) for k, v in given.items() if k not in keys]
        if len(given) != len(names) or choices.named("\n".join(others)):
            raise NoRating("unreadable", "JSON of another shape")
        names = [given.get(key) for key in keys]
        if sum(k.startswith("step") for k in given) != steps:
            raise NoRating("unreadable", "other steps than asked for")
    if len(names) != steps or not all(isinstance(name, str) for name in names):
        raise NoRating("unreadable", "JSON of another shape")
    return names


def _stands_alone(body: str, found: _Found) -> bool:
    """Whether an object is a statement of its own: what a sentence says about it is not understood here."""
    before = body[body.rfind("\n", 0, found.start) + 1 : found.start]
    after = body[found.end :].partition("\n")[0]
    return _BEFORE.search(before) is not None and _AFTER.match(after) is not None


def _json(body: str) -> Iterator[_Found]:
    """The JSON objects and lists in a text, outermost only; also an object of one pair that is almost JSON."""
    at = tries = 0
    while (opening := re.compile(r"[{\[]").search(body, at)) and tries < _MOST_OBJECTS:
        start, tries = opening.start(), tries + 1
        try:
            value, end = _DECODER.raw_decode(body, start)
        except RecursionError:
            return
        except ValueError:
            loose = _LOOSE.match(body, start)
            if not loose:
                at = start + 1
                continue
            value, end = _Pairs([loose.groups()]), loose.end()
        at, pairs, texts = end, [], []
        _walk(value, pairs, texts)
        yield _Found(start, end, value, pairs, texts)


def _walk(value: Any, pairs: list[tuple[str, Any]], texts: list[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, _Pairs):
        for key, inner in value:
            pairs.append((key, inner))
            _walk(inner, pairs, texts)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, pairs, texts)
