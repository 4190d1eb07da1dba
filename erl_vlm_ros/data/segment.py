# SPDX-License-Identifier: Apache-2.0
"""Segments to be rated and their ratings, in rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from erl_vlm_ros.data.images import pack_jpegs, unpack_jpegs
from erl_vlm_ros.ros.bundle import Bundle, BundleError

NO_RATING = -1


@dataclass
class Segment:
    """H consecutive frames of one episode. ValueError when lengths differ or a number is not finite."""

    id: str  # for instance "e12_t33_h1": episode, first frame, H
    jpegs: list[bytes]  # H camera frames
    proprio: np.ndarray  # float32 [H, P]
    actions: np.ndarray  # float32 [H, A], the action that led to each frame
    stamps: np.ndarray  # int64 [H], ns

    def __post_init__(self) -> None:
        self.proprio = np.ascontiguousarray(self.proprio, np.float32)
        self.actions = np.ascontiguousarray(self.actions, np.float32)
        self.stamps = np.ascontiguousarray(self.stamps, np.int64)
        if self.proprio.ndim != 2 or self.actions.ndim != 2 or self.stamps.ndim != 1:
            raise ValueError(
                f"segment {self.id}: proprio [H, P], actions [H, A] and stamps [H] have the wrong rank"
            )
        lengths = {len(self.jpegs), len(self.proprio), len(self.actions), len(self.stamps)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"segment {self.id}: frames, proprio, actions and stamps differ in length or are empty"
            )
        if not (np.isfinite(self.proprio).all() and np.isfinite(self.actions).all()):
            raise ValueError(f"segment {self.id}: a number in proprio or actions is not finite")


@dataclass
class SegmentBatch:
    """The segments of one rating round; all of one length H."""

    round: int
    segments: list[Segment] = field(default_factory=list)

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``segments``. Raises ValueError when segments differ in H, P or A."""
        arrays, ids = _pack(self.segments)
        return Bundle("segments", arrays, {"round": int(self.round), "ids": ids})

    @staticmethod
    def from_bundle(bundle: Bundle) -> SegmentBatch:
        """Inverse of to_bundle. Raises BundleError when the parts do not agree."""
        return SegmentBatch(_int(bundle, "round"), _unpack(bundle))


@dataclass
class RatedSegment:
    """A segment with its class 0 (worst) to n-1, or NO_RATING with the reason why there is none."""

    segment: Segment
    rating: int
    reason: str = ""


@dataclass
class RatingBatch:
    """What came of one round, published when it is complete; ``requested`` counts the segments asked."""

    round: int
    n_classes: int
    requested: int
    rated: list[RatedSegment] = field(default_factory=list)

    @property
    def valid(self) -> list[RatedSegment]:
        """Those that have a rating."""
        return [r for r in self.rated if r.rating != NO_RATING]

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``ratings``. Raises ValueError when segments differ in H, P or A."""
        arrays, ids = _pack([r.segment for r in self.rated])
        arrays["ratings"] = np.array([r.rating for r in self.rated], np.int64)
        meta = {"round": int(self.round), "n_classes": int(self.n_classes), "requested": int(self.requested)}
        return Bundle("ratings", arrays, {**meta, "ids": ids, "reasons": [str(r.reason) for r in self.rated]})

    @staticmethod
    def from_bundle(bundle: Bundle) -> RatingBatch:
        """Inverse of to_bundle. Raises BundleError when the parts do not agree or a class is out of range."""
        segments = _unpack(bundle)
        n_classes, ratings = _int(bundle, "n_classes"), bundle.arrays["ratings"].tolist()
        reasons = bundle.meta.get("reasons")
        if (
            not isinstance(reasons, list)
            or len(reasons) != len(segments)
            or not all(isinstance(r, str) for r in reasons)
        ):
            raise BundleError(f"ratings: meta.reasons must be {len(segments)} texts")
        if n_classes < 2 or any(not NO_RATING <= r < n_classes for r in ratings):
            raise BundleError(f"ratings: a class is outside -1..{n_classes - 1}")
        rated = [RatedSegment(*parts) for parts in zip(segments, ratings, reasons)]
        return RatingBatch(_int(bundle, "round"), n_classes, _int(bundle, "requested"), rated)


def _int(bundle: Bundle, key: str) -> int:
    value = bundle.meta.get(key)
    if type(value) is not int or value < 0:
        raise BundleError(f"{bundle.kind}: meta.{key} must be a whole number >= 0, got {value!r}")
    return value


def _pack(segments: Sequence[Segment]) -> tuple[dict[str, np.ndarray], list[str]]:
    shapes = {(s.proprio.shape, s.actions.shape) for s in segments}
    if len(shapes) > 1:
        raise ValueError(f"segments of one batch must have equal H, P and A, got {sorted(shapes)}")
    data, offsets = pack_jpegs([jpeg for s in segments for jpeg in s.jpegs])
    empty = np.zeros((0, 0, 0), np.float32)
    arrays = {
        "jpeg": data,
        "jpeg_offsets": offsets,
        "proprio": np.stack([s.proprio for s in segments]) if segments else empty,
        "actions": np.stack([s.actions for s in segments]) if segments else empty,
        "stamps": np.stack([s.stamps for s in segments]) if segments else np.zeros((0, 0), np.int64),
    }
    return arrays, [s.id for s in segments]


def _unpack(bundle: Bundle) -> list[Segment]:
    arrays, ids = bundle.arrays, bundle.meta.get("ids")
    count, length = arrays["stamps"].shape
    if not isinstance(ids, list) or len(ids) != count or not all(isinstance(i, str) for i in ids):
        raise BundleError(f"{bundle.kind}: meta.ids must be {count} texts")
    try:
        jpegs = unpack_jpegs(arrays["jpeg"], arrays["jpeg_offsets"])
        return [
            Segment(
                ids[i],
                jpegs[i * length : (i + 1) * length],
                arrays["proprio"][i],
                arrays["actions"][i],
                arrays["stamps"][i],
            )
            for i in range(count)
        ]
    except ValueError as error:
        raise BundleError(f"{bundle.kind}: {error}") from error
