# SPDX-License-Identifier: Apache-2.0
"""Keeps the rewards in the buffer those of the newest reward model; features are computed once where it allows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import check_jpeg
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.views import all_jpegs, decode_views
from erl_vlm_ros.reward.model import RewardModel, cameras_seen, load_reward_model, same_features
from erl_vlm_ros.reward.prediction import Prediction, joined

_RECENT = 500  # frames


class Relabeller:
    """Owns the reward model in use, and what it says of every frame of the buffer."""

    def __init__(self, replay: ReplayBuffer, std_bonus: float):
        """``std_bonus``: ensemble deviations added to the reward."""
        self._replay, self._std_bonus = replay, std_bonus
        self.model: RewardModel | None = None
        self.prediction: Prediction | None = None  # of every frame held
        self._features = np.zeros((0, 0), np.float32)
        self._drift = 0.0  # mean change of the rewards with the newest reward model

    def add(self, episode: Episode, rewards: np.ndarray | None = None) -> None:
        """Put an episode into the buffer and label it, with the model in use or with given ``rewards`` [T].

        Raises:
            ValueError: it does not fit the buffer, or a frame is no JPEG; nothing is changed.
        """
        features = self._features_of(episode)
        oldest = self._replay.first_frame_id
        self._replay.add_episode(episode, rewards)
        if self.model is not None:
            gone = self._replay.first_frame_id - oldest
            self._features = np.concatenate([self._features[gone:], features])
            new = self.model.predict(features, episode.observations[:, : self._replay.prop_dim])
            self._label(joined(self.prediction, gone, new))

    def use(self, model: RewardModel) -> None:
        """Take a reward model and relabel the whole buffer.

        Raises:
            ValueError: it does not fit the buffer, or its rewards are not finite; the model before stays in use.
        """
        known = self.model is not None and same_features(model, self.model)
        features = self._features
        if not known or len(features) != self._replay.n_frames:
            features = model.features(decode_views(self._replay.frame_jpegs, model.image_size, cameras_seen(model)))
        before = self.prediction
        self._label(model.predict(features, self._replay.frame_proprio))
        if before is not None and len(before.mean) == len(self.prediction.mean):
            self._drift = float(np.abs(self.prediction.mean - before.mean).mean())
        self.model, self._features = model, features

    def metrics(self) -> dict[str, float]:
        """Figures of the rewards in the buffer; none without a model."""
        if self.prediction is None:
            return {}
        return {
            "reward_mean": float(self._replay.rewards.mean()),
            "reward_std": float(self.prediction.std.mean()),
            "reward_std_recent": float(self.prediction.std[-_RECENT:].mean()),
            "reward_spread": float(self._replay.rewards.std()),
            "reward_drift": self._drift,
            "reward_version": self.model.version,
        }

    def _features_of(self, episode: Episode) -> np.ndarray | None:
        if self.model is not None:
            seen = cameras_seen(self.model)
            return self.model.features(decode_views(episode.jpegs, self.model.image_size, seen))
        for jpeg in all_jpegs(episode.jpegs):
            check_jpeg(jpeg)  # a frame that cannot be read would be found when it is too late to refuse it
        return None

    def _label(self, prediction: Prediction) -> None:
        reward = prediction.mean + self._std_bonus * prediction.std
        self._replay.set_rewards(reward[self._replay.transition_frame].astype(np.float32))
        self.prediction = prediction

    def state_dict(self) -> dict[str, Any]:
        """The reward model as its bundle; the buffer is its owner's to keep."""
        if self.model is None:
            return {"model": None}
        bundle = self.model.to_bundle()
        return {"model": {"arrays": bundle.arrays, "meta": bundle.meta}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave, and relabel the buffer, which must be there already."""
        if state["model"] is not None:
            self.use(load_reward_model(Bundle("reward_model", state["model"]["arrays"], state["model"]["meta"])))
