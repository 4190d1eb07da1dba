# SPDX-License-Identifier: Apache-2.0
"""What a source of episodes is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from erl_vlm_ros.data.episode import Episode


class SourcedEpisode(NamedTuple):
    """An episode, with the reward of each step [T] where the source brings rewards."""

    episode: Episode
    rewards: np.ndarray | None = None


class EpisodeSource(Protocol):
    """Gives each episode once. Their indices count up from 0 without a gap, in the same order each time the source
    is made: a learner that goes on from a checkpoint passes over those that it has."""

    def poll(self) -> SourcedEpisode | None:
        """The next episode that is there; None: none just now. ConfigError: it cannot be read."""

    @property
    def exhausted(self) -> bool:
        """Whether no further episode will come."""


class SourceType(Protocol):
    """The class of a source that reads something."""

    def __call__(self, path: str, rewards: bool) -> EpisodeSource:
        """A source over ``path``, with the stored ``rewards`` or none. ConfigError names the path."""
