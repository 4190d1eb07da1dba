# SPDX-License-Identifier: Apache-2.0
"""A dataset: a folder with one bundle an episode and ``dataset.json``, which says what they are; and its contents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.data.bundle import BundleError, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.data.sources.base import SourcedEpisode
from erl_vlm_ros.data.spaces import Spaces, require_spaces

INFO, FORMAT, VERSION = "dataset.json", "erl_vlm_ros dataset", 1
ROBOT = "robot.yaml"


def write_dataset(
    folder: str | Path, task: str, episodes: Iterable[Episode], made_by: str, robot: str | Path | None = None
) -> int:
    """Write episodes, numbered anew, into a new or empty folder; returns how many. ``robot``: its file, to be copied.

    Raises:
        ConfigError: the folder holds something, there is no episode, or they differ in spaces.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is there already and not empty: name a new folder")
    path.mkdir(parents=True, exist_ok=True)
    count, first = 0, None
    for count, episode in enumerate(episodes, start=1):
        first = first or episode
        if episode.spaces != first.spaces or episode.observations.shape[1] != first.observations.shape[1]:
            raise ConfigError(f"{path}: episode {count - 1} has other spaces than the first: {episode.spaces}")
        bundle = replace(episode, index=count - 1).to_bundle()
        (path / _name(count - 1)).write_bytes(encode(bundle))
    if not count:
        raise ConfigError(f"{path}: there is no episode to write")
    if robot is not None:
        shutil.copyfile(robot, path / ROBOT)
    info = {"format": FORMAT, "version": VERSION, "task": task, "episodes": count, "made_by": made_by}
    atomic_write(path / INFO, json.dumps(info, indent=1))  # last: a folder that was cut off is no dataset
    return count


@dataclass(frozen=True)
class Survey:
    """What is in a dataset: ``steps`` of all its ``episodes``, those of the ``shortest``, and what its vectors hold
    (None: not said; then only ``sizes``, of an observation and an action, are known). ``frame_bytes``: of its largest
    JPEG."""

    path: str
    task: str
    episodes: int
    steps: int
    shortest: int
    spaces: Spaces | None
    sizes: tuple[int, int]
    frame_bytes: int

    def require(self, spaces: Spaces) -> None:
        """Refuse a dataset that does not hold these spaces: ConfigError names both."""
        try:
            if self.spaces is None:
                require_spaces(spaces, None, self.sizes, f"dataset {self.path}")
            else:
                spaces.require_in(self.spaces, f"dataset {self.path}")
        except ValueError as error:
            raise ConfigError(
                f"{error}. It is of another robot or task: see --robot and --task", file=self.path
            ) from error


def survey(path: str | Path) -> Survey:
    """Read a whole dataset. ConfigError names the file that is damaged, or of other spaces than the first."""
    source, lengths, first, largest = DatasetSource(str(path), False), [], None, 0
    while (item := source.poll()) is not None:
        episode = item.episode
        first = first or episode
        lengths.append(episode.steps)
        largest = max(largest, *map(len, episode.jpegs))
        sizes = episode.observations.shape[1], episode.actions.shape[1]
        if episode.spaces != first.spaces or sizes != (first.observations.shape[1], first.actions.shape[1]):
            file = Path(path) / _name(len(lengths) - 1)
            raise ConfigError(f"{file} has the spaces {episode.spaces}, but the first {first.spaces}", file=str(file))
    return Survey(
        str(path), str(source.info.get("task", "")), len(lengths), sum(lengths), min(lengths), first.spaces,
        (first.observations.shape[1], first.actions.shape[1]), largest,
    )  # fmt: skip


def robot_file(path: str | Path) -> str:
    """The copy of its robot's file that a dataset may have; empty: it has none."""
    file = Path(path) / ROBOT
    return str(file) if file.is_file() else ""


class DatasetSource:
    """``data.sources``: the episodes of a dataset, in order. It brings no rewards."""

    def __init__(self, path: str, rewards: bool):
        self._path, self._next = Path(path), 0
        if rewards:
            raise ConfigError(
                f"{path}: a dataset brings no rewards; set learner.rewards_given to false",
                parameter="learner.rewards_given",
            )
        self.info = read_info(path)

    @property
    def exhausted(self) -> bool:
        """Whether all were given."""
        return self._next >= self.info["episodes"]

    def poll(self) -> SourcedEpisode | None:
        """The next one, or None at the end. ConfigError: its file cannot be read."""
        if self.exhausted:
            return None
        file, self._next = self._path / _name(self._next), self._next + 1
        try:
            return SourcedEpisode(Episode.from_bundle(decode(file.read_bytes(), "episode")))
        except (OSError, BundleError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read: {error}", parameter="learner.episode_source_path") from error


def read_info(path: str | Path) -> dict[str, Any]:
    """What ``dataset.json`` says. ConfigError: the folder is no dataset of this version."""
    file = Path(path) / INFO
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no dataset: {file} cannot be read: {error}") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT or info.get("version") != VERSION:
        raise ConfigError(f"{file}: not a dataset of version {VERSION}")
    if type(info.get("episodes")) is not int or info["episodes"] < 1:
        raise ConfigError(f"{file}: episodes must be a whole number above 0")
    return info


def figures(episodes: Iterable[Episode]) -> dict[str, Any]:
    """Counts and rates: episodes, steps, steps driven by a person, verdicts, control rate (Hz), episode lengths."""
    found = list(episodes)
    steps = [episode.steps for episode in found]
    gaps = np.concatenate([np.diff(episode.stamps) for episode in found]) / 1e9
    verdicts = [episode.success for episode in found if episode.success is not None]
    return {
        "episodes": len(found), "steps": sum(steps), "shortest": min(steps), "longest": max(steps),
        "driven_by_a_person": int(sum(np.sum(episode.intervention) for episode in found)),
        "judged": len(verdicts), "succeeded": int(sum(verdicts)),
        "control_hz": round(float(1 / np.median(gaps)), 3) if len(gaps) and np.median(gaps) > 0 else None,
        "observation_size": int(found[0].observations.shape[1]), "action_size": int(found[0].actions.shape[1]),
    }  # fmt: skip


def contact_sheet(episodes: Iterable[Episode], columns: int = 6, rows: int = 12, side: int = 96) -> np.ndarray:
    """uint8 [h, w, 3], BGR: a row of evenly spread frames for each of some evenly spread episodes."""
    import cv2

    found = list(episodes)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(rows, len(found))).round().astype(int))
    lines = []
    for i in chosen:
        jpegs = found[i].jpegs
        at = np.linspace(0, len(jpegs) - 1, columns).round().astype(int)
        lines.append(np.concatenate([cv2.resize(decode_image(jpegs[k]), (side, side)) for k in at], axis=1))
    return np.concatenate(lines)


def _name(index: int) -> str:
    return f"episode_{index:05d}.bundle"
