# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras: one moment, an image of each camera.

A frame is its first camera's JPEG, as in a run of one camera, and carries the others' beside it: what knows one
camera works on, what chooses cameras asks by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.cameras import MOST
from erl_vlm_ros.data.images import ImageError, decode_many, pack_jpegs, unpack_frames, unpack_jpegs

JPEG, OFFSETS, NAMES = "views", "views_offsets", "cameras"  # arrays of further cameras, and the names in meta


class Frame(bytes):
    """The first camera's JPEG. ``images``: camera -> JPEG of all of them, the first included, in order."""

    images: Mapping[str, bytes]

    @classmethod
    def of(cls, images: Mapping[str, bytes]) -> Frame:
        """A frame of these images, the first camera's first. ValueError: there is none."""
        if not images:
            raise ValueError("a frame needs an image")
        frame = cls(next(iter(images.values())))
        frame.images = dict(images)
        return frame

    def __reduce__(self) -> tuple[Any, ...]:
        return Frame.of, (dict(self.images),)

    def __copy__(self) -> Frame:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Frame:
        return self


def cameras_of(frames: Sequence[bytes]) -> tuple[str, ...]:
    """Names of the cameras of some frames, in order; none: one camera without a name.

    Raises:
        ValueError: they are of different cameras.
    """
    found = {tuple(frame.images) if isinstance(frame, Frame) else () for frame in frames}
    if len(found) > 1:
        told = " and ".join(", ".join(names) or "one camera without a name" for names in sorted(found))
        raise ValueError(f"frames of different cameras: {told}")
    return found.pop() if found else ()


def view(frame: bytes, camera: str) -> bytes:
    """The JPEG of one camera; ``camera`` empty: of the first. ValueError: the frame has none of that name."""
    if not camera:
        return frame
    images = frame.images if isinstance(frame, Frame) else {}
    if camera not in images:
        told = ", ".join(images) or "one camera without a name"
        raise ValueError(f"a frame holds no image of the camera '{camera}'; it holds {told}")
    return images[camera]


def views(frame: bytes, cameras: Sequence[str]) -> bytes:
    """The frame with these cameras alone, in this order; none: as it is. ValueError: it lacks one."""
    return Frame.of({camera: view(frame, camera) for camera in cameras}) if cameras else frame


def all_jpegs(frames: Sequence[bytes]) -> list[bytes]:
    """Every image of some frames: of each frame those of its cameras, in order."""
    return [jpeg for frame in frames for jpeg in (frame.images.values() if isinstance(frame, Frame) else (frame,))]


def decode_views(frames: Sequence[bytes], size: int, cameras: Sequence[str] = ()) -> np.ndarray:
    """Decode N frames to uint8 [N, size * C, size, 3], RGB: the C cameras below each other, in the order asked for.

    ``cameras``: none: the first camera's alone, [N, size, size, 3]. Raises ValueError naming the first bad frame, or
    a camera that is missing.
    """
    if not cameras:
        return decode_many(frames, size)
    parts = []
    for camera in cameras:
        try:
            parts.append(decode_many([view(frame, camera) for frame in frames], size))
        except ValueError as error:
            raise ValueError(f"camera '{camera}': {error}") from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def split_views(images: np.ndarray, count: int) -> list[np.ndarray]:
    """The images [N, s, s, 3] of each of ``count`` cameras, out of [N, s * count, s, 3]. ValueError: another shape."""
    if images.ndim != 4 or images.shape[1] != count * images.shape[2]:
        raise ValueError(f"expected images [N, s * {count}, s, 3] of {count} cameras, got {list(images.shape)}")
    side = images.shape[2]
    return [images[:, i * side : (i + 1) * side] for i in range(count)]


def names_in(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The cameras that a meta names; none: one without a name. ValueError: no list of different names."""
    names = meta.get(NAMES, [])
    if (
        not isinstance(names, (list, tuple))
        or len(names) > MOST
        or not all(isinstance(name, str) and 0 < len(name) <= 64 for name in names)
        or len(set(names)) != len(names)
    ):
        raise ValueError(f"meta.{NAMES} is no list of at most {MOST} different names")
    return tuple(names)


def pack_views(frames: Sequence[bytes]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, meta) of the further cameras, beside ``pack_jpegs`` of the frames; nothing for one without a name.

    ``views`` uint8 [V] holds, of each frame, the images of the second camera and those after it.
    """
    names = cameras_of(frames)
    if not names:
        return {}, {}
    data, offsets = pack_jpegs([jpeg for frame in frames for jpeg in list(frame.images.values())[1:]])
    return {JPEG: data, OFFSETS: offsets}, {NAMES: list(names)}


def with_views(
    frames: Sequence[bytes], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], trusted: bool = False
) -> list[bytes]:
    """Inverse of ``pack_views``: the frames with what the further cameras saw.

    Args:
        trusted: of a checkpoint; else every image is looked at.

    Raises:
        ValueError: names or arrays that do not fit the frames, or an image that cannot be decoded.
    """
    names = names_in(meta)
    if not names and JPEG not in arrays:
        return list(frames)
    if not names or JPEG not in arrays or OFFSETS not in arrays:
        raise ValueError("the frames' cameras are not named, or their images are missing")
    more = (unpack_jpegs if trusted else unpack_frames)(arrays[JPEG], arrays[OFFSETS])
    others = len(names) - 1
    if len(more) != others * len(frames):
        raise ImageError(f"{len(frames)} frames of {len(names)} cameras need {others * len(frames)} further images, "
                         f"got {len(more)}")  # fmt: skip
    rows = (more[i * others : (i + 1) * others] for i in range(len(frames)))
    return [Frame.of(dict(zip(names, (bytes(frame), *row)))) for frame, row in zip(frames, rows)]


def changed(frame: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The frame with every image of it changed."""
    if not isinstance(frame, Frame):
        return change(frame)
    return Frame.of({camera: change(jpeg) for camera, jpeg in frame.images.items()})


def grouped(jpegs: Sequence[bytes], cameras: Sequence[str]) -> list[bytes]:
    """Inverse of ``all_jpegs``: frames of these cameras; none: one without a name. ValueError: another number."""
    count = len(cameras)
    if not count:
        return list(jpegs)
    if len(jpegs) % count:
        raise ValueError(f"{len(jpegs)} images are no frames of {count} cameras")
    return [Frame.of(dict(zip(cameras, jpegs[i : i + count]))) for i in range(0, len(jpegs), count)]
