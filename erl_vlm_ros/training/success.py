# SPDX-License-Identifier: Apache-2.0
"""Whether episodes end in success: by their success label, else by the learned reward of their last frame."""

from __future__ import annotations

from collections import deque

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.views import decode_views
from erl_vlm_ros.reward.model import RewardModel, cameras_seen

_WINDOW = 20  # training episodes over which the share of successes is taken


class SuccessEstimator:
    """Sees each finished episode once. It estimates afterwards only: the reward is a network of the learner's process,
    and the control loop must not wait for it."""

    def __init__(self, threshold: float):
        self._threshold = threshold
        self._training: deque[bool] = deque(maxlen=_WINDOW)
        self._evaluation: list[bool] = []
        self._last_index = -1

    def see(self, episode: Episode, model: RewardModel | None) -> bool | None:
        """Whether the episode succeeded; None while there is neither a success label nor a reward model."""
        success = episode.success
        if success is None and model is not None:
            image = decode_views(episode.jpegs[-1:], model.image_size, cameras_seen(model))
            proprio = episode.observations[-1:, : episode.prop_dim]
            success = bool(model.predict(model.features(image), proprio).mean[0] >= self._threshold)
        if success is None:
            return None
        if not episode.evaluation:
            self._training.append(success)
            return success
        if episode.index <= self._last_index:  # another round has begun
            self._evaluation = []
        self._last_index = episode.index
        self._evaluation.append(success)
        return success

    def figures(self) -> dict[str, float]:
        """Shares of successes: of the last training episodes, and of the newest evaluation."""
        out = {}
        for name, seen in (("success_share", self._training), ("evaluation_success_share", self._evaluation)):
            if seen:
                out[name] = sum(seen) / len(seen)
        return out
