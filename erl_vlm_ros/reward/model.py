# SPDX-License-Identifier: Apache-2.0
"""What a learner needs of a reward model: features of frames (expensive, cacheable), then rewards (cheap)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from erl_vlm_ros.reward.erl_model import ErlRewardModel
from erl_vlm_ros.reward.heads import Heads
from erl_vlm_ros.reward.prediction import KIND, Prediction
from erl_vlm_ros.reward.trunk import Trunk, TrunkConfig, encode
from erl_vlm_ros.ros.bundle import Bundle, BundleError


class RewardModel(Protocol):
    """A published reward model. ``features_version`` changes only when cached features become invalid."""

    version: int
    features_version: int
    image_size: int
    n_classes: int
    health: dict[str, float]

    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] of uint8 images [N, s, s, 3]."""

    def predict(self, features: np.ndarray, proprio: np.ndarray) -> Prediction:
        """Rewards of N frames from their cached features [N, F] and proprioception [N, P]."""

    def to_bundle(self) -> Bundle:
        """For publishing and for the checkpoint."""


@dataclass
class TrunkRewardModel:
    """The default: a trunk over all frames, rating heads on its features beside the proprioception."""

    trunk: Trunk
    heads: Heads
    version: int
    features_version: int
    health: dict[str, float] = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.trunk.config.image_size

    @property
    def n_classes(self) -> int:
        """Number of rating classes."""
        return self.heads.n_classes

    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] of uint8 images [N, s, s, 3]."""
        return encode(self.trunk, images)

    def predict(self, features: np.ndarray, proprio: np.ndarray) -> Prediction:
        """Expected class / (n - 1), its deviation over the members, and the mean probability of the top class."""
        probabilities = self.heads.probabilities(np.concatenate([features, proprio], axis=1).astype(np.float32))
        values = probabilities @ np.linspace(0, 1, self.n_classes, dtype=np.float32)
        return Prediction(values.mean(0), values.std(0), probabilities[..., -1].mean(0))

    def trunk_arrays(self) -> dict[str, np.ndarray]:
        """Weights that the features come from: the decoder stays with the trainer."""
        state = self.trunk.state_dict().items()
        return {f"trunk.{k}": v.numpy() for k, v in state if k.startswith(("convolutions", "neck"))}

    def to_bundle(self) -> Bundle:
        """Only what prediction needs: the decoder stays with the trainer."""
        arrays = self.trunk_arrays()
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.trunk.config).items()}
        meta = {
            "type": "trunk",
            "version": self.version,
            "features_version": self.features_version,
            "health": self.health,
            "config": config,
            "prop_dim": int(self.trunk.proprio_mean.numel()),
        }
        return Bundle(KIND, {k: np.ascontiguousarray(v) for k, v in (arrays | self.heads.arrays()).items()}, meta)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> TrunkRewardModel:
        """Inverse of ``to_bundle``; BundleError when an array is missing or has another shape."""
        meta = bundle.meta
        try:
            config = TrunkConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in meta["config"].items()})
            trunk = Trunk(config, int(meta["prop_dim"]))
            state = {k[6:]: torch.from_numpy(np.array(v)) for k, v in bundle.arrays.items() if k.startswith("trunk.")}
            expected = {k for k in trunk.state_dict() if k.startswith(("convolutions", "neck"))}
            if set(state) != expected:
                raise BundleError(f"reward model lacks {sorted(expected - set(state))}")
            trunk.load_state_dict(trunk.state_dict() | state)
            heads = Heads.from_arrays(bundle.arrays)
        except (KeyError, TypeError, RuntimeError) as error:
            raise BundleError(f"unusable reward model: {error}") from error
        trunk.eval()
        return cls(trunk, heads, int(meta["version"]), int(meta["features_version"]), dict(meta["health"]))


def same_features(a: RewardModel, b: RewardModel) -> bool:
    """Whether features of one model serve the other: equal versions, and equal trunks (a trainer that went back to
    an older checkpoint may give a version to another trunk)."""
    if type(a) is not type(b) or a.features_version != b.features_version:
        return False
    if not isinstance(a, TrunkRewardModel):
        return a is b or not isinstance(a, ErlRewardModel)
    mine, other = a.trunk_arrays(), b.trunk_arrays()
    return mine.keys() == other.keys() and all(np.array_equal(mine[name], other[name]) for name in mine)


def load_reward_model(bundle: Bundle) -> RewardModel:
    """The reward model in a bundle, by its ``type``. BundleError for an unknown one."""
    kind = bundle.meta.get("type")
    if kind == "trunk":
        return TrunkRewardModel.from_bundle(bundle)
    if kind == "erl":
        return ErlRewardModel.from_bundle(bundle)
    raise BundleError(f"unknown reward model type '{kind}'")
