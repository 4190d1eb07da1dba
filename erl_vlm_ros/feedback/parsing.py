# SPDX-License-Identifier: Apache-2.0
"""From a model's answer to a class: strict, so that an unclear answer is no rating and never a guess."""

from __future__ import annotations

import json
import re
from typing import Any

from erl_vlm_ros.tasks import plain_words

PARSER_VERSION = 1


class NoRating(Exception):
    """The answer cannot be used; ``reason`` is a short word that is counted and stored."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def rating_schema(class_names: list[str]) -> dict[str, Any]:
    """``response_format`` that lets the model answer one of the class names and nothing else."""
    schema = {
        "type": "object",
        "properties": {"rating": {"type": "string", "enum": list(class_names)}},
        "required": ["rating"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "rating", "strict": True, "schema": schema}}


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


def parse_ratings(text: str, class_names: list[str], steps: int) -> list[int]:
    """Index of the class of each step.

    Accepts the JSON object of :func:`ratings_schema`, a JSON list of names, numbered lines ("step 1: Bad"), or just
    the names, separated by commas or line ends. There must be as many as steps.

    Raises:
        NoRating: as parse_rating, for the whole answer when one step cannot be read.
    """
    body = _unfenced(text)
    if body.startswith(("{", "[")):
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise NoRating("unreadable", "broken JSON") from error
        if isinstance(answer, dict) and set(answer) == {f"step_{i}" for i in range(1, steps + 1)}:
            answer = [answer[f"step_{i}"] for i in range(1, steps + 1)]
        if not isinstance(answer, list) or len(answer) != steps or not all(isinstance(a, str) for a in answer):
            raise NoRating("unreadable", "JSON of another shape")
        return [parse_rating(name, class_names) for name in answer]
    lines = [line for line in body.splitlines() if line.strip()]
    pattern = r"[\s*-]*(?:step|transition)?\s*(\d+)\s*[:.)]\s*(.+)"
    numbered = [m for line in lines if (m := re.fullmatch(pattern, line, re.IGNORECASE))]
    if lines and len(numbered) == len(lines):
        if [int(m.group(1)) for m in numbered] != list(range(1, steps + 1)):
            raise NoRating("unreadable", "other steps than asked for")
        return [parse_rating(m.group(2), class_names) for m in numbered]
    parts = [part for part in re.split(r"[,;\n]", body) if part.strip()]
    if len(parts) != steps:
        raise NoRating("unreadable", f"{len(parts)} answers for {steps} steps")
    return [parse_rating(part, class_names) for part in parts]


def _unfenced(text: str) -> str:
    """What stands in a code fence, or the text itself."""
    body = text.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", body, re.DOTALL)
    return fenced.group(1) if fenced else body


def parse_rating(text: str, class_names: list[str]) -> int:
    """Index of the class that the answer names.

    Accepts the JSON object of :func:`rating_schema` (also inside a code fence), or plain text that is a class
    name, or that names exactly one class ("Rating: Very Bad."). Longer names win where they overlap, so
    "Very Bad" does not also count as "Bad".

    Raises:
        NoRating: ``out_of_class`` when a well-formed answer names no class, ``unreadable`` otherwise.
    """
    lookup = {plain_words(name): i for i, name in enumerate(class_names)}
    body = _unfenced(text)
    if body.startswith(("{", "[")):
        return _from_json(body, lookup)
    plain = plain_words(body)
    if plain in lookup:
        return lookup[plain]
    names = sorted(lookup, key=len, reverse=True)
    found = {m.group(0) for m in re.finditer(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b", plain)}
    negated = re.search(r"\b(?:not|isn t|neither|nor|cannot|unsure|unclear)\b", plain)
    if len(found) == 1 and not negated and len(plain) <= 200:
        return lookup[found.pop()]
    if not found and plain and len(plain) <= 40:
        raise NoRating("out_of_class", body[:40])
    raise NoRating("unreadable", body[:80])


def _from_json(body: str, lookup: dict[str, int]) -> int:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoRating("unreadable", "broken JSON") from error
    if not isinstance(answer, dict) or set(answer) != {"rating"} or not isinstance(answer["rating"], str):
        raise NoRating("unreadable", "JSON of another shape")
    plain = plain_words(answer["rating"])
    if plain not in lookup:
        raise NoRating("out_of_class", plain[:40])
    return lookup[plain]
