# SPDX-License-Identifier: Apache-2.0
"""What is asked about a segment: pictures, prompts, and the content hash that names the question."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.config import RaterConfig
from erl_vlm_ros.feedback.parsing import rating_schema
from erl_vlm_ros.feedback.prompts import Prompts
from erl_vlm_ros.feedback.words import segment_words
from erl_vlm_ros.tasks import Task

_HOLE = "{analysis}"


@dataclass(frozen=True)
class Question:
    """One segment's question.

    ``prompts``: stage -> text; the rating's has a hole for the analysis. ``images``: JPEG, as they are sent.
    ``digest`` is the same exactly when images, prompts, classes, model and parameters are.
    """

    images: tuple[bytes, ...]
    prompts: dict[str, str]
    digest: str


class QuestionMaker:
    """Makes the questions and requests of one rater.

    Args:
        repeat: a number above 0 makes every question one of its own.
    """

    def __init__(self, cfg: RaterConfig, task: Task, prompts: Prompts, class_names: list[str], repeat: int = 0) -> None:
        self._cfg, self._task, self._prompts, self._repeat = cfg, task, prompts, repeat
        self.class_names = class_names
        self.params = {"temperature": cfg.temperature, "max_tokens": cfg.max_tokens}

    def make(self, segment: Segment) -> Question:
        """The question about a segment."""
        n, actions = len(segment.jpegs), segment_words(segment.actions, self._task)
        if self._cfg.two_stage:
            prompts = {"analysis": self._prompts.analysis(n, actions), "rating": self._prompts.rating(n, _HOLE)}
        else:
            prompts = {"rating": self._prompts.one_stage(n, actions)}
        images = tuple(segment.jpegs)
        return Question(images, prompts, self._digest(images, prompts))

    def request(self, question: Question, stage: str, analysis: str = "") -> dict[str, Any]:
        """The chat completion request of a stage: ``analysis`` (images), or ``rating`` (images where it is the only
        stage, otherwise the text of the analysis alone)."""
        text = question.prompts[stage]
        if stage == "rating" and "analysis" in question.prompts:
            content: Any = self._prompts.rating(len(question.images), analysis)
        else:
            content = [*map(_image, question.images), {"type": "text", "text": text}]
        request = {"model": self._cfg.model, "messages": [{"role": "user", "content": content}], **self.params}
        if stage == "rating":
            request["response_format"] = rating_schema(self.class_names)
        return request

    def _digest(self, images: tuple[bytes, ...], prompts: dict[str, str]) -> str:
        asked: dict[str, Any] = {
            "model": self._cfg.model,
            "params": self.params,
            "prompts": prompts,
            "classes": self.class_names,
        }
        if self._repeat:
            asked["repeat"] = self._repeat
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
        for image in images:
            digest.update(len(image).to_bytes(8, "little"))
            digest.update(image)
        return digest.hexdigest()


def images_in(request: dict[str, Any]) -> int:
    """How many images a request holds."""
    return sum(
        part["type"] == "image_url"
        for message in request["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    )


def _image(jpeg: bytes) -> dict[str, Any]:
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}
