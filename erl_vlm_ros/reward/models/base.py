# SPDX-License-Identifier: Apache-2.0
"""What trains a reward model from labels: one file each, by the name that ``reward_trainer.reward_model`` gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.reward.model import RewardModel


@dataclass(frozen=True)
class LabelSet:
    """Every valid label so far: of M segments of H frames.

    segments: of each label; of two, the frames of the first stand before those of the second, 2 H in all.
    images: uint8 [M, H, s, s, 3]; proprio: float32 [M, H, P]; classes: int64 [M]; soft: float32 [M, n], one-hot where
    nothing but the class was given; audited: bool [M], labels of the auditor.
    """

    images: np.ndarray
    proprio: np.ndarray
    classes: np.ndarray
    soft: np.ndarray
    audited: np.ndarray
    segments: int = 1

    @property
    def counts(self) -> np.ndarray:
        """Labels of each class, int64 [n]."""
        return np.bincount(self.classes, minlength=self.soft.shape[1])


class ModelTrainer(Protocol):
    """Made from a RewardTrainerConfig and a seed. ``image_size``: side of its square input, pixels."""

    image_size: int

    def add_episode(self, episode: Episode) -> None:
        """Frames without labels, where they are of use. ValueError: they cannot be read; nothing is changed."""

    def fit(self, labels: LabelSet, version: int, before: RewardModel | None) -> tuple[RewardModel, dict[str, float]]:
        """(the model of that version, health figures) from all labels; ``before``: the last one, None for none.

        One with an attribute ``takes_both`` that is true also takes ``fit(labels, version, before, compared)``: ratings
        and comparisons, either of which may be none.

        ``skill`` among the figures says how much of the labels the model explains; 0 or less: it learned nothing.
        """

    def prequential(self, model: RewardModel, images: np.ndarray, proprio: np.ndarray, classes: np.ndarray) -> dict:
        """How well a model foretells labels int64 [M] that it was not trained on, of frames [M, s, s, 3]."""

    def describe(self) -> str:
        """What it has seen, in words for the log."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later run needs to go on; no key of the RewardTrainer's own."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
