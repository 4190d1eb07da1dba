# SPDX-License-Identifier: Apache-2.0
"""Whether the running episode succeeded, as a person or a topic says. No ROS."""

from __future__ import annotations

NONE, PERSON, TOPIC, REWARD = "none", "person", "topic", "reward"


class SuccessLabel:
    """A person's word counts whatever the source; a topic's newest word counts when it is the source.

    ``ends``: a person's label, or the topic's first success, ends the episode.
    """

    def __init__(self, source: str, ends: bool):
        self._source, self._ends = source, ends
        self.begin()

    def begin(self) -> None:
        """A new episode: nothing was said yet."""
        self._person: bool | None = None
        self._topic: bool | None = None

    def person(self, success: bool) -> None:
        """A person says how it went; the last word counts."""
        self._person = success

    def topic(self, success: bool) -> None:
        """The topic says whether the task is done just now."""
        if self._source == TOPIC:
            self._topic = success

    @property
    def over(self) -> bool:
        """Whether the episode is to end at its next frame."""
        return self._ends and (self._person is not None or self._topic is True)

    @property
    def success(self) -> bool | None:
        """None when nothing was said."""
        return self._topic if self._person is None else self._person
