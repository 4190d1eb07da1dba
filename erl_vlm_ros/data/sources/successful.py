# SPDX-License-Identifier: Apache-2.0
"""Only those episodes of a source that are judged a success."""

from __future__ import annotations

from dataclasses import replace

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.sources.base import EpisodeSource, SourcedEpisode

EVERY, SUCCESSFUL = "every", "successful"


class SuccessfulOnly:
    """Passes over the others, and over those that nobody judged; numbers what is left from 0."""

    def __init__(self, source: EpisodeSource):
        self._source, self._given = source, 0

    def poll(self) -> SourcedEpisode | None:
        """The next success, or None at the end. ConfigError: there was not one."""
        while (item := self._source.poll()) is not None:
            if item.episode.success is True:
                self._given += 1
                return SourcedEpisode(replace(item.episode, index=self._given - 1), item.rewards)
        if self._source.exhausted and not self._given:
            text = "not one of the recorded episodes is judged a success: learn from all of them"
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter="learner.episode_source_keep")
        return None

    @property
    def exhausted(self) -> bool:
        """Whether no further episode will come."""
        return self._source.exhausted
