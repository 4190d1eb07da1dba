# SPDX-License-Identifier: Apache-2.0
"""Small frames of all episodes, the trunk's training set."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many


class FrameStore:
    """At most ``capacity`` frames uint8 [s, s, 3] with proprioception and the tracked object's place; when full, new
    ones replace random old ones."""

    def __init__(self, capacity: int, image_size: int, prop_dim: int, seed: int):
        self.capacity, self.image_size, self.prop_dim = capacity, image_size, prop_dim
        self._images = np.zeros((0, image_size, image_size, 3), np.uint8)
        self._proprio = np.zeros((0, prop_dim), np.float32)
        self._objects = np.zeros((0, 3), np.float32)  # m; NaN: not known
        self._first = np.zeros(0, bool)  # begins an episode
        self._follows = np.zeros(0, bool)  # came right after the frame stored before it
        self._rng = np.random.default_rng(seed)
        self.size = 0

    def add(self, episode: Episode) -> None:
        """Decode and keep an episode's frames."""
        images = decode_many(episode.jpegs[-self.capacity :], self.image_size)
        proprio = episode.observations[-self.capacity :, : self.prop_dim]
        objects = _objects_of(episode.observations[-self.capacity :], self.prop_dim)
        room = min(len(images), self.capacity - self.size)
        self._grow(self.size + room)
        self._images[self.size : self.size + room] = images[:room]
        self._proprio[self.size : self.size + room] = proprio[:room]
        self._objects[self.size : self.size + room] = objects[:room]
        self._follows[self.size : self.size + room] = np.arange(room) > 0
        self._first[self.size : self.size + room] = (np.arange(room) == 0) & (len(episode.jpegs) == len(images))
        self.size += room
        rest = len(images) - room
        if rest:
            slots = self._rng.choice(self.capacity, rest, replace=False)
            self._images[slots], self._proprio[slots] = images[room:], proprio[room:]
            self._objects[slots] = objects[room:]
            self._first[slots] = self._follows[slots] = False
            self._follows[(slots + 1) % self.capacity] = False

    def _grow(self, size: int) -> None:
        if size <= len(self._images):
            return
        new = min(self.capacity, max(size, 2 * len(self._images), 1024))
        self._images = np.concatenate(
            [self._images, np.zeros((new - len(self._images), *self._images.shape[1:]), np.uint8)]
        )
        self._proprio = np.concatenate(
            [self._proprio, np.zeros((new - len(self._proprio), self.prop_dim), np.float32)]
        )
        self._objects = np.concatenate([self._objects, np.zeros((new - len(self._objects), 3), np.float32)])
        self._first = np.concatenate([self._first, np.zeros(new - len(self._first), bool)])
        self._follows = np.concatenate([self._follows, np.zeros(new - len(self._follows), bool)])

    @property
    def images(self) -> np.ndarray:
        """uint8 [N, s, s, 3]."""
        return self._images[: self.size]

    @property
    def proprio(self) -> np.ndarray:
        """float32 [N, P]."""
        return self._proprio[: self.size]

    @property
    def objects(self) -> np.ndarray:
        """Where the tracked object is, m, float32 [N, 3]; NaN where that is not known."""
        return self._objects[: self.size]

    @property
    def starts(self) -> np.ndarray:
        """Frames that begin an episode, int64."""
        return np.flatnonzero(self._first[: self.size])

    @property
    def followers(self) -> np.ndarray:
        """Frames i for which frame i - 1 is the one right before it in its episode, int64."""
        return np.flatnonzero(self._follows[: self.size])

    def state_dict(self) -> dict[str, Any]:
        """Frames, proprioception and random state."""
        return {
            "images": self.images.copy(),
            "proprio": self.proprio.copy(),
            "objects": self.objects.copy(),
            "first": self._first[: self.size].copy(),
            "follows": self._follows[: self.size].copy(),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        last = slice(-self.capacity, None)  # the run was resumed with a smaller store
        self._images, self._proprio = np.array(state["images"][last]), np.array(state["proprio"][last])
        self.size = len(self._images)
        unknown = np.full((len(state["images"]), 3), np.nan, np.float32)  # checkpoints from before do not say
        self._objects = np.array(state.get("objects", unknown)[last])
        nothing = np.zeros(len(state["images"]), bool)  # checkpoints of version 0.1 do not say
        self._first = np.array(state.get("first", nothing)[last])
        self._follows = np.array(state.get("follows", nothing)[last])
        self._follows[:1] = False
        self._rng.bit_generator.state = state["rng"]


def _objects_of(observations: np.ndarray, prop_dim: int) -> np.ndarray:
    """The object's place float32 [T, 3], which follows proprioception; NaN in observations that end before it."""
    found = observations[:, prop_dim : prop_dim + 3]
    return found if found.shape[1] == 3 else np.full((len(observations), 3), np.nan, np.float32)
