# SPDX-License-Identifier: Apache-2.0
"""What is asked about a query: images, prompts, and the content hash that names the question."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.query import NO_LABEL, Query
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.views import view
from erl_vlm_ros.feedback.kinds import BadQuery
from erl_vlm_ros.feedback.vlm.answer import Answer
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.logprobs import ALTERNATIVES, class_probabilities
from erl_vlm_ros.feedback.vlm.modalities import PLOT_WORDS, as_plot, asked, in_words
from erl_vlm_ros.feedback.vlm.parsing import NoRating
from erl_vlm_ros.feedback.vlm.prompts import Prompts
from erl_vlm_ros.feedback.vlm.strip import strip
from erl_vlm_ros.feedback.vlm.words import segment_words

_HOLE = "{analysis}"


@dataclass(frozen=True)
class Question:
    """One query's question.

    ``prompts``: stage -> text; the rating's has a hole for the analysis. ``images``: JPEG, as they are sent, of each
    segment, of each view of it where there are several; ``captions``: what stands before each of these groups, where
    there are several. ``digest`` is the same exactly when images, prompts, classes, model and parameters are.
    ``frames``: of a segment; a strip shows them all in one image. ``parts``: what gets a label each.
    """

    images: tuple[tuple[bytes, ...], ...]
    prompts: dict[str, str]
    digest: str
    frames: int
    parts: tuple[Query, ...]
    captions: tuple[str, ...] = ()
    filled: Prompts | None = None  # for its sentence; None: the rater's


class QuestionMaker:
    """Makes the questions and requests of one rater.

    Args:
        repeat: a number above 0 makes every question one of its own.
    """

    def __init__(self, cfg: RaterConfig, task: Task, prompts: Prompts, class_names: list[str], repeat: int = 0) -> None:
        self._cameras = tuple(cfg.rater_cameras or ())
        prompts = replace(prompts, views=self._cameras if len(self._cameras) > 1 else ())
        self._cfg, self._task, self._prompts, self._repeat = cfg, task, prompts, repeat
        self.class_names = class_names
        self.params: dict[str, Any] = {"temperature": cfg.temperature} if cfg.temperature >= 0 else {}
        self.params["max_tokens"] = cfg.max_tokens
        if cfg.reasoning_effort:
            self.params["reasoning_effort"] = cfg.reasoning_effort
        self.kind = prompts.kind
        if cfg.shown_frames and self.kind.min_frames > 1:
            text = (
                f"vlm_rater.shown_frames is {cfg.shown_frames}, but feedback {self.kind.name} judges every frame: set "
                "it to 0"
            )
            raise ConfigError(text, parameter="vlm_rater.shown_frames", code=Code.DOES_NOT_FIT)
        self._modalities = asked(cfg.modalities)

    def use_strip(self) -> None:
        """Show the frames of a segment side by side from now on: the endpoint takes one image.

        Raises:
            ConfigError: views of several cameras are to be shown.
        """
        if len(self._cameras) > 1:
            raise ConfigError(
                f"vlm_rater.rater_cameras names {', '.join(self._cameras)}, but the endpoint takes one image at a time:"
                " name one camera, or choose another model",
                parameter="vlm_rater.rater_cameras",
            )
        self._cfg, self._prompts = replace(self._cfg, frames="strip"), replace(self._prompts, strip=True)

    def make(self, query: Query) -> Question:
        """The question about a query. Raises BadQuery when its frames cannot be shown, or its kind refuses it."""
        parts = tuple(self.kind.parts(query))
        seen = [fewer_frames(segment, self._cfg.shown_frames) for segment in query]
        n = len(seen[0].jpegs)
        shown = [self._images(segment) for segment in seen]
        images = tuple(group for sent, _ in shown for group in sent)
        captions = self._captions(len(seen))
        context = (
            n,
            self._joined([self._motion(segment, whole) for segment, whole in zip(seen, query)]),
            self._joined([measured for _, measured in shown]),
        )
        fill = self._prompts.about(query[0])
        if self._cfg.two_stage and "analysis" in self._prompts.templates:
            prompts = {"analysis": fill.analysis(*context), "rating": fill.rating(n, _HOLE)}
        else:
            prompts = {"rating": fill.one_stage(*context)}
        return Question(images, prompts, self._digest(images, prompts, captions), n, parts, captions, fill)

    def _captions(self, segments: int) -> tuple[str, ...]:
        """What stands before each group of images: which segment, which camera; nothing before a single one."""
        whose = self.kind.captions if segments > 1 else ("",)
        if len(self._cameras) < 2:
            return tuple(caption for caption in whose if caption)
        told = [(caption.rstrip(":"), camera) for caption in whose for camera in self._cameras]
        return tuple(f"{caption}, camera {camera}:" if caption else f"Camera {camera}:" for caption, camera in told)

    def _motion(self, shown: Segment, whole: Segment) -> str:
        """The motion between the frames; nothing where some of these are left out."""
        spec = None if whole.spaces is None else whole.spaces.action
        return segment_words(whole.actions, self._task, spec) if len(shown.jpegs) == len(whole.jpegs) else ""

    def _joined(self, words: list[str]) -> str:
        """Words about each segment of a query as one text; each under its caption, where there are several."""
        if len(words) == 1:
            return words[0]
        return "\n".join(f"{caption}\n{text}" for caption, text in zip(self.kind.captions, words) if text)

    def _images(self, segment: Segment) -> tuple[list[tuple[bytes, ...]], str]:
        """(images as they are sent, of each view, words about what was measured)."""
        groups = [self._of_camera(segment, camera) for camera in self._cameras or ("",)]
        plot = None
        if self._cfg.modality_form == "plot" and len(segment.jpegs) > 1:  # one frame is no curve
            plot = as_plot(segment, self._modalities)
        if plot is not None:
            return [*groups[:-1], (*groups[-1], plot)], PLOT_WORDS
        return groups, in_words(segment, self._modalities)

    def _of_camera(self, segment: Segment, camera: str) -> tuple[bytes, ...]:
        """What one camera saw, as it is sent; of the first where none is named."""
        try:
            images = [view(frame, camera) for frame in segment.jpegs]
        except ValueError as error:
            raise BadQuery("no_camera", f"segment {segment.id}: {error}") from error
        if self._cfg.frames == "strip" and len(images) > 1:
            try:
                images = [strip(images)]
            except ValueError as error:
                raise BadQuery("bad_image", f"segment {segment.id}: {error}") from error
        return tuple(images)

    def read(self, question: Question, text: str, problem: str) -> tuple[list[int], str]:
        """(classes, reason) of the answer to the rating stage: as many as were asked for, all -1 with a reason."""
        nothing = [NO_LABEL] * len(question.parts)
        if problem:
            return nothing, problem
        try:
            return self.kind.parse(text, self.class_names, len(question.parts)), ""
        except NoRating as error:
            return nothing, error.reason

    def soft_label(self, answer: Answer, values: list[int]) -> np.ndarray | None:
        """The probabilities of the classes, float32 [n], where the answer came with those of its tokens; else None.

        Only for an answer with one class that is named in it: a grade is another word.
        """
        if len(values) != 1 or values[0] < 0 or not answer.tokens:
            return None
        return class_probabilities(answer.tokens, self.class_names, values[0])

    def request(self, question: Question, stage: str, analysis: str = "") -> dict[str, Any]:
        """The chat completion request of a stage: ``analysis`` (images), or ``rating`` (images where it is the only
        stage, otherwise the text of the analysis alone)."""
        text = question.prompts[stage]
        if stage == "rating" and "analysis" in question.prompts:
            content: Any = (question.filled or self._prompts).rating(question.frames, analysis)
        else:
            content = [*self._shown(question), {"type": "text", "text": text}]
        request = {"model": self._cfg.model, "messages": [{"role": "user", "content": content}], **self.params}
        schema = self.kind.schema(self.class_names, len(question.parts)) if stage == "rating" else {}
        if stage == "rating" and self._cfg.logprobs:
            request |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        if schema:
            request["response_format"] = schema
        return request

    def _shown(self, question: Question) -> list[dict[str, Any]]:
        """The images; those of each segment and view under its caption, where there are several."""
        if len(question.images) == 1:
            return [image_part(jpeg) for jpeg in question.images[0]]
        parts: list[dict[str, Any]] = []
        for caption, jpegs in zip(question.captions, question.images):
            parts += [{"type": "text", "text": caption}, *map(image_part, jpegs)]
        return parts

    def _digest(self, images: tuple[tuple[bytes, ...], ...], prompts: dict[str, str], captions: tuple[str, ...]) -> str:
        asked: dict[str, Any] = {
            "model": self._cfg.model,
            "params": self.params,
            "prompts": prompts,
            "classes": self.class_names,
        }
        if len(images) > 1:
            asked["captions"] = [[caption, len(group)] for caption, group in zip(captions, images)]
        if self._repeat:
            asked["repeat"] = self._repeat
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
        for image in (image for group in images for image in group):
            digest.update(len(image).to_bytes(8, "little"))
            digest.update(image)
        return digest.hexdigest()


def fewer_frames(segment: Segment, most: int) -> Segment:
    """The segment with ``most`` of its frames, evenly spread from the first to the last; 0: all of them."""
    if not most or len(segment.jpegs) <= most:
        return segment
    length = len(segment.jpegs)
    index = np.linspace(0, length - 1, most).round().astype(int) if most > 1 else np.array([length - 1])
    arrays = {name: getattr(segment, name)[index] for name in ("proprio", "actions", "stamps", "extras")}
    return replace(segment, jpegs=[segment.jpegs[i] for i in index], **arrays)


def image_part(jpeg: bytes) -> dict[str, Any]:
    """An image as a part of a message."""
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}
