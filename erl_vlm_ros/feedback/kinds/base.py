# SPDX-License-Identifier: Apache-2.0
"""What a kind of feedback is: how queries are drawn, put, read, stored, counted and shown."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.common.tasks import RatingClass, Task
from erl_vlm_ros.data.query import NO_LABEL, Query
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.selection import Candidates, SelectionConfig
from erl_vlm_ros.data.spaces import spaces_in
from erl_vlm_ros.data.views import NAMES, cameras_of, grouped

_FLOATS = ("proprio", "actions", "extras")


class BadQuery(ValueError):
    """Nothing can be asked about this query; ``reason`` is a short word that is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Template:
    """A file of a prompt set, and the fields that it must and may contain."""

    file: str
    required: frozenset[str]
    optional: frozenset[str]


class FeedbackKind(ABC):
    """Base of the kinds; a subclass says what is its own.

    Attributes:
        name: in configurations, messages and ledgers.
        size: segments of a query.
        min_frames: least frames of a segment.
        captions: what stands before the images of each segment where a query has several.
        templates: stage (``analysis``, ``rating``, ``one_stage``) -> its file.
    """

    name = ""
    size = 1
    min_frames = 1
    captions: tuple[str, ...] = ()
    templates: Mapping[str, Template] = {}

    # -- drawing

    @abstractmethod
    def draw(
        self, candidates: Candidates, count: int, config: SelectionConfig, rng: np.random.Generator
    ) -> list[tuple[int, ...]]:
        """``count`` queries (or fewer) as the indices of the frames that their segments end with."""

    # -- classes

    @abstractmethod
    def classes(self, task: Task, n_classes: int = 0) -> list[RatingClass]:
        """The classes that a label may have. ConfigError: the task does not describe so many (0: its own number)."""

    def class_names(self, task: Task, n_classes: int = 0) -> list[str]:
        """Their names."""
        return [c.name for c in self.classes(task, n_classes)]

    # -- what gets a label

    @property
    def part(self) -> FeedbackKind:
        """The kind of the parts: itself, where a query gets one label."""
        return self

    def parts(self, query: Query) -> list[Query]:
        """The queries that get a label each, in the order of the answer. BadQuery: it cannot be put."""
        self.check(query)
        return [query]

    def labels_a_query(self, frames: int) -> int:
        """How many labels a query brings whose segments have so many frames: of ``parts`` without a query."""
        return 1

    def check(self, query: Query) -> None:
        """BadQuery where the query has another number of segments, or too short ones."""
        if len(query) != self.size:
            raise BadQuery("bad_query", f"query {query.id} has {len(query)} segments; {self.name} takes {self.size}")
        if len(query[0].jpegs) < self.min_frames:
            raise BadQuery(
                "too_short", f"query {query.id} has segments of {len(query[0].jpegs)} frames; {self.name} needs "
                f"{self.min_frames}: raise segment_length"
            )  # fmt: skip

    # -- prompting and parsing

    def words(self, n_images: int, strip: bool) -> dict[str, str]:
        """Fields of the templates that depend on the segments' length: ``images``, ``last_image``, ``steps``."""
        several = n_images > 1
        images = f"{n_images} consecutive camera images" if several else "A camera image"
        if several and strip:
            images = f"One picture with {n_images} consecutive camera images side by side, numbered from left to right,"
        last = "the last image" if several else "the image"
        return {"images": images, "last_image": last, "steps": str(n_images - 1)}

    @abstractmethod
    def schema(self, names: Sequence[str], count: int) -> dict[str, Any]:
        """``response_format`` that lets a model answer with ``count`` labels and nothing else; empty: none is sent."""

    @abstractmethod
    def parse(self, text: str, names: Sequence[str], count: int) -> list[int]:
        """The ``count`` classes that an answer states. NoRating: it does not."""

    # -- storing

    def to_row(self, query: Query) -> tuple[str, bytes, bytes, bytes, bytes]:
        """Columns shapes, proprio, actions, extras, stamps of a ledger: the segments one after the other."""
        shapes: dict[str, Any] = {name: [_frames(query), getattr(query[0], name).shape[1]] for name in _FLOATS}
        shapes["extra_names"] = query[0].extra_names
        if query[0].spaces is not None:
            shapes["spaces"] = query[0].spaces.to_json()
        if any(segment.instruction for segment in query):
            shapes["instructions"] = [segment.instruction for segment in query]
        cameras = cameras_of(query.jpegs)
        if cameras:
            shapes[NAMES] = cameras
        if len(query) > 1:
            shapes["ids"] = [segment.id for segment in query]
        arrays = [np.concatenate([getattr(segment, name) for segment in query]) for name in (*_FLOATS, "stamps")]
        return json.dumps(shapes), *(array.tobytes() for array in arrays)

    def from_row(self, id_: str, jpegs: Sequence[bytes], shapes: str, *blobs: bytes) -> Query:
        """Inverse of ``to_row``."""
        shape = json.loads(shapes)
        ids, spaces = shape.get("ids", [id_]), spaces_in(shape)
        jpegs = grouped(jpegs, shape.get(NAMES, ()))
        floats = {
            name: np.frombuffer(blob, np.float32).reshape(shape[name]).copy() for name, blob in zip(_FLOATS, blobs)
        }
        stamps = np.frombuffer(blobs[-1], np.int64).copy()
        length, names = len(jpegs) // len(ids), tuple(shape["extra_names"])
        segments = []
        said = shape.get("instructions", [""] * len(ids))
        for i, id_ in enumerate(ids):
            rows = slice(i * length, (i + 1) * length)
            arrays = {name: array[rows] for name, array in floats.items()} | {"stamps": stamps[rows]}
            more = {"extra_names": names, "spaces": spaces, "instruction": said[i]}
            segments.append(Segment(id_, list(jpegs[rows]), **arrays, **more))
        return Query(*segments)

    # -- judging

    @abstractmethod
    def truth(self, truths: Sequence[Mapping[str, float]], n_classes: int) -> int:
        """The right class by the simulation's ground truth about the last frame of each segment."""

    def mistake(self, value: int, n_classes: int, rng: np.random.Generator) -> int:
        """A wrong class in place of ``value``: uniform over the others."""
        return int((value + rng.integers(1, n_classes)) % n_classes)

    def mistakes(self, n_classes: int) -> np.ndarray:
        """How often each class (row) becomes each other one (column) by ``mistake``, float [n, n]; rows sum to 1."""
        return (1.0 - np.eye(n_classes)) / (n_classes - 1)

    def teaches(self, value: int) -> bool:
        """Whether anything is learned from a label of this class."""
        return value != NO_LABEL

    def stakes(self, values: np.ndarray, n_classes: int) -> np.ndarray:
        """How much harm a wrong label does, 0 to 1, by its class; such labels are audited and confirmed first."""
        return np.full(len(values), 0.5)

    # -- counting and showing

    def figures(self, counts: Mapping[str, int], n_classes: int) -> dict[str, float]:
        """Figures for diagnostics from what ``count`` counted."""
        figures = {key: float(counts.get(key, 0)) for key in ("requested", "valid", "no_rating")}
        figures |= {f"rated_class_{i}": float(counts.get(f"class_{i}", 0)) for i in range(n_classes)}
        return figures | {key: float(value) for key, value in counts.items() if key.startswith("reason_")}

    def text(self, value: int, names: Sequence[str], reason: str = "") -> str:
        """A label in words."""
        if value == NO_LABEL:
            return f"no rating: {reason}"
        return names[value] if value < len(names) else str(value)

    def notes(self, query: Query) -> list[str]:
        """Short texts beside a query's images: what was measured at the last frame."""
        last = query[-1]
        return [f"{name.replace('_', ' ')} {value:.2f}" for name, value in zip(last.extra_names, last.extras[-1])]


def mean_truth(truths: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What is true of a segment, from the truth about its frames: the last frame's, and the mean progress."""
    return {**truths[-1], "mean_progress": float(np.mean([truth["progress"] for truth in truths]))}


def count(counts: Counter[str], value: int, reason: str, times: int = 1) -> None:
    """Add a label's outcome to the counts that ``FeedbackKind.figures`` shows."""
    counts["requested"] += times
    if value == NO_LABEL:
        counts["no_rating"] += times
        counts[f"reason_{reason}"] += times
    else:
        counts["valid"] += times
        counts[f"class_{value}"] += times


def _frames(query: Query) -> int:
    return sum(len(segment.jpegs) for segment in query)
