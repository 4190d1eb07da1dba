# SPDX-License-Identifier: Apache-2.0
"""What the stand-in answers to a chat: descriptions, ratings, and its errors."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.sim import standin_words as words
from erl_vlm_ros.sim.standin_eye import TASKS, describe


class BadRequest(ValueError):
    """The request is not one the stand-in understands: HTTP 400."""


@dataclass(frozen=True)
class MindConfig:
    """How it errs. Raises ConfigError for a rate outside 0..1 or an unknown task.

    error_rate: share of ratings that are another class, uniformly, independent from question to question.
    systematic_rate: share of kinds of view (cells of 8 cm of the described places) that are always rated
        wrong in the same way.
    """

    error_rate: float = 0.0
    systematic_rate: float = 0.0
    seed: int = 0
    task: str = ""

    def __post_init__(self) -> None:
        for name in ("error_rate", "systematic_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.task and self.task not in TASKS:
            raise ConfigError(f"task '{self.task}': the stand-in knows {', '.join(TASKS)}")


class Mind:
    """Answers chat messages. Stateless: the same question always gets the same answer."""

    def __init__(self, config: MindConfig) -> None:
        self.config = config

    def answer(self, request: dict[str, Any]) -> str:
        """The assistant's text for a chat completion request. BadRequest when it makes no sense."""
        text, images = _content(request)
        task = self.config.task or words.task_of(text)
        if task is None:
            raise BadRequest("the prompt names no task that the stand-in knows")
        names, key = _classes(request, text)
        if images:
            try:
                seen = [describe(task, image) for image in images]
            except ValueError as error:
                raise BadRequest(str(error)) from error
            many = len(seen) > 1
            analysis = "\n".join(f"Image {i}: {line}" for i, line in enumerate(seen, 1)) if many else seen[0]
            if not names:
                return analysis
            text += analysis  # one stage: rates what it has just seen
        else:
            analysis = _analysis(text)
        if not names:
            raise BadRequest("neither an image nor a list of classes")
        last = analysis.rsplit("Image ", 1)[-1]
        name = names[self._rate(task, last, text, len(names))]
        return json.dumps({key: name}) if key else name

    def _rate(self, task: str, description: str, question: str, n: int) -> int:
        if n not in words.MERGE:
            raise BadRequest(f"{n} classes; the stand-in rates with 2 to 5")
        rating, seed = words.MERGE[n][words.rung(task, description)], self.config.seed
        cell = words.cell(task, description)
        if words.chance(seed, "systematic", cell) < self.config.systematic_rate:
            rating = _other(rating, n, words.chance(seed, "direction", cell))
        if words.chance(seed, "error", question) < self.config.error_rate:
            rating = _other(rating, n, words.chance(seed, "which", question))
        return rating


def _other(rating: int, n: int, luck: float) -> int:
    """Another class than ``rating``, chosen by a number in [0, 1)."""
    return (rating + 1 + int(luck * (n - 1))) % n


def _content(request: dict[str, Any]) -> tuple[str, list[bytes]]:
    """All text and all images of the messages, in order."""
    texts, images = [], []
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a non-empty list")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or []:
            if part.get("type") == "text":
                texts.append(str(part.get("text", "")))
            elif part.get("type") == "image_url":
                images.append(_image(str((part.get("image_url") or {}).get("url", ""))))
            else:
                raise BadRequest(f"content of type {part.get('type')!r}")
    return "\n".join(texts), images


def _image(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadRequest("images must be data URLs with base64")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BadRequest("the image is not valid base64") from error


def _analysis(text: str) -> str:
    """The description in a rating prompt: what is inside its tags, or all but the list of classes."""
    tagged = re.search(r"<analysis>(.*?)</analysis>", text, re.DOTALL)
    return tagged.group(1) if tagged else re.sub(r"^- .*$", "", text, flags=re.MULTILINE)


def _classes(request: dict[str, Any], text: str) -> tuple[list[str], str]:
    """Class names to choose from, worst first, and the JSON key of the answer (empty: plain text)."""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        properties = ((form.get("json_schema") or {}).get("schema") or {}).get("properties") or {}
        for key, value in properties.items():
            if isinstance(value, dict) and value.get("enum"):
                return [str(v) for v in value["enum"]], str(key)
        raise BadRequest("the JSON schema has no enum to choose from")
    listed = re.search(r"classes, worst first:\n((?:- .+\n?)+)", text)
    return re.findall(r"^- ([^:\n]+)(?::|$)", listed.group(1), re.MULTILINE) if listed else [], ""
