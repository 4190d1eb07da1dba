# SPDX-License-Identifier: Apache-2.0
"""Segments: a few consecutive frames of an episode, what a query is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.data.images import pack_jpegs, unpack_frames
from erl_vlm_ros.data.spaces import RELEASED_OBSERVATION, Spaces, spaces_in
from erl_vlm_ros.data.views import pack_views, with_views


@dataclass
class Segment:
    """H consecutive frames of one episode. ValueError when lengths differ or a number is not finite."""

    id: str  # for instance "e12_t33_h1": episode, step of the last frame, H
    jpegs: list[bytes]  # H camera frames; of several cameras each a data.views.Frame
    proprio: np.ndarray  # float32 [H, P]
    actions: np.ndarray  # float32 [H, A], the action that led to each frame
    stamps: np.ndarray  # int64 [H], ns
    extras: np.ndarray | None = None  # float32 [H, K], further measurements at each frame; None: [H, 0]
    extra_names: tuple[str, ...] = ()  # K names: wrench_fx .. wrench_tz (N, Nm), effort_JOINT (Nm)
    spaces: Spaces | None = None  # what proprio and actions hold; None: not said, as by version 0.1
    instruction: str = ""  # the sentence of its episode; empty: the task's

    def __post_init__(self) -> None:
        self.proprio = np.ascontiguousarray(self.proprio, np.float32)
        self.actions = np.ascontiguousarray(self.actions, np.float32)
        self.stamps = np.ascontiguousarray(self.stamps, np.int64)
        if self.proprio.ndim != 2 or self.actions.ndim != 2 or self.stamps.ndim != 1:
            raise DataError(
                f"segment {self.id}: proprio [H, P], actions [H, A] and stamps [H] have the wrong rank", field="rank"
            )
        lengths = {len(self.jpegs), len(self.proprio), len(self.actions), len(self.stamps)}
        if len(lengths) != 1 or lengths == {0}:
            raise DataError(
                f"segment {self.id}: frames, proprio, actions and stamps differ in length or are empty", field="length"
            )
        if not (np.isfinite(self.proprio).all() and np.isfinite(self.actions).all()):
            raise DataError(f"segment {self.id}: a number in proprio or actions is not finite", field="values")
        self.extra_names = tuple(self.extra_names)
        shape = (len(self.jpegs), len(self.extra_names))
        extras = np.zeros((shape[0], 0)) if self.extras is None else self.extras
        self.extras = np.ascontiguousarray(extras, np.float32)
        if self.extras.shape != shape or not np.isfinite(self.extras).all():
            raise DataError(
                f"segment {self.id}: extras must be finite numbers [H, K] with K = {shape[1]} names", field="extras"
            )
        if self.spaces is not None:
            said = (self.spaces.observation.proprio_size, self.spaces.action.size)
            if said != (self.proprio.shape[1], self.actions.shape[1]):
                raise DataError(
                    f"segment {self.id}: {self.proprio.shape[1]} numbers of proprioception and {self.actions.shape[1]} "
                    f"of an action, its spaces say {said[0]} and {said[1]}",
                    field="spaces",
                )

    def proprio_part(self, name: str) -> np.ndarray | None:
        """A part of the proprioception, float32 [H, n]; None when there is no such part, or it is not known."""
        spec = RELEASED_OBSERVATION if self.spaces is None else self.spaces.observation
        if name not in spec or self.proprio.shape[1] != spec.proprio_size:
            return None
        return self.proprio[:, spec.slice(name)]


def segment_id(episode: int, step: int, length: int) -> str:
    """The name of the ``length`` frames up to ``step`` of an episode."""
    return f"e{episode}_t{step}_h{length}"


def place_of(name: str) -> tuple[int, int, int] | None:
    """Episode, step and length of what segment_id named; None for any other name."""
    found = re.fullmatch(r"e(\d+)_t(\d+)_h(\d+)", name)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def transitions(segment: Segment) -> list[Segment]:
    """Its H - 1 transitions as segments of one frame: the frame that each leads to. ValueError for H = 1."""
    length = len(segment.jpegs)
    if length < 2:
        raise DataError(
            f"segment {segment.id}: one frame holds no transition; segment_length must be 2 or more", field="length"
        )
    found = re.fullmatch(rf"(.*_t)(\d+)_h{length}", segment.id)
    out = []
    for i in range(1, length):
        back = length - 1 - i
        name = f"{found.group(1)}{int(found.group(2)) - back}_h1" if found else f"{segment.id}.{i}"
        row = slice(i, i + 1)
        arrays = (segment.proprio[row], segment.actions[row], segment.stamps[row], segment.extras[row])
        out.append(Segment(name, segment.jpegs[row], *arrays, segment.extra_names, segment.spaces, segment.instruction))
    return out


def pack_segments(segments: Sequence[Segment]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, meta) for a bundle. Raises ValueError when segments differ in H, P, A or extras."""
    shapes = {(s.proprio.shape, s.actions.shape, s.extra_names) for s in segments}
    if len(shapes) > 1 or any(s.spaces != segments[0].spaces for s in segments):
        raise DataError(
            f"segments of one batch must have equal H, P, A, extras and spaces, got {sorted(shapes)}", field="segments"
        )
    frames = [jpeg for s in segments for jpeg in s.jpegs]
    data, offsets = pack_jpegs(frames)
    more, names = pack_views(frames)
    empty = np.zeros((0, 0, 0), np.float32)
    arrays = {
        "jpeg": data,
        "jpeg_offsets": offsets,
        "proprio": np.stack([s.proprio for s in segments]) if segments else empty,
        "actions": np.stack([s.actions for s in segments]) if segments else empty,
        "stamps": np.stack([s.stamps for s in segments]) if segments else np.zeros((0, 0), np.int64),
    }
    arrays |= more
    meta: dict[str, Any] = {"ids": [s.id for s in segments], **names}
    if segments and segments[0].spaces is not None:
        meta["spaces"] = segments[0].spaces.to_json()
    if segments and segments[0].extra_names:
        arrays["extras"] = np.stack([s.extras for s in segments])
        meta["extra_names"] = list(segments[0].extra_names)
    if any(s.instruction for s in segments):
        meta["instructions"] = [s.instruction for s in segments]
    return arrays, meta


def unpack_segments(bundle: Bundle) -> list[Segment]:
    """Inverse of pack_segments. Raises BundleError when the parts do not agree."""
    arrays, ids = bundle.arrays, bundle.meta.get("ids")
    count, length = arrays["stamps"].shape
    if not isinstance(ids, list) or len(ids) != count or not all(isinstance(i, str) for i in ids):
        raise BundleError(f"{bundle.kind}: meta.ids must be {count} texts", field=f"{bundle.kind}.meta.ids")
    names, extras = bundle.meta.get("extra_names", []), arrays.get("extras")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or bool(names) != (extras is not None):
        raise BundleError(
            f"{bundle.kind}: meta.extra_names must name the columns of extras", field=f"{bundle.kind}.meta.extra_names"
        )
    said = bundle.meta.get("instructions", [""] * count)
    if not isinstance(said, list) or len(said) != count or not all(isinstance(text, str) for text in said):
        raise BundleError(
            f"{bundle.kind}: meta.instructions must be {count} texts", field=f"{bundle.kind}.meta.instructions"
        )
    try:
        spaces = spaces_in(bundle.meta)
        jpegs = with_views(unpack_frames(arrays["jpeg"], arrays["jpeg_offsets"]), arrays, bundle.meta)
        return [
            Segment(
                ids[i],
                jpegs[i * length : (i + 1) * length],
                arrays["proprio"][i],
                arrays["actions"][i],
                arrays["stamps"][i],
                None if extras is None else extras[i],
                tuple(names),
                spaces,
                said[i],
            )
            for i in range(count)
        ]
    except ValueError as error:
        raise BundleError.of(error, bundle.kind, bundle.kind) from error
