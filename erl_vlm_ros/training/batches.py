# SPDX-License-Identifier: Apache-2.0
"""What an agent draws its batches from: the replay buffer and the labels so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.data.query import Label
from erl_vlm_ros.data.replay import ReplayBuffer, TransitionBatch, WindowBatch
from erl_vlm_ros.data.segment import place_of
from erl_vlm_ros.training.feature_noise import FeatureNoise


class ReplayBatches:
    """``agents.base.Batches`` over a buffer that grows. ``demo_share``: of transitions, from what a person drove.
    ``noise``: on what is drawn; None: none."""

    def __init__(
        self,
        replay: ReplayBuffer,
        labels: Sequence[Label],
        rng: np.random.Generator,
        demo_share: float,
        noise: FeatureNoise | None = None,
    ):
        self._replay, self._labels, self._rng, self._demo_share = replay, labels, rng, demo_share
        self._noise = noise
        self._among: tuple[tuple, np.ndarray] | None = None

    def transitions(self, count: int) -> TransitionBatch:
        """``count`` transitions, with replacement."""
        return self._noisy(self._replay.sample(count, self._rng, self._demo_share))

    def best(self, count: int, share: float) -> TransitionBatch:
        """``count`` transitions of the ``share`` of the episodes with the highest mean reward, with replacement."""
        return self._noisy(self._replay.gather(self._rng.choice(self._replay.best_transitions(share), count)))

    def windows(self, count: int, length: int) -> WindowBatch:
        """``count`` stretches of ``length`` steps, each within an episode, with replacement."""
        drawn = self._replay.sample_windows(count, length, self._rng)
        self._disturb(drawn.obs.numpy())
        return drawn

    def among(self, segments: Sequence[str], count: int) -> TransitionBatch | None:
        """``count`` transitions of the steps that led to the frames of ``segments``, with replacement; None: none of
        them is held."""
        asked = (tuple(segments), self._replay.first_frame_id, self._replay.episodes_added)
        if self._among is None or self._among[0] != asked:  # the same segments are drawn from in many updates
            held = [found for found in map(self._steps, segments) if found is not None]
            index = [np.arange(first, first + length) for _, first, length in held]
            self._among = asked, np.concatenate(index) if index else np.empty(0, np.int64)
        index = self._among[1]
        return self._noisy(self._replay.gather(self._rng.choice(index, count))) if len(index) else None

    def stretch(self, segment: str) -> tuple[np.ndarray, np.ndarray] | None:
        """(observations [H, O], actions [H, A]) of the steps that led to a segment's frames; None: not held."""
        found = self._steps(segment)
        if found is None:
            return None
        frame, transition, length = found
        observations = self._replay.frame_observations[frame : frame + length].copy()
        self._disturb(observations)
        return observations, self._replay.actions[transition : transition + length].copy()

    def _steps(self, segment: str) -> tuple[int, int, int] | None:
        """(frame, transition, count) at which the steps that led to a segment's frames begin; None: not held."""
        place = place_of(segment)
        if place is None:
            return None
        episode, step, length = place
        first, end = np.searchsorted(self._replay.frame_episode, [episode, episode + 1])
        if step < length or first + step >= end:
            return None
        begin = int(first) + step - length  # the frame before the segment's first: its action led there
        return begin, int(np.searchsorted(self._replay.transition_frame, begin + 1)), length

    def labels(self) -> Sequence[Label]:
        """All valid labels so far, oldest first."""
        return self._labels

    def _noisy(self, drawn: TransitionBatch) -> TransitionBatch:
        self._disturb(drawn.obs.numpy())
        self._disturb(drawn.next_obs.numpy())
        return drawn

    def _disturb(self, observations: np.ndarray) -> None:
        if self._noise is not None:
            self._noise.onto(observations)
