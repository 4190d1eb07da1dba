# SPDX-License-Identifier: Apache-2.0
"""Queries to a teacher and the labels that come back, in rounds: what travels, whatever kind of feedback it is.

A query is about one segment (a rating) or several (a preference). A label is one of the kind's n classes, or none with
the reason; what a class means is the business of the kind (``erl_vlm_ros.feedback.kinds``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode
from erl_vlm_ros.data.segment import Segment, pack_segments, unpack_segments
from erl_vlm_ros.data.views import all_jpegs

NO_LABEL = -1
MAX_CLASSES, MAX_COUNT = 100, 2**31 - 1  # what a message may say
RATING = "rating"  # the kind of a batch that does not say another


class Query(tuple[Segment, ...]):
    """The segments that one question is about: one to be rated, two to be compared.

    Raises:
        ValueError: none at all, or segments of different lengths or measurements.
    """

    def __new__(cls, *segments: Segment) -> Query:
        if not segments:
            raise DataError("a query needs a segment", field="segments")
        shapes = {(s.proprio.shape, s.actions.shape, s.extra_names) for s in segments}
        if len(shapes) > 1 or any(s.spaces != segments[0].spaces for s in segments):
            text = f"the segments of a query differ: {' | '.join(map(_told, segments))}"
            raise DataError(text, field="segments")
        return super().__new__(cls, segments)

    def __getnewargs__(self) -> tuple[Segment, ...]:
        return tuple(self)  # for copies

    @property
    def id(self) -> str:
        """The ids of its segments; of a single one just that."""
        return "|".join(segment.id for segment in self)

    @property
    def jpegs(self) -> list[bytes]:
        """The frames of all its segments, in order."""
        return [jpeg for segment in self for jpeg in segment.jpegs]

    @property
    def images(self) -> list[bytes]:
        """The images of all its frames: of several cameras each."""
        return all_jpegs(self.jpegs)


def _told(segment: Segment) -> str:
    """What has to be alike."""
    sizes = f"{len(segment.jpegs)} frames, {segment.proprio.shape[1]} and {segment.actions.shape[1]} numbers"
    extras = f", {', '.join(segment.extra_names)}" if segment.extra_names else ""
    said = f" ({segment.spaces.observation}; {segment.spaces.action})" if segment.spaces is not None else ""
    return f"{segment.id}: {sizes}{extras}{said}"


@dataclass
class QueryBatch:
    """The queries of one round, all of one kind and one number of segments, each of one length H."""

    round: int
    queries: list[Query] = field(default_factory=list)
    kind: str = RATING

    @classmethod
    def of(cls, round_: int, segments: Iterable[Segment], kind: str = RATING) -> QueryBatch:
        """A query for each segment."""
        return cls(round_, [Query(segment) for segment in segments], kind)

    @property
    def segments(self) -> list[Segment]:
        """The segments of all queries, in order."""
        return [segment for query in self.queries for segment in query]

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``queries``. Raises ValueError when segments differ in H, P or A."""
        arrays, meta = _pack(self.queries)
        return Bundle("queries", arrays, {"round": int(self.round), "feedback": self.kind, **meta})

    @staticmethod
    def from_bundle(bundle: Bundle) -> QueryBatch:
        """Inverse of to_bundle. Raises BundleError when the parts do not agree."""
        return QueryBatch(_int(bundle, "round"), _unpack(bundle), _kind(bundle))


@dataclass
class Label:
    """A query's class, from 0 to n-1 (of a rating: worst first), or NO_LABEL with the reason why there is none."""

    query: Query
    value: int
    reason: str = ""
    probabilities: np.ndarray | None = None  # float32 [n], a soft label that sums to 1; None: all on the value
    audited: bool = False  # the label is the auditor's: it outweighs others of views like it

    @classmethod
    def of(cls, segment: Segment, value: int, *rest: Any, **named: Any) -> Label:
        """The label of a query about one segment."""
        return cls(Query(segment), value, *rest, **named)

    @property
    def segment(self) -> Segment:
        """The only segment of the query. Raises ValueError when it has several."""
        (segment,) = self.query
        return segment


@dataclass
class LabelBatch:
    """What came of one round, published when it is complete.

    ``requested`` counts the labels asked for: one a query, or one for each of its parts. ``teacher`` says who
    answered, for instance ``vlm``, ``human``, ``scripted`` or ``vlm audited by human``.
    """

    round: int
    n_classes: int
    requested: int
    labels: list[Label] = field(default_factory=list)
    teacher: str = ""
    kind: str = RATING
    classes: list[str] = field(default_factory=list)  # names of the n classes, where they are told

    @property
    def valid(self) -> list[Label]:
        """Those that have a class."""
        return [label for label in self.labels if label.value != NO_LABEL]

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``labels``. Raises ValueError when segments differ in H, P or A."""
        arrays, meta = _pack([label.query for label in self.labels])
        arrays["labels"] = np.array([label.value for label in self.labels], np.int64)
        if any(label.probabilities is not None for label in self.labels):
            arrays["probabilities"] = np.stack([soft_label(label, self.n_classes) for label in self.labels])
        if any(label.audited for label in self.labels):
            arrays["audited"] = np.array([label.audited for label in self.labels], np.uint8)
        meta |= {"round": int(self.round), "n_classes": int(self.n_classes), "requested": int(self.requested)}
        meta |= {"reasons": [str(label.reason) for label in self.labels], "teacher": self.teacher}
        return Bundle("labels", arrays, meta | {"feedback": self.kind, "classes": list(self.classes)})

    @staticmethod
    def from_bundle(bundle: Bundle) -> LabelBatch:
        """Inverse of to_bundle. Raises BundleError when the parts do not agree or a class is out of range."""
        queries = _unpack(bundle)
        n_classes, values = _int(bundle, "n_classes"), bundle.arrays["labels"].tolist()
        if len(values) != len(queries):
            raise BundleError(f"labels: {len(values)} labels for {len(queries)} queries", field="labels.labels")
        reasons = bundle.meta.get("reasons")
        if (
            not isinstance(reasons, list)
            or len(reasons) != len(queries)
            or not all(isinstance(r, str) for r in reasons)
        ):
            raise BundleError(f"labels: meta.reasons must be {len(queries)} texts", field="labels.meta.reasons")
        if n_classes < 2 or any(not NO_LABEL <= value < n_classes for value in values):
            raise BundleError(f"labels: a class is outside -1..{n_classes - 1}", field="labels.labels")
        soft = _soft_labels(bundle.arrays.get("probabilities"), len(queries), n_classes)
        audited = bundle.arrays.get("audited", np.zeros(len(queries))).astype(bool).tolist()
        labels = [Label(*parts) for parts in zip(queries, values, reasons, soft, audited)]
        teacher = str(bundle.meta.get("teacher", ""))
        round_, requested = _int(bundle, "round"), _int(bundle, "requested")
        classes = bundle.meta.get("classes", [])
        if not isinstance(classes, list) or len(classes) not in (0, n_classes) or not all(map(_is_text, classes)):
            raise BundleError(f"labels: meta.classes must be {n_classes} names, or none", field="labels.meta.classes")
        return LabelBatch(round_, n_classes, requested, labels, teacher, _kind(bundle), classes)


def soft_label(label: Label, n_classes: int) -> np.ndarray:
    """float32 [n]: the label's probabilities, or all on its class; zeros for no label. ValueError: wrong length."""
    if label.value == NO_LABEL:
        return np.zeros(n_classes, np.float32)
    if label.probabilities is None:
        return np.eye(n_classes, dtype=np.float32)[label.value]
    soft = np.asarray(label.probabilities, np.float32)
    if soft.shape != (n_classes,):
        raise DataError(
            f"query {label.query.id}: {soft.shape} probabilities for {n_classes} classes", field="probabilities"
        )
    return soft


def read_pending(data: Any) -> QueryBatch:
    """The queries in a checkpoint; one of version 0.1 calls them segments. Raises BundleError."""
    try:
        return QueryBatch.from_bundle(decode(data, "queries"))
    except BundleError:
        try:
            return QueryBatch.from_bundle(decode(data, "segments"))
        except BundleError:
            pass
        raise


def _soft_labels(array: np.ndarray | None, count: int, n_classes: int) -> list[np.ndarray | None]:
    """One soft label each; None where nothing but the class is given."""
    if array is None:
        return [None] * count
    sums = array.sum(1)
    if array.shape[1] != n_classes or not np.isfinite(array).all() or (array < 0).any():
        raise BundleError(f"labels: probabilities must be {n_classes} numbers >= 0 each", field="labels.probabilities")
    if (np.minimum(np.abs(sums - 1), np.abs(sums)) > 1e-3).any():
        raise BundleError("labels: probabilities must sum to 1", field="labels.probabilities")
    return [row if total > 0.5 and row.max() < 1 else None for row, total in zip(array, sums)]


def _pack(queries: Sequence[Query]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    sizes = {len(query) for query in queries}
    if len(sizes) > 1:
        raise DataError(f"queries of one batch must have equally many segments, got {sorted(sizes)}", field="segments")
    arrays, meta = pack_segments([segment for query in queries for segment in query])
    return arrays, meta | {"segments": sizes.pop() if sizes else 1}


def _unpack(bundle: Bundle) -> list[Query]:
    segments, size = unpack_segments(bundle), bundle.meta.get("segments", 1)
    if type(size) is not int or size < 1 or len(segments) % size:
        raise BundleError(
            f"{bundle.kind}: meta.segments is {size!r}, which does not divide {len(segments)} segments",
            field=f"{bundle.kind}.meta.segments",
        )
    return [Query(*segments[i : i + size]) for i in range(0, len(segments), size)]


def _kind(bundle: Bundle) -> str:
    kind = bundle.meta.get("feedback", RATING)
    if not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise BundleError(
            f"{bundle.kind}: meta.feedback must be the name of a kind of feedback", field=f"{bundle.kind}.meta.feedback"
        )
    return kind


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _int(bundle: Bundle, key: str) -> int:
    value = bundle.meta.get(key)
    most = MAX_CLASSES if key == "n_classes" else MAX_COUNT
    if type(value) is not int or not 0 <= value <= most:
        raise BundleError(
            f"{bundle.kind}: meta.{key} must be a whole number from 0 to {most}, got {value!r}",
            field=f"{bundle.kind}.meta.{key}",
        )
    return value
