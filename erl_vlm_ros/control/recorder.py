# SPDX-License-Identifier: Apache-2.0
"""Collects one episode frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import Spaces


def square(rgb: np.ndarray, size: int) -> np.ndarray:
    """The centre square of an image [h, w, 3], resized by area to [size, size, 3]."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = rgb[top : top + side, left : left + side]
    if side == size:
        return crop
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


class EpisodeRecorder:
    """Alternate ``frame`` and ``action``; ``finish`` gives what is complete."""

    def __init__(self, spaces: Spaces, extra_names: Sequence[str] = ()):
        """``spaces``: what observations and actions hold."""
        self._spaces = spaces
        self._extra_names = list(extra_names)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stamps: list[int] = []
        self._observations: list[np.ndarray] = []
        self._jpegs: list[bytes] = []
        self._extras: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._driven: list[bool] = []

    @property
    def steps(self) -> int:
        """Complete transitions so far."""
        return max(len(self._jpegs) - 1, 0)

    @property
    def acting(self) -> bool:
        """Whether the last frame has its action, and the next frame is still to come."""
        return bool(self._actions) and len(self._actions) == len(self._jpegs)

    def frame(self, stamp: int, observation: np.ndarray, jpeg: bytes, extras: np.ndarray | None = None) -> None:
        """A frame; ValueError when no action lies between it and the one before."""
        if len(self._actions) != len(self._jpegs):
            raise ValueError("two frames without an action between them")
        self._stamps.append(stamp)
        self._observations.append(observation)
        self._jpegs.append(jpeg)
        self._extras.append(np.zeros(0, np.float32) if extras is None else extras)

    def action(self, action: np.ndarray) -> None:
        """The action taken at the last frame; ValueError when that has one already."""
        if len(self._actions) != len(self._jpegs) - 1:
            raise ValueError("an action without a frame before it")
        self._actions.append(action)
        self._driven.append(False)

    def driven(self, action: np.ndarray) -> None:
        """A person drove since the last action: this is what was executed in its place."""
        self._actions[-1] = action
        self._driven[-1] = True

    def finish(
        self, *, evaluation: bool, index: int, actor_version: int, seed: int, success: bool | None = None
    ) -> Episode | None:
        """The episode, ended by time, and a clean recorder; None when not one transition is complete."""
        steps = self.steps
        episode = None
        if steps > 0:
            episode = Episode(
                observations=np.stack(self._observations),
                actions=np.stack(self._actions[:steps]),
                jpegs=self._jpegs,
                stamps=np.array(self._stamps, np.int64),
                terminated=False,
                truncated=True,
                evaluation=evaluation,
                index=index,
                actor_version=actor_version,
                seed=seed,
                prop_dim=self._spaces.observation.proprio_size,
                spaces=self._spaces,
                intervention=np.array(self._driven[:steps], bool),
                success=success,
                extras=np.stack(self._extras),
                extra_names=self._extra_names,
            )
        self.clear()
        return episode
