# SPDX-License-Identifier: Apache-2.0
"""Where a learner's episodes come from, by name: the running graph, an earlier run, or a class of another package."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.data.sources.base import EpisodeSource, SourcedEpisode, SourceType
from erl_vlm_ros.data.sources.memory import ListSource, LiveSource
from erl_vlm_ros.data.sources.successful import EVERY, SUCCESSFUL, SuccessfulOnly
from erl_vlm_ros.data.spaces import Spaces, SpecError

LIVE = "live"
#: name -> class that is made of (path, rewards)
SOURCES: Registry[SourceType] = Registry(
    "source", {"run": "erl_vlm_ros.data.sources.run:RunSource", "dataset": "erl_vlm_ros.data.dataset:DatasetSource"}
)


def make_source(name: str, path: str, rewards: bool, keep: str = EVERY) -> EpisodeSource | None:
    """The source ``name`` over what is at ``path``; None for ``live``, which has nothing to read.

    Args:
        rewards: give the rewards that are stored with the episodes.
        keep: EVERY episode, or SUCCESSFUL ones alone.

    Raises:
        ConfigError: an unknown source, or nothing that it can read at ``path``.
    """
    if name == LIVE:
        return None
    source = SOURCES.load(name)(path, rewards)
    return SuccessfulOnly(source) if keep == SUCCESSFUL else source


def unseen(source: EpisodeSource, known: Callable[[], int], spaces: Spaces | None = None) -> Iterator[SourcedEpisode]:
    """What is there now, without the episodes that a reader has: ``known`` says how many those are.

    Args:
        spaces: what the reader's episodes hold; parts beside them are left out. None: as the source has it.

    Raises:
        ConfigError: an episode of other spaces; names both.
    """
    while (item := source.poll()) is not None:
        if item.episode.index < known():
            continue
        if spaces is not None:
            try:
                item = SourcedEpisode(item.episode.seen_as(spaces), item.rewards)
            except SpecError as error:
                text = f"the episodes of learner.episode_source_path do not fit this run: {error}"
                raise ConfigError(text, parameter="learner.episode_source_path", code=Code.DOES_NOT_FIT) from error
        yield item


__all__ = [
    "EVERY", "LIVE", "SOURCES", "SUCCESSFUL", "EpisodeSource", "ListSource", "LiveSource", "SourcedEpisode",
    "SuccessfulOnly", "make_source", "unseen",
]  # fmt: skip
