# SPDX-License-Identifier: Apache-2.0
"""Episodes as our own controller published them (``record:=true``): whole, with nothing to align."""

from __future__ import annotations

from collections.abc import Iterator

from erl_vlm_ros.data.bundle import BundleError, decode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import Spaces, SpecError
from erl_vlm_ros.recordings.align import Unfit
from erl_vlm_ros.recordings.bag import Bag
from erl_vlm_ros.recordings.problems import Reason


def recorded_episodes(bag: Bag, topic: str, spaces: Spaces, min_steps: int) -> Iterator[tuple[int, Episode | Unfit]]:
    """(ns at which it was received, the episode or why it is not taken), in the order recorded. One that was published
    again, because a node restarted, comes once.

    Args:
        spaces: what robot and task say; parts beside them stay.
    """
    seen: set[tuple[int, int, int]] = set()
    for _, received, raw in bag.messages((topic,)):
        try:
            episode = Episode.from_bundle(decode(bytes(bag.read(topic, raw).data), "episode"))
        except BundleError as error:
            yield received, Unfit(Reason.UNREADABLE, str(error), topic)
            continue
        name = (episode.index, int(episode.stamps[0]), int(episode.stamps[-1]))
        if name in seen:
            continue
        seen.add(name)
        if episode.steps < min_steps:
            yield received, Unfit(Reason.SHORT, f"{episode.steps} steps; --min-steps is {min_steps}")
            continue
        try:
            if episode.spaces is not None:
                spaces.require_in(episode.spaces, f"{bag.path}, {topic}")
        except SpecError as error:
            yield received, Unfit(Reason.SPACES, f"{error}. Is it of another --robot or --task?", topic)
            continue
        yield received, episode
