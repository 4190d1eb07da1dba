# SPDX-License-Identifier: Apache-2.0
"""Which segments of the buffer are put to the teacher, as queries of the kinds of feedback that a run has."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from erl_vlm_ros.data.query import Query
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.segment import Segment, segment_id
from erl_vlm_ros.data.selection import Candidates, SelectionConfig, novelty_view
from erl_vlm_ros.feedback.kinds import FeedbackKind
from erl_vlm_ros.reward.prediction import Prediction

_log = logging.getLogger("erl_vlm_ros.learner")


class QueryPicker:
    """Remembers which frames were asked about, as long as the buffer holds them."""

    def __init__(self, kind: FeedbackKind, config: SelectionConfig, length: int, rng: np.random.Generator):
        """``length``: frames in a segment."""
        self._kind, self._config, self._length, self._rng = kind, config, length, rng
        self._asked: set[int] = set()  # lasting frame ids
        self._said_short = False

    def can_pick(self, replay: ReplayBuffer) -> bool:
        """Whether any episode holds a segment. Says so once where those that are over were all too short."""
        steps, episodes = frame_steps(replay), replay.frame_episode
        if len(steps) and steps.max() >= max(self._length, 1):
            return True
        if len(steps) and episodes[-1] != episodes[0] and not self._said_short:
            self._said_short = True
            _log.warning(
                "no query can be drawn: segment_length is %d, and the longest episode so far has %d steps; lower"
                " learner.segment_length, or raise the task's episode_steps", self._length, int(steps.max()),
            )  # fmt: skip
        return False

    def pick(
        self, replay: ReplayBuffer, prediction: Prediction | None, count: int, kind: FeedbackKind | None = None
    ) -> list[Query]:
        """``count`` queries, or all there are.

        Args:
            kind: of the queries; None: the picker's own. A frame that was asked about counts as such for every kind.
            prediction: of every frame of the buffer; None: there is no reward model yet.
        """
        step = frame_steps(replay)
        frames = np.flatnonzero(step >= max(self._length, 1))  # a segment lies within its episode
        p, oldest = prediction, replay.first_frame_id
        candidates = Candidates(
            observations=novelty_view(replay.frame_observations[frames], replay.spaces and replay.spaces.observation),
            rated=np.isin(frames + oldest, list(self._asked)),
            mean=None if p is None else p.mean[frames],
            std=None if p is None else p.std[frames],
            top=None if p is None else p.top[frames],
            members=None if p is None or p.members is None else p.members[:, frames],
        )
        drawn = [frames[list(query)] for query in (kind or self._kind).draw(candidates, count, self._config, self._rng)]
        self._asked = {i for i in self._asked if i >= oldest} | {int(i) + oldest for query in drawn for i in query}
        return [Query(*(segment_of(replay, int(i), int(step[i]), self._length) for i in query)) for query in drawn]

    def state_dict(self) -> dict[str, Any]:
        """Frames asked about. The generator is its owner's to keep."""
        return {"asked": np.array(sorted(self._asked), np.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._asked = set(np.asarray(state["asked"]).tolist())


def frame_steps(replay: ReplayBuffer) -> np.ndarray:
    """Step of each frame within its episode, int64 [F]."""
    episode = replay.frame_episode
    return np.arange(len(episode)) - np.searchsorted(episode, episode)


def segment_of(replay: ReplayBuffer, frame: int, step: int, length: int) -> Segment:
    """The ``length`` frames up to ``frame`` of the buffer's views, which is at ``step`` of its episode."""
    rows = slice(frame - length + 1, frame + 1)
    transition = int(np.searchsorted(replay.transition_frame, frame))  # the action that led to the frame
    return Segment(
        id=segment_id(replay.frame_episode[frame], step, length),
        jpegs=replay.frame_jpegs[rows],
        proprio=replay.frame_proprio[rows].copy(),
        actions=replay.actions[transition - length + 1 : transition + 1].copy(),
        stamps=replay.frame_stamps[rows].copy(),
        extras=replay.frame_extras[rows].copy(),
        extra_names=tuple(replay.extra_names),
        spaces=replay.spaces,
        instruction=replay.instruction(frame),
    )
