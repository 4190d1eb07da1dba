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
from erl_vlm_ros.feedback.modalities import PLOT_WORDS, as_plot, check_modalities, in_words
from erl_vlm_ros.feedback.parsing import NoRating, parse_rating, parse_ratings, rating_schema, ratings_schema
from erl_vlm_ros.feedback.prompts import Prompts
from erl_vlm_ros.feedback.strip import strip
from erl_vlm_ros.feedback.words import segment_words
from erl_vlm_ros.tasks import Task

_HOLE = "{analysis}"


class BadSegment(ValueError):
    """Nothing can be asked about this segment; ``reason`` is a short word that is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Question:
    """One segment's question.

    ``prompts``: stage -> text; the rating's has a hole for the analysis. ``images``: JPEG, as they are sent.
    ``digest`` is the same exactly when images, prompts, classes, model and parameters are. ``frames``: of the segment;
    a strip shows them all in one image. ``ratings``: classes that are asked for.
    """

    images: tuple[bytes, ...]
    prompts: dict[str, str]
    digest: str
    frames: int
    ratings: int = 1


class QuestionMaker:
    """Makes the questions and requests of one rater.

    Args:
        repeat: a number above 0 makes every question one of its own.
    """

    def __init__(self, cfg: RaterConfig, task: Task, prompts: Prompts, class_names: list[str], repeat: int = 0) -> None:
        self._cfg, self._task, self._prompts, self._repeat = cfg, task, prompts, repeat
        self.class_names = class_names
        self.params: dict[str, Any] = {"temperature": cfg.temperature} if cfg.temperature >= 0 else {}
        self.params["max_tokens"] = cfg.max_tokens
        if cfg.reasoning_effort:
            self.params["reasoning_effort"] = cfg.reasoning_effort
        self.each_transition = cfg.rate_each == "transition"
        self._modalities = check_modalities(cfg.modalities)

    def make(self, segment: Segment) -> Question:
        """The question about a segment. Raises BadSegment when its frames cannot be shown or there is no transition."""
        n = len(segment.jpegs)
        if self.each_transition and n < 2:
            raise BadSegment("no_transition", f"segment {segment.id} has one frame; set segment_length to 2 or more")
        images, measured = self._pictures(segment)
        told = (n, segment_words(segment.actions, self._task), measured)
        if self._cfg.two_stage:
            prompts = {"analysis": self._prompts.analysis(*told), "rating": self._prompts.rating(n, _HOLE)}
        else:
            prompts = {"rating": self._prompts.one_stage(*told)}
        return Question(images, prompts, self._digest(images, prompts), n, n - 1 if self.each_transition else 1)

    def _pictures(self, segment: Segment) -> tuple[tuple[bytes, ...], str]:
        """(images as they are sent, words about what was measured)."""
        images = segment.jpegs
        if self._cfg.frames == "strip" and len(images) > 1:
            try:
                images = [strip(images)]
            except ValueError as error:
                raise BadSegment("bad_image", f"segment {segment.id}: {error}") from error
        plot = None
        if self._cfg.modality_form == "plot" and len(segment.jpegs) > 1:  # one frame is no curve
            plot = as_plot(segment, self._modalities)
        if plot is not None:
            return (*images, plot), PLOT_WORDS
        return tuple(images), in_words(segment, self._modalities)

    def read(self, question: Question, text: str, problem: str) -> tuple[list[int], str]:
        """(classes, reason) of the answer to the rating stage: as many as were asked for, all -1 with a reason."""
        nothing = [-1] * question.ratings
        if problem:
            return nothing, problem
        try:
            if self.each_transition:
                return parse_ratings(text, self.class_names, question.ratings), ""
            return [parse_rating(text, self.class_names)], ""
        except NoRating as error:
            return nothing, error.reason

    def request(self, question: Question, stage: str, analysis: str = "") -> dict[str, Any]:
        """The chat completion request of a stage: ``analysis`` (images), or ``rating`` (images where it is the only
        stage, otherwise the text of the analysis alone)."""
        text = question.prompts[stage]
        if stage == "rating" and "analysis" in question.prompts:
            content: Any = self._prompts.rating(question.frames, analysis)
        else:
            content = [*map(_image, question.images), {"type": "text", "text": text}]
        request = {"model": self._cfg.model, "messages": [{"role": "user", "content": content}], **self.params}
        if stage == "rating":
            each = self.each_transition
            schema = ratings_schema(self.class_names, question.ratings) if each else rating_schema(self.class_names)
            request["response_format"] = schema
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
