# SPDX-License-Identifier: Apache-2.0
"""Small frames of all episodes, the trunk's training set."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import OBJECT
from erl_vlm_ros.data.views import decode_views


class FrameStore:
    """At most ``capacity`` frames uint8 [s, s, 3], of C cameras [s * C, s, 3], with proprioception and the tracked
    object's place; when full, new ones replace random old ones."""

    def __init__(self, capacity: int, image_size: int, prop_dim: int, seed: int, cameras: tuple[str, ...] = ()):
        self.capacity, self.image_size, self.prop_dim, self.cameras = capacity, image_size, prop_dim, cameras
        self._columns = {
            "images": np.zeros((0, image_size * max(1, len(cameras)), image_size, 3), np.uint8),
            "proprio": np.zeros((0, prop_dim), np.float32),
            "objects": np.zeros((0, 3), np.float32),  # m; NaN: not known
            "first": np.zeros(0, bool),  # begins an episode
            "follows": np.zeros(0, bool),  # came right after the frame stored before it
        }
        self._rng = np.random.default_rng(seed)
        self.size = 0

    def add(self, episode: Episode) -> None:
        """Decode and keep an episode's frames."""
        observations = episode.observations[-self.capacity :]
        order = np.arange(len(observations))
        rows = {
            "images": decode_views(episode.jpegs[-self.capacity :], self.image_size, self.cameras),
            "proprio": observations[:, : self.prop_dim],
            "objects": _objects_of(episode)[-self.capacity :],
            "first": (order == 0) & (len(episode.jpegs) == len(order)),
            "follows": order > 0,
        }
        room = min(len(order), self.capacity - self.size)
        self._grow(self.size + room)
        for name, column in self._columns.items():
            column[self.size : self.size + room] = rows[name][:room]
        self.size += room
        rest = len(order) - room
        if rest:
            slots = self._rng.choice(self.capacity, rest, replace=False)
            rows["first"][:] = rows["follows"][:] = False  # among strangers
            for name, column in self._columns.items():
                column[slots] = rows[name][room:]
            self._columns["follows"][(slots + 1) % self.capacity] = False

    def _grow(self, size: int) -> None:
        old = len(self._columns["images"])
        if size <= old:
            return
        new = min(self.capacity, max(size, 2 * old, 1024))
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros((new - old, *column.shape[1:]), column.dtype)])

    @property
    def images(self) -> np.ndarray:
        """uint8 [N, s, s, 3]."""
        return self._columns["images"][: self.size]

    @property
    def proprio(self) -> np.ndarray:
        """float32 [N, P]."""
        return self._columns["proprio"][: self.size]

    @property
    def objects(self) -> np.ndarray:
        """Where the tracked object is, m, float32 [N, 3]; NaN where that is not known."""
        return self._columns["objects"][: self.size]

    @property
    def starts(self) -> np.ndarray:
        """Frames that begin an episode, int64."""
        return np.flatnonzero(self._columns["first"][: self.size])

    @property
    def followers(self) -> np.ndarray:
        """Frames i for which frame i - 1 is the one right before it in its episode, int64."""
        return np.flatnonzero(self._columns["follows"][: self.size])

    def state_dict(self) -> dict[str, Any]:
        """Frames, proprioception and random state."""
        columns = {name: column[: self.size].copy() for name, column in self._columns.items()}
        return columns | {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        count = len(state["images"])
        nothing = np.zeros(count, bool)
        older = {"objects": np.full((count, 3), np.nan, np.float32), "first": nothing, "follows": nothing}
        known = older | {name: state[name] for name in self._columns if name in state}  # old checkpoints say less
        # The run may be resumed with a smaller store.
        self._columns = {name: np.array(known[name][-self.capacity :]) for name in self._columns}
        self.size = len(self._columns["images"])
        self._columns["follows"][:1] = False
        self._rng.bit_generator.state = state["rng"]


def _objects_of(episode: Episode) -> np.ndarray:
    """Where the tracked object was, float32 [T+1, 3]; NaN where nothing tracks one."""
    found = episode.part(OBJECT)
    return np.full((len(episode.observations), 3), np.nan, np.float32) if found is None else found
