# SPDX-License-Identifier: Apache-2.0
"""A dataset that grows while it is gathered: after each episode the folder is a whole dataset."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.new_folder import require_new
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.dataset import INFO, ROBOT, DatasetSource, episode_file, new_info, read_info, require_alike
from erl_vlm_ros.data.episode import Episode


class GrowingDataset:
    """Appends to the dataset in ``folder``, or begins one there.

    Args:
        task: as a run names it; made_by: what tells where the episodes are from. robot: its file, to be copied.

    Raises:
        ConfigError: the folder holds something else, or a dataset of another task.
    """

    def __init__(self, folder: str | Path, task: str, made_by: str, robot: str | Path | None = None):
        self.path = Path(folder)
        self._robot = robot
        self._first: Episode | None = None
        self._info: dict[str, Any] = new_info(task, made_by) | {"episodes": 0, "rewards": False, "ratings": False}
        if (self.path / INFO).is_file():
            self._info = read_info(self.path)
            if self._info.get("task") != task:
                text = f"{self.path} is a dataset of the task {self._info.get('task')}, not of {task}"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task", file=str(self.path))
            self._first = DatasetSource(str(self.path), False).poll().episode
        elif any(file.name not in (ROBOT, episode_file(0)) for file in self.path.glob("[!.]*")):
            require_new(self.path, "dataset")  # other files than those of a first episode that was cut off

    @property
    def episodes(self) -> int:
        """How many are in it."""
        return self._info["episodes"]

    def add(self, episode: Episode) -> None:
        """Append an episode, numbered anew.

        Raises:
            ConfigError: it is of other spaces than those before.
        """
        self._first = self._first or episode
        file = self.path / episode_file(self.episodes)
        require_alike(episode, self._first, self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        if self._robot is not None and not self.episodes:
            shutil.copyfile(self._robot, self.path / ROBOT)
        bundle = replace(episode, index=self.episodes).to_bundle()
        atomic_write(file, encode(bundle))
        info = self._info | {"episodes": self.episodes + 1}
        atomic_write(self.path / INFO, json.dumps(info, indent=1))  # last: an episode that was cut off does not count
        self._info = info
