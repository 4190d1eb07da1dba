# SPDX-License-Identifier: Apache-2.0
"""A reward model from outside the package: the brightness of an image, turned so that it agrees with the labels; and an
objective: what is one class off costs as much as what is three off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.reward.info import RewardModelInfo
from erl_vlm_ros.reward.model import READERS
from erl_vlm_ros.reward.objectives import LOGITS
from erl_vlm_ros.reward.prediction import KIND, Prediction


@dataclass
class Brightness:
    """Reward 0..1 of the mean brightness between two levels."""

    low: float
    high: float
    version: int
    n_classes: int
    info: RewardModelInfo = RewardModelInfo()
    health: dict[str, float] = field(default_factory=dict)
    features_version: int = 0  # features never change
    image_size: int = 48

    def features(self, images):
        return images.reshape(len(images), -1).mean(1, dtype=np.float32)[:, None]

    def predict(self, features, proprio):
        reward = np.clip((features[:, 0] - self.low) / (self.high - self.low + 1e-6), 0, 1).astype(np.float32)
        return Prediction(reward, np.zeros_like(reward), reward)

    def to_bundle(self):
        meta = {"type": "toy_brightness", "version": self.version, "features_version": 0, "health": self.health}
        levels = np.array([self.low, self.high], np.float32)
        return Bundle(KIND, {"levels": levels}, meta | {"n_classes": self.n_classes, "info": self.info.to_meta()})

    @classmethod
    def from_bundle(cls, bundle):
        try:
            low, high = bundle.arrays["levels"].tolist()
            info, health = RewardModelInfo.from_meta(bundle.meta), dict(bundle.meta["health"])
            return cls(low, high, bundle.meta["version"], bundle.meta["n_classes"], info, health)
        except (KeyError, ValueError) as error:
            raise BundleError(f"no brightness: {error}") from error


READERS["toy_brightness"] = Brightness.from_bundle


class BrightnessTrainer:
    """Between the mean brightness of the lowest labels and that of the highest."""

    image_size = 48

    def __init__(self, config, seed):
        self.n_classes, self.fits = config.n_classes, 0

    def add_episode(self, episode):
        pass

    def fit(self, labels, version, before):
        self.fits += 1
        light = labels.images[:, -1].reshape(len(labels.classes), -1).mean(1)
        low, high = (float(light[labels.classes == c].mean()) for c in (labels.classes.min(), labels.classes.max()))
        return Brightness(low, high, version, self.n_classes), {"skill": 1.0}

    def prequential(self, model, images, proprio, classes):
        return {}

    def describe(self):
        return f"{self.fits} fits"

    def state_dict(self):
        return {"fits": self.fits}

    def load_state_dict(self, state):
        self.fits = int(state["fits"])


class Misses:
    """1 minus the probability of the label's class."""

    segments, outputs = 1, LOGITS

    def terms(self, outputs, labels):
        return 1 - outputs.softmax(-1).gather(-1, labels.classes.unsqueeze(-1)).squeeze(-1)

    def answers(self, outputs, labels):
        return torch.argmax(outputs, -1)


def misses(settings):
    return Misses()
