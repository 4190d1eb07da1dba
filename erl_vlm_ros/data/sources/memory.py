# SPDX-License-Identifier: Apache-2.0
"""Sources in memory: a list, and a queue for what comes while a run goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.sources.base import SourcedEpisode


class ListSource:
    """Episodes that are there already, with or without rewards; they are numbered anew."""

    def __init__(self, items: Iterable[Episode | SourcedEpisode]):
        found = [item if isinstance(item, SourcedEpisode) else SourcedEpisode(item) for item in items]
        self._left = deque(
            SourcedEpisode(replace(item.episode, index=index), item.rewards) for index, item in enumerate(found)
        )

    def poll(self) -> SourcedEpisode | None:
        """The next one, or None at the end."""
        return self._left.popleft() if self._left else None

    @property
    def exhausted(self) -> bool:
        """Whether the list has come to its end."""
        return not self._left


class LiveSource:
    """Episodes of the running graph, numbered by the node that collects them. One that was seen is passed over: a node
    that restarts is given the history again."""

    def __init__(self) -> None:
        self._left: deque[SourcedEpisode] = deque()
        self._closed = False

    def push(self, episode: Episode) -> None:
        """An episode has come."""
        self._left.append(SourcedEpisode(episode))

    def close(self) -> None:
        """No further one will come."""
        self._closed = True

    def poll(self) -> SourcedEpisode | None:
        """The oldest that waits, or None."""
        return self._left.popleft() if self._left else None

    @property
    def exhausted(self) -> bool:
        """Whether it was closed and nothing waits."""
        return self._closed and not self._left
