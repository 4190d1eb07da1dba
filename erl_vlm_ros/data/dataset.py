# SPDX-License-Identifier: Apache-2.0
"""A dataset: a folder with one bundle an episode and ``dataset.json``, which says what they are; and its contents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.new_folder import new_folder
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.data.bundle import BundleError, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.notes import Notes
from erl_vlm_ros.data.sources.base import SourcedEpisode
from erl_vlm_ros.data.spaces import Spaces, require_spaces

INFO, FORMAT, VERSION = "dataset.json", "erl_vlm_ros dataset", 1
ROBOT = "robot.yaml"


def write_dataset(
    folder: str | Path,
    task: str,
    episodes: Iterable[Episode | tuple[Episode, Notes | None]],
    made_by: str,
    robot: str | Path | None = None,
) -> int:
    """Write episodes, with what was said of them, numbered anew, into a new or empty folder; returns how many.
    ``robot``: its file, to be copied.

    Raises:
        ConfigError: the folder holds something, there is no episode, they differ in spaces, or notes are of another
            episode.
    """
    with new_folder(folder, "dataset") as path:
        info = new_info(task, made_by) | _write_all(path, episodes)
        if robot is not None:
            shutil.copyfile(robot, path / ROBOT)
        atomic_write(path / INFO, json.dumps(info, indent=1))  # last: a folder that was cut off is no dataset
    return info["episodes"]


def _write_all(path: Path, episodes: Iterable[Episode | tuple[Episode, Notes | None]]) -> dict[str, Any]:
    """What dataset.json says of them: ``rewards`` of all, ``ratings`` of some."""
    count, first, rewarded, rated = 0, None, True, False
    for count, item in enumerate(episodes, start=1):
        episode, notes = item if isinstance(item, tuple) else (item, None)
        first = first or episode
        require_alike(episode, first, path / episode_file(count - 1))
        bundle = replace(episode, index=count - 1).to_bundle()
        (path / episode_file(count - 1)).write_bytes(encode(bundle))
        rewarded = rewarded and notes is not None and notes.rewards is not None
        rated = rated or (notes is not None and notes.ratings is not None)
        if notes is not None and not notes.empty:
            try:
                notes.require(episode.steps)
            except ValueError as error:
                raise ConfigError(f"{path}: episode {count - 1}: {error}", file=str(path)) from error
            (path / _notes_name(count - 1)).write_bytes(encode(notes.to_bundle()))
    if not count:
        raise ConfigError(
            f"{path}: there is no episode to write", code=Code.NOT_GIVEN, parameter="dataset", file=str(path)
        )
    return {"episodes": count, "rewards": rewarded, "ratings": rated}


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
            text = f"{error}. It is of another robot or task: see --robot and --task"
            raise ConfigError(text, file=self.path, code=Code.DOES_NOT_FIT) from error


def survey(path: str | Path) -> Survey:
    """Read a whole dataset. ConfigError names the file that is damaged, or of other spaces than the first."""
    source, lengths, first, largest = DatasetSource(str(path), False), [], None, 0
    while (item := source.poll()) is not None:
        episode = item.episode
        first = first or episode
        lengths.append(episode.steps)
        largest = max(largest, *map(len, episode.jpegs))
        require_alike(episode, first, Path(path) / episode_file(len(lengths) - 1))
    return Survey(
        str(path), str(source.info.get("task", "")), len(lengths), sum(lengths), min(lengths), first.spaces,
        _sizes(first), largest,
    )  # fmt: skip


def _sizes(episode: Episode) -> tuple[int, int]:
    """Of an observation and an action."""
    return episode.observations.shape[1], episode.actions.shape[1]


def require_alike(episode: Episode, first: Episode, where: Path) -> None:
    """ConfigError naming ``where`` for an episode of other spaces than the first, with both."""
    if (episode.spaces, _sizes(episode)) != (first.spaces, _sizes(first)):
        text = f"{where}: episode {episode.index} has {_content(episode)}, but the first {_content(first)}"
        raise ConfigError(text, file=str(where), code=Code.DOES_NOT_FIT)


def _content(episode: Episode) -> str:
    """What its vectors hold, in words."""
    if episode.spaces is None:
        return "{} observations and {} actions a step, and no spec".format(*_sizes(episode))
    return f"{episode.spaces.observation}; {episode.spaces.action}"


def robot_file(path: str | Path) -> str:
    """The copy of its robot's file that a dataset may have; empty: it has none."""
    file = Path(path) / ROBOT
    return str(file) if file.is_file() else ""


class DatasetSource:
    """``data.sources``: the episodes of a dataset, in order, with rewards where all of them have some."""

    def __init__(self, path: str, rewards: bool):
        self._path, self._next, self._rewards = Path(path), 0, rewards
        self.info = read_info(path)
        if rewards and self.info.get("rewards") is not True:
            raise ConfigError(
                f"{path}: this dataset brings no rewards; set learner.rewards_given to false",
                parameter="learner.rewards_given",
            )

    @property
    def exhausted(self) -> bool:
        """Whether all were given."""
        return self._next >= self.info["episodes"]

    def poll(self) -> SourcedEpisode | None:
        """The next one, or None at the end. ConfigError: its file cannot be read."""
        if self.exhausted:
            return None
        index, self._next = self._next, self._next + 1
        file = self._path / episode_file(index)
        try:
            episode = Episode.from_bundle(decode(file.read_bytes(), "episode"))
        except (OSError, BundleError, ValueError) as error:
            raise ConfigError(
                f"{file} cannot be read: {error}",
                parameter="learner.episode_source_path",
                code=Code.UNREADABLE,
                file=str(file),
            ) from error
        notes = self._notes(index, episode.steps) if self._rewards else None
        return SourcedEpisode(episode, None if notes is None else notes.rewards)

    def annotated(self) -> Iterator[tuple[Episode, Notes | None]]:
        """Those that are left, each with what was said of it. ConfigError: a file cannot be read."""
        while (item := self.poll()) is not None:
            yield item.episode, self._notes(self._next - 1, item.episode.steps)

    def _notes(self, index: int, steps: int) -> Notes | None:
        file = self._path / _notes_name(index)
        if not file.is_file():
            return None
        try:
            notes = Notes.from_bundle(decode(file.read_bytes(), "notes"))
            notes.require(steps)
        except (OSError, BundleError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read: {error}", code=Code.UNREADABLE, file=str(file)) from error
        return notes


def read_info(path: str | Path) -> dict[str, Any]:
    """What ``dataset.json`` says. ConfigError: the folder is no dataset of this version."""
    file = Path(path) / INFO
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no dataset: {file} cannot be read: {error}", code=Code.UNREADABLE, file=str(file)
        ) from error
    if not isinstance(info, dict) or info.get("format") != FORMAT or info.get("version") != VERSION:
        raise ConfigError(f"{file}: not a dataset of version {VERSION}", code=Code.OTHER_VERSION, file=str(file))
    if type(info.get("episodes")) is not int or info["episodes"] < 1:
        text = f"{file}: episodes must be a whole number above 0"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="episodes", file=str(file))
    return info


def new_info(task: str, made_by: str) -> dict[str, Any]:
    """What ``dataset.json`` begins with."""
    return {"format": FORMAT, "version": VERSION, "task": task, "made_by": made_by}


def episode_file(index: int) -> str:
    """Name of an episode's file."""
    return f"episode_{index:05d}.bundle"


def _notes_name(index: int) -> str:
    return f"episode_{index:05d}.notes.bundle"
