# SPDX-License-Identifier: Apache-2.0
"""The default: an image trunk that learns from all frames, rating heads on its features that learn from the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import EE_POSITION, RELEASED_OBSERVATION
from erl_vlm_ros.reward.compared import Compared
from erl_vlm_ros.reward.continuity import Unrated
from erl_vlm_ros.reward.frames import FrameStore
from erl_vlm_ros.reward.fresh import fresh_figures
from erl_vlm_ros.reward.heads import Heads, fit_heads, folds
from erl_vlm_ros.reward.model import RewardModel, TrunkRewardModel
from erl_vlm_ros.reward.models.base import LabelSet
from erl_vlm_ros.reward.objectives import LOGITS, RETURNS, ObjectiveSettings, make_objective
from erl_vlm_ros.reward.same_object import same_object_pairs
from erl_vlm_ros.reward.scores import Scores, fit_scores
from erl_vlm_ros.reward.trainer_config import RewardTrainerConfig
from erl_vlm_ros.reward.trunk import encode
from erl_vlm_ros.reward.trunks import trunk_trainer

_PAIRS, _STARTS = 1500, 500  # most unrated frames that a fit looks at
_SCALED_OVER = 5000  # most frames that members are brought to one scale on
_SAME_PLACE_M = 0.01  # of the object


class TrunkHeads:
    """A segment's label speaks for each of its frames; of both kinds of label, both teach the same heads."""

    takes_both = True

    def __init__(self, config: RewardTrainerConfig, seed: int):
        self.config, self.seed, self.image_size = config, seed, config.trunk.image_size
        compares = config.segments == 2
        name = config.objective or ("bradley_terry" if compares else "class_likelihood")
        settings, outputs = ObjectiveSettings(config.n_classes), RETURNS if compares else LOGITS
        self.objective = make_objective(name, settings, outputs, config.segments)
        self.cameras = config.cameras
        self.frames = FrameStore(config.max_frames, self.image_size, config.prop_dim, seed, self.cameras)
        self.trunk = trunk_trainer(config.trunk, config.prop_dim, seed, len(self.cameras))
        self._generator = np.random.default_rng(seed + 2)

    def add_episode(self, episode: Episode) -> None:
        """Frames for the trunk."""
        self.frames.add(episode)

    def fit(
        self, labels: LabelSet, version: int, before: RewardModel | None, compared: LabelSet | None = None
    ) -> tuple[RewardModel, dict[str, float]]:
        """The trunk goes on where the frames have grown; the heads begin anew."""
        health = {}
        if self.trunk.due(self.frames.size):
            health = self.trunk.train(self.frames.images, self.frames.proprio)
        length = labels.images.shape[1]
        inputs = self._inputs(labels)
        if labels.segments == 2:
            scores, report = self._compared(labels, inputs, version)
            health |= report
            return self._model(scores, version), health
        soft = np.repeat(labels.soft, length, axis=0) if self.config.soft_labels else None
        noise = self._noise(before)
        second = self._second(compared, labels, version)
        heads, report = fit_heads(
            inputs, np.repeat(labels.classes, length), self.config.n_classes, self.config.heads, self.seed + version,
            soft, self._unrated(), self.config.prop_dim, noise, np.repeat(labels.audited, length), self._ee,
            self.objective, second,
        )  # fmt: skip
        health["assumed_noise"] = noise
        health |= report | {"skill": skill(report.get("held_out_loss", math.nan), labels.counts)}
        if second is not None:
            health |= self._of_both(second, heads, health["skill"])
        return self._model(heads, version), health

    def _inputs(self, labels: LabelSet) -> np.ndarray:
        """Of the heads, for all frames of the labels' segments, float32 [M * H, D]."""
        flat = labels.images.reshape(-1, *labels.images.shape[2:])
        if not len(flat):
            return np.zeros(
                (0, self.config.trunk.features * max(len(self.cameras), 1) + self.config.prop_dim), np.float32
            )
        return np.concatenate([encode(self.trunk.trunk, flat), labels.proprio.reshape(len(flat), -1)], axis=1)

    def _second(self, compared: LabelSet | None, labels: LabelSet, version: int) -> Compared | None:
        """Comparisons as the heads' second objective."""
        if compared is None or not len(compared.classes):
            return None
        inputs, config = self._inputs(compared), self.config.heads
        fold = folds(compared.classes, config.members, np.random.default_rng([self.seed + version, 2]))
        inputs = inputs.reshape(len(fold), 2, -1, inputs.shape[1])
        parts = (compared.classes, compared.audited, self.config.n_classes, config, fold, len(labels.classes))
        return Compared(inputs, *parts)

    def _of_both(self, second: Compared, heads: Heads, rated: float) -> dict[str, float]:
        """Figures of each kind; ``skill`` is their mean over all labels."""
        kind = self.config.compared[0]
        report = second.report(heads.forward)
        own = _pair_skill(report)
        figures = {f"{kind}_{name}": value for name, value in (report | {"skill": own}).items()}
        return figures | {"rating_skill": rated, "skill": (1 - second.share) * rated + second.share * own}

    def _model(self, heads: Heads | Scores, version: int) -> TrunkRewardModel:
        return TrunkRewardModel(self.trunk.trunk, heads, version, self.trunk.version, cameras=self.cameras)

    def _compared(self, labels: LabelSet, inputs: np.ndarray, version: int) -> tuple[Scores, dict[str, float]]:
        """Scalar heads from comparisons, scaled over the frames of the store."""
        pairs = inputs.reshape(len(labels.classes), 2, -1, inputs.shape[1])
        config = self.config.heads
        scores, report = fit_scores(pairs, labels.classes, config, self.seed + version, self.objective, labels.audited)
        seen = self._generator.permutation(self.frames.size)[:_SCALED_OVER]
        if len(seen):
            features = encode(self.trunk.trunk, self.frames.images[seen])
            scores = scores.scaled(np.concatenate([features, self.frames.proprio[seen]], axis=1))
        else:
            scores = scores.scaled(inputs)
        return scores, report | {"skill": _pair_skill(report)}

    def prequential(self, model: RewardModel, images: np.ndarray, proprio: np.ndarray, classes: np.ndarray) -> dict:
        """See ``fresh_figures``."""
        return fresh_figures(model, images, proprio, classes)

    def describe(self) -> str:
        """How many frames the trunk has."""
        return f"{self.frames.size} frames"

    @property
    def _ee(self) -> slice | None:
        """Where the tool's position stands in the proprioception; None: there is no tool."""
        spec = RELEASED_OBSERVATION if self.config.spaces is None else self.config.spaces.observation
        if EE_POSITION in spec:
            return spec.slice(EE_POSITION)
        if self.config.heads.bandwidth_m > 0:
            text = f"reward_trainer.heads.bandwidth_m is for an end effector; the observation has none: {spec}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="reward_trainer.heads.bandwidth_m")
        return None

    def _noise(self, before: RewardModel | None) -> float:
        """Share of wrong labels to reckon with: half of what was shown before, half of what the last heads show."""
        heads = self.config.heads
        if not heads.adapt_noise or before is None:
            return heads.noise
        info = before.info
        assumed = heads.noise if info.assumed_noise is None else info.assumed_noise
        return 0.5 * (assumed + (assumed if info.rating_noise is None else info.rating_noise))

    def _unrated(self) -> Unrated | None:
        """Neighbouring frames and episode starts from the store, when the heads make use of them."""
        if not self.config.heads.continuity:
            return None
        frames = self.frames
        after = self._generator.permutation(frames.followers)[:_PAIRS]
        starts = self._generator.permutation(frames.starts)[:_STARTS]
        known = np.flatnonzero(np.isfinite(frames.objects).all(1))
        pairs = _PAIRS if self.config.heads.object_weight > 0 else 0
        one, other = same_object_pairs(frames.objects[known], pairs, _SAME_PLACE_M, self._generator)
        parts = [after - 1, after, starts, known[one], known[other]]
        index, where = np.unique(np.concatenate(parts), return_inverse=True)
        features = encode(self.trunk.trunk, frames.images[index])
        inputs = np.concatenate([features, frames.proprio[index]], axis=1)[where]
        return Unrated(*np.split(inputs, np.cumsum([len(part) for part in parts])[:-1]))

    def state_dict(self) -> dict[str, Any]:
        """Frames, trunk and random state."""
        rng = self._generator.bit_generator.state
        return {"frames": self.frames.state_dict(), "trunk": self.trunk.state_dict(), "rng": rng}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.frames.load_state_dict(state["frames"])
        self._generator.bit_generator.state = state["rng"]
        self.trunk.load_state_dict(state["trunk"])


def _pair_skill(report: Mapping[str, float]) -> float:
    """Share of the entropy of comparisons that held-out ones show to be explained; 0 where none was held out."""
    loss = report.get("held_out_loss", math.nan)
    return 0.0 if math.isnan(loss) else 1.0 - loss / math.log(2.0)


def skill(loss: float, counts: np.ndarray) -> float:
    """Share of the labels' entropy that the model explains on held-out labels; about 0 or less: nothing learned.
    A loss of NaN (nothing was held out) shows nothing."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    entropy = float(-(share * np.log(share)).sum())
    return 0.0 if entropy < 1e-6 or math.isnan(loss) else 1.0 - loss / entropy
