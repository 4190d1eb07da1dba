# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset as episodes of ours: exactly, where we wrote it; else by joints, forward kinematics and motion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.notes import Notes
from erl_vlm_ros.data.spaces import IMAGES, STATE, Spaces, SpecError, run_spaces
from erl_vlm_ros.data.views import grouped
from erl_vlm_ros.recordings.align import Unfit
from erl_vlm_ros.recordings.build import Report
from erl_vlm_ros.recordings.lerobot import layout as lay
from erl_vlm_ros.recordings.lerobot.foreign import Foreign
from erl_vlm_ros.recordings.lerobot.tables import Dataset, Rows
from erl_vlm_ros.recordings.options import BuildOptions
from erl_vlm_ros.recordings.problems import Reason, RecordingError, Skipped


class Importer:
    """``report`` grows while the episodes are taken."""

    def __init__(
        self,
        path: str | Path,
        options: BuildOptions,
        by_hand: Mapping[int, bool] | bool | None = None,
        *,
        degrees: bool = False,
        state_names: tuple[str, ...] = (),
    ):
        """Args:
            options: ``cameras`` are keys of features; what concerns topics does not count.
            by_hand: as of Builder.
            degrees: joints are in degrees. state_names: of the numbers in observation.state, where it does not say.

        Raises:
            RecordingError: it is no dataset of version 3, or lacks a column.
        """
        self.options, self.report, self._by_hand = options, Report(), by_hand
        self._degrees, self._state_names = degrees, state_names
        self.ours = (Path(path) / lay.INFO).is_file() and (Path(path) / lay.OURS).is_file()
        if self.ours:
            self._spaces, self._about = _our_file(Path(path))
            self.dataset = Dataset(path, self._spaces.observation.cameras)
        else:
            self.dataset = Dataset(path, options.camera_names, options.cameras)

    def episodes(self) -> Iterator[tuple[Episode, Notes | None]]:
        """The episodes, numbered from 0; those that cannot be used stand in the report.

        Raises:
            RecordingError: the dataset as a whole cannot be used: ``SPACES``, ``UNREADABLE``, ``TRUNCATED``,
                ``JOINTS``, ``URDF``, ``NO_TOPIC``.
        """
        take = self._exact() if self.ours else Foreign(
            self.dataset, self.options, self._degrees, self._state_names
        ).episode  # fmt: skip
        self.report.recordings.append({"recording": str(self.dataset.path), "exact": self.ours})
        for rows in self.dataset.episodes():
            number, self.report.found = self.report.found, self.report.found + 1
            try:
                episode, notes, told = take(rows)
            except Unfit as problem:
                where = str(self.dataset.path)
                self.report.skipped.append(Skipped(where, number, problem.reason, problem.text, problem.topic))
                continue
            told = {"number": number, "recording": str(self.dataset.path), "steps": episode.steps, **told}
            self.report.episodes.append(told)
            index = len(self.report.episodes) - 1
            yield replace(episode, index=index, success=self._success(number, episode.success)), notes

    def _success(self, number: int, said: bool | None) -> bool | None:
        if isinstance(self._by_hand, bool):
            return self._by_hand
        return said if self._by_hand is None else self._by_hand.get(number, False)

    # -- a dataset that we wrote

    def _exact(self) -> Any:
        data = self.dataset
        for name in (lay.OBSERVATION, lay.ACTION, lay.STAMP, lay.DRIVEN):
            data.require(name)
        try:
            final = data.read_rows(data.path / lay.FINAL)
        except Exception as error:  # whatever a damaged file does to the libraries beneath
            raise data.error(Reason.UNREADABLE, f"{lay.FINAL}: {error}") from error
        spaces, about = self._spaces, self._about
        self._require(spaces)
        last = {row["episode_index"]: row for row in final}

        def take(rows: Rows) -> tuple[Episode, Notes | None, dict[str, Any]]:
            if rows.number not in last or not 0 <= rows.number < len(about):
                raise Unfit(Reason.TRUNCATED, f"{lay.FINAL} has no last frame of it")
            for name in (lay.OBSERVATION, lay.ACTION):
                bad = np.flatnonzero(~np.isfinite(rows.columns[name].reshape(rows.count, -1)).all(1))
                if len(bad):
                    text = f"row {bad[0]} of {rows.count} in {name} is not finite"
                    raise Unfit(Reason.NOT_FINITE, text, name)
            try:
                return (*_exact(rows, last[rows.number], about[rows.number], spaces, data), {})
            except (ValueError, KeyError, TypeError) as error:
                raise Unfit(Reason.UNREADABLE, str(error)) from error

        return take

    def _require(self, held: Spaces) -> None:
        """Refuse spaces of another robot or task."""
        robot, task = self.options.robot, self.options.task
        tracked = self.options.observe != IMAGES and "object" in held.observation and task.observed_object != "none"
        values = {
            "joint_names": list(robot.joints or held.observation.joint_names), "gripper_max": robot.gripper.max_width,
            "gripper_joints": list(robot.gripper.joints) or None, "observe": STATE if tracked else IMAGES,
        }  # fmt: skip
        try:
            run_spaces(values, task).require_in(held, str(self.dataset.path))
        except SpecError as error:
            raise RecordingError(
                Reason.SPACES, f"{error}. Is it of another --robot or --task?", file=str(self.dataset.path)
            ) from error


def _our_file(path: Path) -> tuple[Spaces, list[Any]]:
    """What stands beside a dataset that we wrote: its spaces, and facts of each episode."""
    file = path / lay.OURS
    try:
        ours = lay.read_json(file)
        if ours["version"] != lay.OURS_VERSION:
            raise RecordingError(Reason.VERSION, f"{file} is of version {ours['version']}", file=str(file))
        return Spaces.from_json(ours["spaces"]), list(ours["episodes"])
    except RecordingError:
        raise
    except (ConfigError, LookupError, TypeError, ValueError) as error:
        raise RecordingError(Reason.UNREADABLE, f"{file}: {error}", file=str(file)) from error


def _exact(rows: Rows, last: dict[str, Any], about: dict[str, Any], spaces: Spaces, data: Dataset) -> Any:
    """(Episode, Notes or None) of rows that we wrote."""
    columns = rows.columns
    steps = rows.count
    images = [[*seen, last[key]] for (_, key), seen in zip(data.cameras, rows.images)]
    names = [name for name, _ in data.cameras if name]
    frames = grouped([jpeg for row in zip(*images) for jpeg in row], names)

    def with_last(name: str) -> np.ndarray:
        return np.concatenate([columns[name].reshape(steps, -1), np.reshape(last[name], (1, -1))])

    extras = data.names(lay.EXTRAS) if lay.EXTRAS in columns else []
    success = {1: True, 0: False, -1: None}[about["success"]]
    episode = Episode(
        observations=with_last(lay.OBSERVATION), actions=columns[lay.ACTION].reshape(steps, -1),
        jpegs=frames, stamps=with_last(lay.STAMP)[:, 0].astype(np.int64),
        terminated=bool(about["terminated"]), truncated=bool(about["truncated"]), evaluation=False, index=rows.number,
        actor_version=int(about["actor_version"]), seed=int(about["seed"]),
        prop_dim=spaces.observation.proprio_size, spaces=spaces, intervention=columns[lay.DRIVEN].reshape(-1),
        success=success, extras=with_last(lay.EXTRAS) if extras else None, extra_names=extras,
    )  # fmt: skip
    rewards = columns[lay.REWARD].reshape(-1) if lay.REWARD in columns and about.get("rewarded") else None
    ratings = with_last(lay.RATING)[:, 0].astype(np.int64) if lay.RATING in columns and about.get("rated") else None
    if rewards is None and ratings is None:
        return episode, None
    said = (int(about["n_classes"]), str(about["rater"]), str(about["reward_model"]))
    return episode, Notes(rewards, ratings, *said)
