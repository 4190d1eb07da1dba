# SPDX-License-Identifier: Apache-2.0
"""What the stand-in answers to a chat: descriptions, ratings, and its errors.

Its systematic errors belong to view clusters: cells of 8 cm of where the end effector and the object are. A question
that is worded otherwise, asked of a mirrored image or a detail, or put to another model's name, is a *variation*: a
part of the errors is common to all variations (`sharing`), the rest each has for itself, as many. See
``feedback/noise_model.py``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import random
import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.feedback.noise_model import ANY, SHARING, NoiseModel, chance, one_sided
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.standin import words as words
from erl_vlm_ros.standin.eye import TASKS, describe
from erl_vlm_ros.standin.request_images import frames_in, split_frames

MODEL = "stand-in"
_SAME = 0.2  # of a rung: closer than that, neither of two situations is better


class BadRequest(DataError):
    """The request is not one the stand-in understands: HTTP 400."""


@dataclass(frozen=True)
class AnswererConfig:
    """How it errs. Raises ConfigError for a rate outside 0..1 or an unknown task.

    error_rate: share of ratings that are another class, uniformly; drawn per question, or per request when it asks
        for a temperature above 0 (so a question that is repeated is answered anew, as a model that samples does).
    systematic_rate: share of view clusters that are always rated wrong in the same way.
    sharing: share of the systematic errors that are common to all variations of a question.
    noise_model: takes the place of all three; its number of classes is then the only one that is rated with.
    order_bias: share of comparisons to which it answers that the first is better, whatever it sees.
    errors: any, or over or under: all its errors are ratings that are too high, or too low.
    blind: the gripper hides from it whether a drawer is closed or open by a crack; a force that the prompt tells of
        (vlm_rater.modalities: wrench) says whether it is being pulled.
    robot: file of the robot that stands in the scene, of which it knows the shape; empty: our arm.
    """

    error_rate: float = 0.0
    systematic_rate: float = 0.0
    seed: int = 0
    task: str = ""
    sharing: float = SHARING
    noise_model: NoiseModel | None = None
    order_bias: float = 0.0
    robot: str = ""
    errors: str = ANY
    blind: bool = False

    def __post_init__(self) -> None:
        for name in ("error_rate", "systematic_rate", "sharing", "order_bias"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}", parameter=name)
        one_sided(np.zeros((2, 2)), self.errors)  # raises
        if self.task and self.task not in TASKS:
            raise ConfigError(
                f"task '{self.task}': the stand-in knows {', '.join(TASKS)}", code=Code.UNKNOWN, parameter="task"
            )
        if self.robot:
            load_robot(self.robot)

    def noise(self, n: int) -> NoiseModel:
        """The errors with n classes. BadRequest when the noise model is for another number."""
        if self.noise_model is None:
            return _uniform(n, self.error_rate, self.systematic_rate, self.sharing, self.errors)
        if self.noise_model.n_classes != n:
            text = f"{n} classes; the stand-in's noise model is for {self.noise_model.n_classes}"
            raise BadRequest(text, field="n_classes")
        return self.noise_model


_uniform = functools.cache(NoiseModel.uniform)  # asked for once an answer


class Answerer:
    """Answers chat messages. The same question gets the same answer, unless a temperature is asked for."""

    def __init__(self, config: AnswererConfig) -> None:
        self.config = config
        self._random = random.Random(config.seed)
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> str:
        """The assistant's text for a chat completion request. BadRequest when it makes no sense."""
        return self.answer_with_beliefs(request)[0]

    def answer_with_beliefs(self, request: dict[str, Any]) -> tuple[str, dict[str, float]]:
        """The same, and how probable it takes each class name to be; empty where it does not choose one class."""
        text, images = _content(request)
        task = self.config.task or words.task_of(text)
        if task is None:
            raise BadRequest("the prompt names no task that the stand-in knows", field="task")
        names, keys = _classes(request, text)
        if _compares(text):
            return self._compare(task, request, text, images, names, keys), {}
        if images:
            try:
                seen = [self._seen(task, image, text) for image in frames_in(text, images)]
            except ValueError as error:
                raise BadRequest(str(error)) from error
            many = len(seen) > 1
            analysis = "\n".join(f"Image {i}: {line}" for i, line in enumerate(seen, 1)) if many else seen[0]
            if not names:
                return analysis, {}
            text += analysis  # one stage: rates what it has just seen
        else:
            analysis = _analysis(text)
        if not names:
            raise BadRequest("neither an image nor a list of classes", field="messages")
        model = str(request.get("model") or MODEL)
        text = text if model == MODEL else f"{model} is asked: {text}"
        sampled = float(request.get("temperature") or 0.0) > 0.0
        rated, beliefs = {}, np.zeros(0)
        for key, line in zip(keys or [""], _lines(analysis, len(keys))):
            question = f"{key} of {text}" if len(keys) > 1 else text
            index, beliefs = self._rate(task, line, question, model, len(names), sampled)
            rated[key] = names[index]
        believed = dict(zip(names, beliefs.tolist())) if len(rated) == 1 else {}
        return (json.dumps(rated) if keys else rated[""]), believed

    def _seen(self, task: str, image: bytes, prompt: str) -> str:
        """One image in words, less what it cannot see. ValueError: it cannot be decoded."""
        description = describe(task, image, *words.treatment(prompt), self.config.robot)
        return words.hidden(task, description, prompt) if self.config.blind else description

    def _compare(
        self, task: str, request: dict[str, Any], text: str, images: list[bytes], names: list[str], keys: list[str]
    ) -> str:
        """The analysis of two situations, or which of them is better; of each the last image counts."""
        if images:
            try:
                halves = split_frames(text, images)
                seen = [self._seen(task, frames[-1], text) for frames in halves]
            except ValueError as error:
                raise BadRequest(str(error)) from error
            analysis = f"First: {seen[0]}\nSecond: {seen[1]}"
            if not names:
                return analysis
        else:
            analysis = _analysis(text)
        first, mark, second = analysis.partition("\nSecond:")
        if not mark:
            raise BadRequest("the analysis does not speak of a second situation", field="analysis")
        choice = names[self._prefer(task, first, second, text + analysis, len(names))]
        return json.dumps({keys[0]: choice}) if keys else choice

    def _prefer(self, task: str, first: str, second: str, question: str, n: int) -> int:
        """0: the first, 1: the second, 2: neither, of two descriptions; ``order_bias`` and errors are added."""
        if n != 3:
            raise BadRequest(
                f"{n} answers; the stand-in compares with 3: first, second, no preference", field="n_classes"
            )
        seed = self.config.seed
        if chance(seed, "order", question) < self.config.order_bias:
            return 0
        noise = self.config.noise(5)
        levels = []
        for description in (first, second):
            cluster = words.cell(task, description, 100.0 * noise.cell_m)
            rung = words.rung(task, description)
            judged = noise.judged(rung, cluster, seed, "")
            levels.append(judged + (words.within(task, description) if judged == rung else 0.5))
        difference = levels[1] - levels[0]
        answer = 2 if abs(difference) < _SAME else int(difference > 0)
        if chance(seed, "error", question) < self.config.error_rate:
            return int(chance(seed, "which", question) < 0.5) if answer == 2 else 1 - answer
        return answer

    def _rate(
        self, task: str, description: str, question: str, model: str, n: int, sampled: bool
    ) -> tuple[int, np.ndarray]:
        """(class, how probable it takes each class to be) of a description."""
        if n not in words.MERGE:
            raise BadRequest(f"{n} classes; the stand-in rates with 2 to 5", field="n_classes")
        noise, seed = self.config.noise(n), self.config.seed
        variation = words.wording(question) + ("" if model == MODEL else f" {model}")
        cluster = words.cell(task, description, 100.0 * noise.cell_m)
        judged = noise.judged(words.MERGE[n][words.rung(task, description)], cluster, seed, variation)
        if sampled:
            with self._lock:
                answered = noise.answered(judged, self._random.random(), self._random.random())
        else:
            answered = noise.answered(judged, chance(seed, "error", question), chance(seed, "which", question))
        return answered, noise.beliefs(judged, answered, chance(seed, "confidence", question))


def _compares(text: str) -> bool:
    """Whether a prompt is about two situations."""
    return re.search(r"^Two situations ", text, re.MULTILINE) is not None


def _content(request: dict[str, Any]) -> tuple[str, list[bytes]]:
    """All text and all images of the messages, in order."""
    texts, images = [], []
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a non-empty list", field="messages")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or []:
            if part.get("type") == "text":
                texts.append(str(part.get("text", "")))
            elif part.get("type") == "image_url":
                images.append(_image(str((part.get("image_url") or {}).get("url", ""))))
            else:
                raise BadRequest(f"content of type {part.get('type')!r}", field="content")
    return "\n".join(texts), images


def _image(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadRequest("images must be data URLs with base64", field="image_url")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BadRequest("the image is not valid base64", field="image_url") from error


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
        raise BadRequest(f"the analysis does not speak of {count + 1} images", field="analysis")
    return told[-count:]


def _classes(request: dict[str, Any], text: str) -> tuple[list[str], list[str]]:
    """Class names to choose from, worst first, and the JSON keys of the answers (empty: plain text)."""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        properties = ((form.get("json_schema") or {}).get("schema") or {}).get("properties") or {}
        asked = {str(k): v["enum"] for k, v in properties.items() if isinstance(v, dict) and v.get("enum")}
        if asked:
            return [str(v) for v in next(iter(asked.values()))], list(asked)
        raise BadRequest("the JSON schema has no enum to choose from", field="response_format")
    listed = re.search(r"(?:classes, worst first|The answers):\n((?:- .+\n?)+)", text)
    return re.findall(r"^- ([^:\n]+)(?::|$)", listed.group(1), re.MULTILINE) if listed else [], []
