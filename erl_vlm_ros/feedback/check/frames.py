# SPDX-License-Identifier: Apache-2.0
"""What a rater is checked on: frames along trajectories from a folder, a bag or the simulation, with true classes
where they are known."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, file_fault
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.bag import is_bag, read_images
from erl_vlm_ros.data.image_headers import JPEG_SIGNATURE, ImageError
from erl_vlm_ros.data.images import decode_image, encode_jpeg
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.spaces import RELEASED_OBSERVATION, action_spec

SIM = "sim"
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass
class CheckFrames:
    """Frames in the order of time, trajectory after trajectory.

    names, jpegs, trajectory: one entry a frame; trajectory tells which frames belong together, int64 [N].
    reference: n -> true classes int64 [N], -1 where unknown; empty without reference labels.
    good: whether every trajectory is known to do the task well from start to end.
    """

    names: list[str]
    jpegs: list[bytes]
    trajectory: np.ndarray
    reference: dict[int, np.ndarray] = field(default_factory=dict)
    good: bool = False
    source: str = ""

    def __len__(self) -> int:
        return len(self.jpegs)

    def segments(self, task: Task) -> list[Segment]:
        """One segment of one frame each; nothing is known of proprioception and actions: zeros of the released size."""
        zeros = np.zeros((1, RELEASED_OBSERVATION.proprio_size), np.float32)
        still = np.zeros((1, action_spec(task).size), np.float32)
        return [
            Segment(f"check_{i}_{name}", [jpeg], zeros, still, np.array([i]))
            for i, (name, jpeg) in enumerate(zip(self.names, self.jpegs))
        ]

    def take(self, index: np.ndarray) -> CheckFrames:
        """Some of the frames."""
        return CheckFrames(
            [self.names[i] for i in index], [self.jpegs[i] for i in index], self.trajectory[index],
            {n: classes[index] for n, classes in self.reference.items()}, self.good, self.source,
        )  # fmt: skip


def load_frames(source: str, task: str, count: int, seed: int = 0, topic: str = "", good: bool = False) -> CheckFrames:
    """Frames from ``sim``, a bag (folder, .mcap, .db3), or a folder of images (a sub-folder a trajectory).

    Args:
        count: at most so many, evenly spread; runs of neighbours are kept together as far as that allows.
        good: what the caller knows of the trajectories; in simulation it is known anyway.

    Raises:
        ConfigError: nothing there, or an image that cannot be read; names it.
    """
    if count < 2:
        raise ConfigError(f"--count must be 2 or more, got {count}", parameter="count")
    if source == SIM:
        return _simulated(task, count, seed)
    path = Path(source)
    if not path.exists():
        text = f"--frames {source} does not exist; give a folder of images, a bag, or 'sim'"
        raise ConfigError(text, code=Code.MISSING_FILE, parameter="frames", file=str(source))
    if is_bag(path):
        images = read_images(path, topic)
        frames = CheckFrames(
            [str(stamp) for stamp, _ in images], [jpeg for _, jpeg in images],
            np.zeros(len(images), np.int64), good=good, source=str(path),
        )  # fmt: skip
    else:
        frames = _folder(path, good)
    return frames.take(np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)))


def read_reference(path: str | Path, frames: CheckFrames, names: dict[int, list[str]]) -> dict[int, np.ndarray]:
    """Reference labels from a CSV with the columns frame and class (or class_2, class_3, ...).

    Args:
        names: n -> class names, worst first; a label is a name, or its number from 0.

    Raises:
        ConfigError: a column is missing, or a label or frame is unknown; names file and line.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            fields = reader.fieldnames or []
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        problem = f"reference labels {path} cannot be read: {error}"
        raise ConfigError(problem, code=file_fault(error), file=str(path)) from error
    columns = {n: f"class_{n}" for n in names if f"class_{n}" in fields}
    if "class" in fields and len(names) == 1:
        columns = {next(iter(names)): "class"}
    if "frame" not in fields or not columns:
        problem = f"{path}:1: needs the columns frame and class_N (class will do for one N); it has {fields}"
        raise ConfigError(problem, code=Code.UNREADABLE, file=f"{path}:1")
    index = {name: i for i, name in enumerate(frames.names)}
    out = {n: np.full(len(frames), -1, np.int64) for n in columns}
    for line, row in enumerate(rows, start=2):
        if row["frame"] not in index:
            continue  # frames that were left out for --count
        for n, column in columns.items():
            text = (row[column] or "").strip()
            if text:
                out[n][index[row["frame"]]] = _label(text, names[n], f"{path}:{line}", column)
    if all((labels < 0).all() for labels in out.values()):
        problem = f"{path}: none of its frames is among the frames that are checked, such as {frames.names[0]}"
        raise ConfigError(problem, code=Code.DOES_NOT_FIT, file=str(path))
    return out


def _label(text: str, names: list[str], where: str, column: str) -> int:
    lowered = [name.lower() for name in names]
    if text.lower() in lowered:
        return lowered.index(text.lower())
    if text.isdigit() and int(text) < len(names):
        return int(text)
    problem = f"{where}: {column}: '{text}' is none of {', '.join(names)} (or 0..{len(names) - 1})"
    raise ConfigError(problem, code=Code.UNKNOWN, parameter=column, file=where)


def _folder(path: Path, good: bool) -> CheckFrames:
    if not path.is_dir():
        raise ConfigError(
            f"--frames {path} is neither a folder nor a bag (.mcap, .db3)", parameter="frames", file=str(path)
        )
    files = sorted((p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES), key=_natural)
    if not files:
        text = f"--frames {path} holds no image ({', '.join(_SUFFIXES)})"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="frames", file=str(path))
    parents = sorted({p.parent for p in files})
    return CheckFrames(
        [str(p.relative_to(path)) for p in files], [_image(p) for p in files],
        np.array([parents.index(p.parent) for p in files]), good=good, source=str(path),
    )  # fmt: skip


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]


def _image(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        image = decode_image(data)
    except ImageError as error:
        raise ConfigError(f"{path} cannot be read as an image: {error}", code=Code.UNREADABLE, file=str(path)) from None
    return data if data[:2] == JPEG_SIGNATURE else encode_jpeg(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), 95)


def _simulated(task: str, count: int, seed: int) -> CheckFrames:
    from erl_vlm_ros.sim.trajectories import trajectories

    names, jpegs, trajectory, classes = [], [], [], []
    for number, frames in enumerate(trajectories(task, count, seed)):
        for step, frame in enumerate(frames):
            names.append(f"episode{number}_step{step}")
            jpegs.append(frame.jpeg)
            trajectory.append(number)
            classes.append(frame.classes)
    reference = {n: np.array([c[n] for c in classes]) for n in classes[0]}
    return CheckFrames(names, jpegs, np.array(trajectory), reference, good=False, source=SIM)
