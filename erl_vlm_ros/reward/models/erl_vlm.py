# SPDX-License-Identifier: Apache-2.0
"""The reward model of the ERL-VLM paper: convolutional networks from images to rewards, taught by labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble
from erl_vlm_ros.reward.erl_model import ErlRewardModel
from erl_vlm_ros.reward.model import RewardModel
from erl_vlm_ros.reward.models.base import LabelSet
from erl_vlm_ros.reward.trainer_config import RewardTrainerConfig


class ErlVlm:
    """The ensemble goes on from fit to fit; frames without labels are of no use to it."""

    def __init__(self, config: RewardTrainerConfig, seed: int):
        if config.segments != 1:
            text = (
                "reward_model erl_vlm learns from ratings, not from comparisons: set reward_trainer.reward_model to "
                "trunk_heads, or feedback to rating"
            )
            raise ConfigError(text, parameter="reward_trainer.reward_model", code=Code.DOES_NOT_FIT)
        if len(config.cameras) > 1:
            raise ConfigError(
                f"reward_model erl_vlm sees one camera, not {', '.join(config.cameras)}: name one in "
                "reward_trainer.reward_cameras",
                code=Code.DOES_NOT_FIT, parameter="reward_trainer.reward_cameras",
            )  # fmt: skip
        self.config, self.image_size, self.cameras = config, config.erl.image_size, config.cameras
        self.ensemble = ErlRewardEnsemble(config.erl, seed, config.objective)
        self._generator = np.random.default_rng(seed + 2)

    def add_episode(self, episode: Episode) -> None:
        """Nothing is kept."""

    def fit(self, labels: LabelSet, version: int, before: RewardModel | None) -> tuple[RewardModel, dict[str, float]]:
        """Some passes over all labels."""
        soft = labels.soft if self.config.soft_labels else None
        report = self.ensemble.fit(labels.images, labels.classes, self._generator, soft)
        accuracy = 0.0 if np.isnan(report.accuracy) else float(report.accuracy)  # NaN: nothing could be ordered
        base = labels.counts.max() / max(len(labels.classes), 1)
        health = {"train_accuracy": accuracy, "skill": float((accuracy - base) / max(1 - base, 1e-6))}
        return ErlRewardModel(self.ensemble, version, cameras=self.cameras), health

    def prequential(self, model: RewardModel, images: np.ndarray, proprio: np.ndarray, classes: np.ndarray) -> dict:
        """Nothing: its rewards have no scale that labels could be told from."""
        return {}

    def describe(self) -> str:
        """It keeps no frames."""
        return "no frames of its own"

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers and random state."""
        return {"erl": self.ensemble.state_dict(), "rng": self._generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.ensemble.load_state_dict(state["erl"])
        self._generator.bit_generator.state = state["rng"]
