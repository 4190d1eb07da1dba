# SPDX-License-Identifier: Apache-2.0
"""What the stand-in answers to a chat: descriptions, ratings, and its errors.

Its systematic errors belong to kinds of view: cells of 8 cm of where the hand and the object are. A question that is
worded otherwise, asked of a mirrored picture or a detail, or put to another model's name, is a *variation*: a part of
the errors is common to all variations (`sharing`), the rest each has for itself, as many. See
``feedback/noise_model.py``.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
import threading
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.noise_model import SHARING, NoiseModel, chance
from erl_vlm_ros.sim import standin_words as words
from erl_vlm_ros.sim.standin_eye import TASKS, describe
from erl_vlm_ros.sim.standin_pictures import frames_in

MODEL = "stand-in"


class BadRequest(ValueError):
    """The request is not one the stand-in understands: HTTP 400."""


@dataclass(frozen=True)
class MindConfig:
    """How it errs. Raises ConfigError for a rate outside 0..1 or an unknown task.

    error_rate: share of ratings that are another class, uniformly; drawn per question, or per request when it asks
        for a temperature above 0 (so a question that is repeated is answered anew, as a model that samples does).
    systematic_rate: share of kinds of view that are always rated wrong in the same way.
    sharing: share of the systematic errors that are common to all variations of a question.
    noise_model: takes the place of all three; its number of classes is then the only one that is rated with.
    """

    error_rate: float = 0.0
    systematic_rate: float = 0.0
    seed: int = 0
    task: str = ""
    sharing: float = SHARING
    noise_model: NoiseModel | None = None

    def __post_init__(self) -> None:
        for name in ("error_rate", "systematic_rate", "sharing"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.task and self.task not in TASKS:
            raise ConfigError(f"task '{self.task}': the stand-in knows {', '.join(TASKS)}")

    def noise(self, n: int) -> NoiseModel:
        """The errors with n classes. BadRequest when the noise model is for another number."""
        if self.noise_model is None:
            return NoiseModel.uniform(n, self.error_rate, self.systematic_rate, self.sharing)
        if self.noise_model.n_classes != n:
            raise BadRequest(f"{n} classes; the stand-in's noise model is for {self.noise_model.n_classes}")
        return self.noise_model


class Mind:
    """Answers chat messages. The same question gets the same answer, unless a temperature is asked for."""

    def __init__(self, config: MindConfig) -> None:
        self.config = config
        self._random = random.Random(config.seed)
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> str:
        """The assistant's text for a chat completion request. BadRequest when it makes no sense."""
        text, images = _content(request)
        task = self.config.task or words.task_of(text)
        if task is None:
            raise BadRequest("the prompt names no task that the stand-in knows")
        names, keys = _classes(request, text)
        if images:
            try:
                seen = [describe(task, image, *words.treatment(text)) for image in frames_in(text, images)]
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
        model = str(request.get("model") or MODEL)
        text = text if model == MODEL else f"{model} is asked: {text}"
        sampled = float(request.get("temperature") or 0.0) > 0.0
        rated = {}
        for key, line in zip(keys or [""], _lines(analysis, len(keys))):
            question = f"{key} of {text}" if len(keys) > 1 else text
            rated[key] = names[self._rate(task, line, question, model, len(names), sampled)]
        return json.dumps(rated) if keys else rated[""]

    def _rate(self, task: str, description: str, question: str, model: str, n: int, sampled: bool) -> int:
        if n not in words.MERGE:
            raise BadRequest(f"{n} classes; the stand-in rates with 2 to 5")
        noise, seed = self.config.noise(n), self.config.seed
        variation = words.wording(question) + ("" if model == MODEL else f" {model}")
        kind = words.cell(task, description, 100.0 * noise.kind_m)
        judged = noise.judged(words.MERGE[n][words.rung(task, description)], kind, seed, variation)
        if sampled:
            with self._lock:
                return noise.answered(judged, self._random.random(), self._random.random())
        return noise.answered(judged, chance(seed, "error", question), chance(seed, "which", question))


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


def _lines(analysis: str, count: int) -> list[str]:
    """What the analysis says of the last image, or of each of the last ``count`` ones. BadRequest: it has fewer."""
    told = re.split(r"^Image \d+: ", analysis, flags=re.MULTILINE)
    if count < 2:
        return told[-1:]
    if len(told) <= count + 1:
        raise BadRequest(f"the analysis does not speak of {count + 1} images")
    return told[-count:]


def _classes(request: dict[str, Any], text: str) -> tuple[list[str], list[str]]:
    """Class names to choose from, worst first, and the JSON keys of the answers (empty: plain text)."""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        properties = ((form.get("json_schema") or {}).get("schema") or {}).get("properties") or {}
        asked = {str(k): v["enum"] for k, v in properties.items() if isinstance(v, dict) and v.get("enum")}
        if asked:
            return [str(v) for v in next(iter(asked.values()))], list(asked)
        raise BadRequest("the JSON schema has no enum to choose from")
    listed = re.search(r"classes, worst first:\n((?:- .+\n?)+)", text)
    return re.findall(r"^- ([^:\n]+)(?::|$)", listed.group(1), re.MULTILINE) if listed else [], []
