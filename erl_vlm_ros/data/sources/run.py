# SPDX-License-Identifier: Apache-2.0
"""The episodes of an earlier run, from the buffer in its learner's checkpoint; also of a run of version 0.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.checkpoint import CheckpointError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import unpack_jpegs
from erl_vlm_ros.data.sources.base import SourcedEpisode
from erl_vlm_ros.data.spaces import spaces_in
from erl_vlm_ros.data.views import with_views


class RunSource:
    """``path`` is a run directory, or its checkpoint folder. What had left that run's buffer is not there any more;
    how an episode was judged is not kept in it."""

    def __init__(self, path: str, rewards: bool):
        folder = next((f for f in (Path(path), Path(path) / "checkpoint") if path and learner_state.find(f)), None)
        if folder is None:
            text = (
                f"parameter 'episode_source_path' is '{path}', which is neither a run directory nor its checkpoint "
                f"folder: no {learner_state.path_in('').name} is in it"
            )
            raise ConfigError(text, parameter="learner.episode_source_path", code=Code.MISSING_FILE, file=str(path))
        try:
            self._load(learner_state.load(folder)["replay"])
        except (CheckpointError, KeyError, ValueError) as error:
            raise ConfigError(
                f"episode_source_path {path}: {error}",
                parameter="learner.episode_source_path",
                code=Code.UNREADABLE,
                file=str(path),
            ) from error
        self._rewards, self._next = rewards, 0

    def _load(self, state: dict[str, Any]) -> None:
        self._lengths = [int(n) for n in state["lengths"]]
        self._first = np.cumsum([0, *self._lengths])  # transitions
        self._steps, self._frames = state["steps"], state["frames"]
        self._jpegs = with_views(unpack_jpegs(state["jpeg"], state["jpeg_offsets"]), state, state, trusted=True)
        added = state.get("counters", {}).get("episodes_added", len(self._lengths))
        self.first_number = int(added) - len(self._lengths)  # that the run gave to its oldest episode in the buffer
        self._prop_dim = int(state["sizes"]["prop_dim"])
        self._extra_names, self._spaces = list(state.get("extra_names", ())), spaces_in(state)
        if len(self._jpegs) != self._first[-1] + len(self._lengths):
            raise DataError(
                "the buffer in the checkpoint is inconsistent: its columns have different lengths", field="columns"
            )

    @property
    def exhausted(self) -> bool:
        """Whether all episodes were given."""
        return self._next >= len(self._lengths)

    def poll(self) -> SourcedEpisode | None:
        """The next episode, or None at the end."""
        if self.exhausted:
            return None
        index, self._next = self._next, self._next + 1
        steps = slice(int(self._first[index]), int(self._first[index + 1]))
        frames = slice(steps.start + index, steps.stop + index + 1)  # each episode has one frame more than steps
        columns, views = self._steps, self._frames
        extras = views.get("extras")
        driven = columns.get("intervention")
        episode = Episode(
            observations=np.array(views["observations"][frames]),
            actions=np.array(columns["action"][steps]),
            jpegs=self._jpegs[frames],
            stamps=np.array(views["stamps"][frames]),
            terminated=bool(columns["terminated"][steps][-1]),
            truncated=bool(columns["truncated"][steps][-1]),
            evaluation=False,
            index=index,
            actor_version=0,
            seed=-1,
            prop_dim=self._prop_dim,
            intervention=None if driven is None else np.array(driven[steps]),
            extras=None if extras is None else np.array(extras[frames]),
            extra_names=self._extra_names,
            spaces=self._spaces,
        )
        return SourcedEpisode(episode, np.array(columns["reward"][steps]) if self._rewards else None)
