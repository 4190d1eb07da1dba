# SPDX-License-Identifier: Apache-2.0
"""Which episodes of a running graph are kept as demonstrations, and how many more are to be driven. No ROS."""

from __future__ import annotations

import json
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write, read_json
from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.growing_dataset import GrowingDataset
from erl_vlm_ros.data.sources import SUCCESSFUL

_COUNTERS = ("episodes", "env_steps", "successes")


class Verdict(Enum):
    """What became of an episode."""

    KEPT = "kept"
    KNOWN = "seen before"  # history that a restart replays
    SHORT = "too short"
    FAILED = "not successful"
    ENOUGH = "one more than wanted"


class Collection:
    """Takes the place of a learner: the controller drives one episode after another for as long as some are wanted.

    Args:
        wanted: episodes in the dataset in the end; keep: EVERY, or SUCCESSFUL ones alone.
        min_steps: shorter ones, the rest of an episode that was cut off, are left out.
        counters: file with what was received so far; it is read at the beginning. None: nothing is kept of that.

    Raises:
        ConfigError: the file of counters cannot be read.
    """

    def __init__(self, dataset: GrowingDataset, wanted: int, keep: str, min_steps: int, counters: Path | None):
        self.dataset, self.wanted, self.keep, self.min_steps, self._file = dataset, wanted, keep, min_steps, counters
        self.episodes = self.env_steps = self.successes = self.version = 0  # all that were received; successes: kept
        self.left_out: Counter[str] = Counter()
        if counters is not None and counters.is_file():
            self._restore(read_json(counters))

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            for name in _COUNTERS:
                setattr(self, name, int(state[name]))
            self.left_out.update({str(key): int(value) for key, value in state["left_out"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"{self._file} holds no counters of this version ({error}): move it away"
            raise ConfigError(text, code=Code.UNREADABLE, file=str(self._file)) from error

    @property
    def kept(self) -> int:
        """Episodes in the dataset."""
        return self.dataset.episodes

    @property
    def done(self) -> bool:
        """Whether there are as many as wanted."""
        return self.kept >= self.wanted

    def add(self, episode: Episode) -> Verdict:
        """Keep an episode, or not. Raises ConfigError: it is of other spaces than those before."""
        if episode.index < self.episodes:
            return Verdict.KNOWN
        verdict = self._judged(episode)
        if verdict is Verdict.KEPT:
            self.dataset.add(episode)
            self.successes += episode.success is True
        else:
            self.left_out[verdict.value] += 1
        self.episodes = episode.index + 1
        self.env_steps += episode.steps
        if self._file is not None:
            kept = {name: getattr(self, name) for name in _COUNTERS}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._file, json.dumps(kept | {"left_out": dict(self.left_out)}))
        return verdict

    def _judged(self, episode: Episode) -> Verdict:
        if self.done:
            return Verdict.ENOUGH
        if episode.steps < self.min_steps:
            return Verdict.SHORT
        return Verdict.FAILED if self.keep == SUCCESSFUL and episode.success is not True else Verdict.KEPT

    def actor_bundle(self) -> Bundle:
        """What a learner would tell the controller: counters, and how many episodes may be begun."""
        meta = {
            "version": self.version, "env_steps": self.env_steps, "episodes": self.episodes,
            "episode_budget": self.episodes + max(self.wanted - self.kept, 0), "phase": "explore",
        }  # fmt: skip
        self.version += 1
        return Bundle("actor", {}, meta)

    def metrics(self) -> dict[str, float]:
        """Figures for learning/metrics."""
        return {
            "env_steps": float(self.env_steps), "episodes": float(self.episodes), "kept_episodes": float(self.kept),
            "kept_successes": float(self.successes), "left_out": float(sum(self.left_out.values())),
        }  # fmt: skip
