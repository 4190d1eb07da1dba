# SPDX-License-Identifier: Apache-2.0
"""The paper's reward model behind the same interface as the default: its features are the members' outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble
from erl_vlm_ros.reward.info import RewardModelInfo, seen_by
from erl_vlm_ros.reward.prediction import KIND, Prediction


@dataclass
class ErlRewardModel:
    """Image in, reward out; proprioception is not used, and every new version makes cached features invalid."""

    ensemble: ErlRewardEnsemble
    version: int
    info: RewardModelInfo = RewardModelInfo()
    health: dict[str, float] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()  # the one that it sees; none: the one without a name

    @property
    def features_version(self) -> int:
        """The version: nothing can be kept between updates of an end-to-end network."""
        return self.version

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.ensemble.image_size

    @property
    def n_classes(self) -> int:
        """Number of rating classes."""
        return self.ensemble.config.n_classes

    def features(self, images: np.ndarray) -> np.ndarray:
        """Members' outputs float32 [N, E] for uint8 images [N, s, s, 3]; members that say nothing are left out."""
        members = self.ensemble.predict_members(images)
        alive = self.ensemble.scales > 0
        if not self.ensemble.config.raw_average and alive.any():
            members = members[alive]
        return np.ascontiguousarray(members.T, np.float32)

    def predict(self, features: np.ndarray, proprio: np.ndarray) -> Prediction:
        """Mean and deviation over the members; ``top`` is the mean, for there are no class probabilities per frame."""
        mean = features.mean(1)
        return Prediction(mean, features.std(1), mean)

    def to_bundle(self) -> Bundle:
        """Weights and scales."""
        arrays, meta = self.ensemble.to_arrays()
        own = {"type": "erl", "version": self.version, "info": self.info.to_meta(), "health": self.health}
        return Bundle(KIND, arrays, meta | own | ({"cameras": list(self.cameras)} if self.cameras else {}))

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> ErlRewardModel:
        """Inverse of ``to_bundle``; BundleError when it is incomplete or does not fit together."""
        try:
            ensemble = ErlRewardEnsemble.from_arrays(bundle.arrays, {"config": bundle.meta["config"]})
            info = RewardModelInfo.from_meta(bundle.meta)
            cameras = seen_by(bundle.meta)
            return cls(ensemble, int(bundle.meta["version"]), info, dict(bundle.meta["health"]), cameras)
        except (KeyError, TypeError, ConfigError) as error:
            raise BundleError.of(error, "unusable reward model", "reward_model") from error
