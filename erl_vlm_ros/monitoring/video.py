# SPDX-License-Identifier: Apache-2.0
"""Evaluation episodes as a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from erl_vlm_ros.data.image_headers import ImageError
from erl_vlm_ros.monitoring.side_by_side import shown

# MPEG-4 Part 2: in every OpenCV build. VP9 also plays in browsers but took 40 times as long to encode.
CODEC = "mp4v"
HOLD_FRAMES = 5  # the last image stands still this long


@dataclass
class Clip:
    """JPEG frames of one episode and a caption; ``success`` None when unknown."""

    jpegs: Sequence[bytes]
    caption: str
    success: bool | None = None


def write_film(folder: Path, clips: Sequence[Clip], fps: float, scale: int, stem: str = "evaluation") -> Path | None:
    """Write ``folder/stem.mp4``, or ``.gif`` where this OpenCV cannot encode; None when there is nothing
    to show.

    Raises:
        OSError: neither could be written.
    """
    if not clips:
        return None
    first = next(_frames(clips[:1], scale))
    path = folder / f"{stem}.mp4"
    if _write_mp4(path, clips, fps, scale, first.shape):
        return path
    path.unlink(missing_ok=True)
    return _write_gif(folder / f"{stem}.gif", clips, fps)


def _write_mp4(path: Path, clips: Sequence[Clip], fps: float, scale: int, shape: tuple[int, ...]) -> bool:
    try:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODEC), fps, (shape[1], shape[0]))
        if not writer.isOpened():
            return False
        for frame in _frames(clips, scale):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
    except cv2.error:
        return False
    return path.is_file() and path.stat().st_size > 0


def _write_gif(path: Path, clips: Sequence[Clip], fps: float) -> Path:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in _frames(clips, 1)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=int(1000 / fps), loop=0)
    return path


def _frames(clips: Sequence[Clip], scale: int) -> Iterator[np.ndarray]:
    """RGB frames, all of the size of the first, with caption and outcome."""
    size: tuple[int, int] | None = None
    for clip in clips:
        for i, jpeg in enumerate(clip.jpegs):
            try:
                seen = shown(jpeg)
            except ImageError:
                continue
            if size is None:
                # Encoders want even sizes.
                size = (seen.shape[1] * scale // 2 * 2, seen.shape[0] * scale // 2 * 2)
            frame = cv2.resize(seen, size, interpolation=cv2.INTER_CUBIC)
            last = i == len(clip.jpegs) - 1
            _label(frame, clip.caption, clip.success if last else None)
            for _ in range(HOLD_FRAMES if last else 1):
                yield frame


def _label(frame: np.ndarray, caption: str, success: bool | None) -> None:
    height, width = frame.shape[:2]
    cv2.rectangle(frame, (0, height - 22), (width, height), (0, 0, 0), -1)
    cv2.putText(frame, caption, (6, height - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    if success is not None:
        colour = (60, 200, 90) if success else (225, 80, 70)
        cv2.rectangle(frame, (0, 0), (width - 1, height - 1), colour, 4)
