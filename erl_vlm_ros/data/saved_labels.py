# SPDX-License-Identifier: Apache-2.0
"""Labels in a checkpoint, and in memory: a segment that many labels are about is kept once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from erl_vlm_ros.data.bundle import BundleError, decode, encode
from erl_vlm_ros.data.query import Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment

MOST_BYTES = 32_000_000  # of the frames in one bundle, which may hold 256 MB


class LabelStore(list[Label]):
    """Valid labels of one kind, oldest first, whose equal segments (by id) are one object."""

    def __init__(self, labels: Iterable[Label] = ()):
        super().__init__()
        self._segments: dict[str, Segment] = {}
        self.extend(labels)

    def extend(self, labels: Iterable[Label]) -> None:
        """Add labels at the end."""
        for label in labels:
            shared = Query(*(self._segments.setdefault(segment.id, segment) for segment in label.query))
            self.append(replace(label, query=shared))

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._segments.clear()


def save_labels(labels: Sequence[Label]) -> dict[str, Any] | None:
    """Valid labels of queries of one size, for a checkpoint; None for none. Reasons are not kept: there are none."""
    if not labels:
        return None
    segments = {segment.id: segment for label in labels for segment in label.query}
    place = {name: i for i, name in enumerate(segments)}
    return {
        "segments": [encode(QueryBatch.of(0, part).to_bundle()) for part in _parts(list(segments.values()))],
        "queries": np.array([[place[segment.id] for segment in label.query] for label in labels], np.int64),
        "values": np.array([label.value for label in labels], np.int64),
        "audited": np.array([label.audited for label in labels], bool),
        "probabilities": [label.probabilities for label in labels],
    }


def _parts(segments: list[Segment]) -> Iterable[list[Segment]]:
    """The segments in order, in lists that one bundle holds."""
    part: list[Segment] = []
    size = 0
    for segment in segments:
        more = sum(map(len, segment.jpegs))
        if part and size + more > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(segment)
        size += more
    yield part


def load_labels(state: Any) -> list[Label]:
    """Inverse of save_labels; also of the one bundle of earlier checkpoints. Raises BundleError."""
    if state is None:
        return []
    if not isinstance(state, dict):
        return LabelBatch.from_bundle(decode(state, "labels")).labels
    parts = [QueryBatch.from_bundle(decode(data, "queries")).segments for data in state["segments"]]
    segments = [segment for part in parts for segment in part]
    queries, values = np.asarray(state["queries"]), np.asarray(state["values"])
    if queries.ndim != 2 or len(queries) != len(values) or not ((queries >= 0) & (queries < len(segments))).all():
        raise BundleError("saved labels: their queries do not belong to the segments beside them", field="queries")
    rest = zip(queries, values, state["probabilities"], np.asarray(state["audited"]))
    return [
        Label(Query(*(segments[i] for i in query)), int(value), "", soft, bool(audited))
        for query, value, soft, audited in rest
    ]
