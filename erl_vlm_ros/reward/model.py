# SPDX-License-Identifier: Apache-2.0
"""What a learner needs of a reward model: features of frames (expensive, cacheable), then rewards (cheap)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.erl_model import ErlRewardModel
from erl_vlm_ros.reward.heads import Heads
from erl_vlm_ros.reward.info import RewardModelInfo, seen_by
from erl_vlm_ros.reward.prediction import KIND, Prediction
from erl_vlm_ros.reward.scores import LOW, Scores
from erl_vlm_ros.reward.trunk import Trunk, encode
from erl_vlm_ros.reward.trunks import Trunks, make_trunk

MAX_WEIGHTS = 64_000_000  # of a model in a message


class RewardModel(Protocol):
    """A published reward model. ``features_version`` changes only when cached features become invalid; ``health`` is
    for charts, what code depends on is in ``info``."""

    version: int
    features_version: int
    image_size: int
    n_classes: int
    info: RewardModelInfo
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

    trunk: Trunk | Trunks  # Trunks: of several cameras
    heads: Heads | Scores  # from ratings, or from comparisons
    version: int
    features_version: int
    info: RewardModelInfo = RewardModelInfo()
    health: dict[str, float] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()  # that it sees, in order; none: the one without a name

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.trunk.config.image_size

    @property
    def n_classes(self) -> int:
        """Number of rating classes."""
        return self.heads.n_classes

    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] of uint8 images [N, s, s, 3]; of C cameras [N, s * C, s, 3], below each other."""
        return encode(self.trunk, images)

    def predict(self, features: np.ndarray, proprio: np.ndarray) -> Prediction:
        """Expected class / (n - 1), its deviation over the members, and the mean probability of the top class. From
        comparisons: the members' mean score and its deviation."""
        if isinstance(self.heads, Scores):
            members = self.heads.rewards(np.concatenate([features, proprio], axis=1).astype(np.float32))
            return Prediction(members.mean(0), members.std(0), members.mean(0), members)
        probabilities = self.heads.probabilities(np.concatenate([features, proprio], axis=1).astype(np.float32))
        values = probabilities @ np.linspace(0, 1, self.n_classes, dtype=np.float32)
        return Prediction(values.mean(0), values.std(0), probabilities[..., -1].mean(0))

    def trunk_arrays(self) -> dict[str, np.ndarray]:
        """Weights that the features come from: the decoder stays with the trainer."""
        return {f"trunk.{k}": v.numpy() for k, v in self.trunk.state_dict().items() if _needed(k)}

    def to_bundle(self) -> Bundle:
        """Only what prediction needs: the decoder stays with the trainer."""
        arrays = self.trunk_arrays()
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.trunk.config).items()}
        meta = {
            "type": "trunk",
            "version": self.version,
            "features_version": self.features_version,
            "info": self.info.to_meta(),
            "health": self.health,
            "config": config,
            "prop_dim": int(self.trunk.proprio_mean.numel()),
        }
        if self.cameras:
            meta["cameras"] = list(self.cameras)
        return Bundle(KIND, {k: np.ascontiguousarray(v) for k, v in (arrays | self.heads.arrays()).items()}, meta)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> TrunkRewardModel:
        """Inverse of ``to_bundle``; BundleError when an array is missing or has another shape."""
        meta = bundle.meta
        try:
            config = TrunkConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in meta["config"].items()})
            cameras = seen_by(meta)
            _check_size(config, int(meta["prop_dim"]), bundle.arrays, len(cameras))
            trunk = make_trunk(config, int(meta["prop_dim"]), len(cameras))
            state = {k[6:]: torch.from_numpy(np.array(v)) for k, v in bundle.arrays.items() if k.startswith("trunk.")}
            expected = {k for k in trunk.state_dict() if _needed(k)}
            if set(state) != expected:
                raise BundleError(f"reward model lacks {sorted(expected - set(state))}", field="reward_model")
            trunk.load_state_dict(trunk.state_dict() | state)
            heads = (Scores if LOW in bundle.arrays else Heads).from_arrays(bundle.arrays)
        except (KeyError, TypeError, RuntimeError, ArithmeticError, AttributeError, ConfigError) as error:
            raise BundleError.of(error, "unusable reward model", "reward_model") from error
        trunk.eval()
        info = RewardModelInfo.from_meta(meta)
        numbers = int(meta["version"]), int(meta["features_version"])
        return cls(trunk, heads, *numbers, info, dict(meta["health"]), cameras)


def _needed(name: str) -> bool:
    """Whether features come from this weight; of several cameras ``views.I.`` stands before it."""
    return re.sub(r"^views\.\d+\.", "", name).startswith(("convolutions", "neck"))


def cameras_seen(model: RewardModel) -> tuple[str, ...]:
    """The cameras that a model sees; none: the first, or the one without a name."""
    return tuple(getattr(model, "cameras", ()))


def same_features(a: RewardModel, b: RewardModel) -> bool:
    """Whether features of one model serve the other: equal versions, and equal trunks (a trainer that went back to
    an older checkpoint may give a version to another trunk)."""
    if type(a) is not type(b) or a.features_version != b.features_version:
        return False
    if not isinstance(a, TrunkRewardModel):
        return a is b or not isinstance(a, ErlRewardModel)
    if a.cameras != b.cameras:
        return False
    mine, other = a.trunk_arrays(), b.trunk_arrays()
    return mine.keys() == other.keys() and all(np.array_equal(mine[name], other[name]) for name in mine)


def _check_meta(meta: dict[str, Any]) -> None:
    """BundleError for counters and figures that are no numbers."""
    for key in ("version", *(("features_version", "prop_dim") if meta["type"] == "trunk" else ())):
        if type(meta.get(key)) is not int or not 0 <= meta[key] < 2**31:
            raise BundleError(f"reward model: meta.{key} must be a whole number >= 0", field=f"reward_model.meta.{key}")
    health = meta.get("health")
    if not isinstance(health, dict) or not all(type(v) in (int, float) and abs(v) < 1e15 for v in health.values()):
        raise BundleError("reward model: meta.health must map names to numbers", field="reward_model.meta.health")


def _check_size(config: TrunkConfig, prop_dim: int, arrays: dict[str, np.ndarray], cameras: int) -> None:
    """BundleError when ``arrays`` are not the weights of a trunk of this configuration; nothing is allocated."""
    with torch.device("meta"):
        state = make_trunk(config, prop_dim, cameras).state_dict()
        shapes = {f"trunk.{name}": tuple(value.shape) for name, value in state.items()}
    wrong = [name for name, value in arrays.items() if name in shapes and value.shape != shapes[name]]
    if wrong or sum(math.prod(shape) for shape in shapes.values()) > MAX_WEIGHTS:
        raise BundleError(
            f"reward model: {wrong[0] if wrong else 'meta.config'} does not fit the other",
            field=f"reward_model.{wrong[0] if wrong else 'meta.config'}",
        )


def load_reward_model(bundle: Bundle) -> RewardModel:
    """The reward model in a bundle, by its ``type``. BundleError for an unknown one."""
    kind = bundle.meta.get("type")
    if not isinstance(kind, str) or kind not in READERS:
        raise BundleError(f"unknown reward model type '{str(kind)[:40]}'", field="reward_model.meta.type")
    _check_meta(bundle.meta)
    return READERS[kind](bundle)


#: ``type`` of a published reward model -> reads it, or raises BundleError
READERS: dict[str, Callable[[Bundle], RewardModel]] = {
    "trunk": TrunkRewardModel.from_bundle, "erl": ErlRewardModel.from_bundle
}  # fmt: skip
