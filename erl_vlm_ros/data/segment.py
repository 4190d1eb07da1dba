# SPDX-License-Identifier: Apache-2.0
"""Segments to be rated and their ratings, in rounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from erl_vlm_ros.data.images import pack_jpegs, unpack_jpegs
from erl_vlm_ros.ros.bundle import Bundle, BundleError

NO_RATING = -1


@dataclass
class Segment:
    """H consecutive frames of one episode. ValueError when lengths differ or a number is not finite."""

    id: str  # for instance "e12_t33_h1": episode, step of the last frame, H
    jpegs: list[bytes]  # H camera frames
    proprio: np.ndarray  # float32 [H, P]
    actions: np.ndarray  # float32 [H, A], the action that led to each frame
    stamps: np.ndarray  # int64 [H], ns
    extras: np.ndarray | None = None  # float32 [H, K], further measurements at each frame; None: [H, 0]
    extra_names: tuple[str, ...] = ()  # K names: wrench_fx .. wrench_tz (N, Nm), effort_JOINT (Nm)

    def __post_init__(self) -> None:
        self.proprio = np.ascontiguousarray(self.proprio, np.float32)
        self.actions = np.ascontiguousarray(self.actions, np.float32)
        self.stamps = np.ascontiguousarray(self.stamps, np.int64)
        if self.proprio.ndim != 2 or self.actions.ndim != 2 or self.stamps.ndim != 1:
            raise ValueError(f"segment {self.id}: proprio [H, P], actions [H, A] and stamps [H] have the wrong rank")
        lengths = {len(self.jpegs), len(self.proprio), len(self.actions), len(self.stamps)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"segment {self.id}: frames, proprio, actions and stamps differ in length or are empty")
        if not (np.isfinite(self.proprio).all() and np.isfinite(self.actions).all()):
            raise ValueError(f"segment {self.id}: a number in proprio or actions is not finite")
        self.extra_names = tuple(self.extra_names)
        shape = (len(self.jpegs), len(self.extra_names))
        extras = np.zeros((shape[0], 0)) if self.extras is None else self.extras
        self.extras = np.ascontiguousarray(extras, np.float32)
        if self.extras.shape != shape or not np.isfinite(self.extras).all():
            raise ValueError(f"segment {self.id}: extras must be finite numbers [H, K] with K = {shape[1]} names")


def transitions(segment: Segment) -> list[Segment]:
    """Its H - 1 transitions as segments of one frame: the frame that each leads to. ValueError for H = 1."""
    length = len(segment.jpegs)
    if length < 2:
        raise ValueError(f"segment {segment.id}: one frame holds no transition; segment_length must be 2 or more")
    found = re.fullmatch(rf"(.*_t)(\d+)_h{length}", segment.id)
    out = []
    for i in range(1, length):
        back = length - 1 - i
        name = f"{found.group(1)}{int(found.group(2)) - back}_h1" if found else f"{segment.id}.{i}"
        row = slice(i, i + 1)
        arrays = (segment.proprio[row], segment.actions[row], segment.stamps[row], segment.extras[row])
        out.append(Segment(name, segment.jpegs[row], *arrays, segment.extra_names))
    return out


@dataclass
class SegmentBatch:
    """The segments of one rating round; all of one length H."""

    round: int
    segments: list[Segment] = field(default_factory=list)

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``segments``. Raises ValueError when segments differ in H, P or A."""
        arrays, meta = _pack(self.segments)
        return Bundle("segments", arrays, {"round": int(self.round), **meta})

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
    probabilities: np.ndarray | None = None  # float32 [n], a soft label that sums to 1; None: all on the rating
    audited: bool = False  # the rating is the auditor's: it outweighs others of views like it


@dataclass
class RatingBatch:
    """What came of one round, published when it is complete.

    ``requested`` counts the ratings asked for: one a segment, or one a transition of it. ``teacher`` says who
    rated, for instance ``vlm``, ``human``, ``scripted`` or ``vlm audited by human``.
    """

    round: int
    n_classes: int
    requested: int
    rated: list[RatedSegment] = field(default_factory=list)
    teacher: str = ""

    @property
    def valid(self) -> list[RatedSegment]:
        """Those that have a rating."""
        return [r for r in self.rated if r.rating != NO_RATING]

    def to_bundle(self) -> Bundle:
        """Bundle of kind ``ratings``. Raises ValueError when segments differ in H, P or A."""
        arrays, meta = _pack([r.segment for r in self.rated])
        arrays["ratings"] = np.array([r.rating for r in self.rated], np.int64)
        if any(r.probabilities is not None for r in self.rated):
            arrays["probabilities"] = np.stack([soft_label(r, self.n_classes) for r in self.rated])
        if any(r.audited for r in self.rated):
            arrays["audited"] = np.array([r.audited for r in self.rated], np.uint8)
        meta |= {"round": int(self.round), "n_classes": int(self.n_classes), "requested": int(self.requested)}
        meta |= {"reasons": [str(r.reason) for r in self.rated], "teacher": self.teacher}
        return Bundle("ratings", arrays, meta)

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
        soft = _soft_labels(bundle.arrays.get("probabilities"), len(segments), n_classes)
        audited = bundle.arrays.get("audited", np.zeros(len(segments))).astype(bool).tolist()
        rated = [RatedSegment(*parts) for parts in zip(segments, ratings, reasons, soft, audited)]
        teacher = str(bundle.meta.get("teacher", ""))
        return RatingBatch(_int(bundle, "round"), n_classes, _int(bundle, "requested"), rated, teacher)


def soft_label(rated: RatedSegment, n_classes: int) -> np.ndarray:
    """float32 [n]: the rating's probabilities, or all on its class; zeros for no rating. ValueError: wrong length."""
    if rated.rating == NO_RATING:
        return np.zeros(n_classes, np.float32)
    if rated.probabilities is None:
        return np.eye(n_classes, dtype=np.float32)[rated.rating]
    label = np.asarray(rated.probabilities, np.float32)
    if label.shape != (n_classes,):
        raise ValueError(f"segment {rated.segment.id}: {label.shape} probabilities for {n_classes} classes")
    return label


def _soft_labels(array: np.ndarray | None, count: int, n_classes: int) -> list[np.ndarray | None]:
    """One soft label a rating; None where nothing but the class was told."""
    if array is None:
        return [None] * count
    sums = array.sum(1)
    if array.shape[1] != n_classes or not np.isfinite(array).all() or (array < 0).any():
        raise BundleError(f"ratings: probabilities must be {n_classes} numbers >= 0 each")
    if (np.minimum(np.abs(sums - 1), np.abs(sums)) > 1e-3).any():
        raise BundleError("ratings: probabilities must sum to 1")
    return [row if total > 0.5 and row.max() < 1 else None for row, total in zip(array, sums)]


def _int(bundle: Bundle, key: str) -> int:
    value = bundle.meta.get(key)
    if type(value) is not int or value < 0:
        raise BundleError(f"{bundle.kind}: meta.{key} must be a whole number >= 0, got {value!r}")
    return value


def _pack(segments: Sequence[Segment]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    shapes = {(s.proprio.shape, s.actions.shape, s.extra_names) for s in segments}
    if len(shapes) > 1:
        raise ValueError(f"segments of one batch must have equal H, P, A and extras, got {sorted(shapes)}")
    data, offsets = pack_jpegs([jpeg for s in segments for jpeg in s.jpegs])
    empty = np.zeros((0, 0, 0), np.float32)
    arrays = {
        "jpeg": data,
        "jpeg_offsets": offsets,
        "proprio": np.stack([s.proprio for s in segments]) if segments else empty,
        "actions": np.stack([s.actions for s in segments]) if segments else empty,
        "stamps": np.stack([s.stamps for s in segments]) if segments else np.zeros((0, 0), np.int64),
    }
    meta: dict[str, Any] = {"ids": [s.id for s in segments]}
    if segments and segments[0].extra_names:
        arrays["extras"] = np.stack([s.extras for s in segments])
        meta["extra_names"] = list(segments[0].extra_names)
    return arrays, meta


def _unpack(bundle: Bundle) -> list[Segment]:
    arrays, ids = bundle.arrays, bundle.meta.get("ids")
    count, length = arrays["stamps"].shape
    if not isinstance(ids, list) or len(ids) != count or not all(isinstance(i, str) for i in ids):
        raise BundleError(f"{bundle.kind}: meta.ids must be {count} texts")
    names, extras = bundle.meta.get("extra_names", []), arrays.get("extras")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or bool(names) != (extras is not None):
        raise BundleError(f"{bundle.kind}: meta.extra_names must name the columns of extras")
    try:
        jpegs = unpack_jpegs(arrays["jpeg"], arrays["jpeg_offsets"])
        return [
            Segment(
                ids[i],
                jpegs[i * length : (i + 1) * length],
                arrays["proprio"][i],
                arrays["actions"][i],
                arrays["stamps"][i],
                None if extras is None else extras[i],
                tuple(names),
            )
            for i in range(count)
        ]
    except ValueError as error:
        raise BundleError(f"{bundle.kind}: {error}") from error
