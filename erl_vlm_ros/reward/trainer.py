# SPDX-License-Identifier: Apache-2.0
"""Keeps the ratings and turns them into a reward model, by either recipe: `trunk` (default) or `erl` (the paper)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many
from erl_vlm_ros.data.segment import RatingBatch, soft_label
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.reward.continuity import Unrated
from erl_vlm_ros.reward.erl_ensemble import ErlRewardConfig, ErlRewardEnsemble
from erl_vlm_ros.reward.erl_model import ErlRewardModel
from erl_vlm_ros.reward.frames import FrameStore
from erl_vlm_ros.reward.fresh import fresh_figures
from erl_vlm_ros.reward.heads import HeadConfig, fit_heads
from erl_vlm_ros.reward.model import RewardModel, TrunkRewardModel, load_reward_model
from erl_vlm_ros.reward.same_object import same_object_pairs
from erl_vlm_ros.reward.trunk import TrunkConfig, TrunkTrainer, encode
from erl_vlm_ros.ros.bundle import Bundle

RECIPES = ("trunk", "erl")
_PAIRS, _STARTS = 1500, 500  # most unrated frames that a fit looks at
_SAME_PLACE_M = 0.01  # of the object


@dataclass(frozen=True)
class RewardTrainerConfig:
    """``recipe`` chooses the model; ``trunk`` and ``heads`` configure the default, ``erl`` the paper's.

    ``soft_labels``: learn from the shares of an ensemble's votes where ratings carry them, not from the class alone.
    """

    recipe: str = "trunk"
    n_classes: int = 5
    prop_dim: int = 10
    max_frames: int = 30_000
    soft_labels: bool = False
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    erl: ErlRewardConfig = field(default_factory=ErlRewardConfig)

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ConfigError(f"recipe '{self.recipe}' is unknown; choose one of {', '.join(RECIPES)}")
        if self.erl.n_classes != self.n_classes:  # one number of classes for the whole trainer
            object.__setattr__(self, "erl", replace(self.erl, n_classes=self.n_classes))
        if self.heads.noise >= 1 - 1 / self.n_classes:
            raise ConfigError(
                f"heads.noise {self.heads.noise} says that ratings of {self.n_classes} classes are worse than guesses; "
                f"it must be below {1 - 1 / self.n_classes:.2f}"
            )

    @property
    def image_size(self) -> int:
        """Side of the reward model's input, pixels."""
        return self.trunk.image_size if self.recipe == "trunk" else self.erl.image_size


class RewardTrainer:
    """Give it every episode (frames for the trunk) and every round's ratings; ``train`` gives the next model."""

    def __init__(self, config: RewardTrainerConfig, seed: int):
        self.config, self.seed = config, seed
        self.version = 0
        self.round = 0
        self.images = np.zeros((0, 1, config.image_size, config.image_size, 3), np.uint8)  # [M, H, s, s, 3]
        self.proprio = np.zeros((0, 1, config.prop_dim), np.float32)
        self.ratings = np.zeros(0, np.int64)
        self.soft = np.zeros((0, config.n_classes), np.float32)  # soft labels; one-hot where none was given
        self.audited = np.zeros(0, bool)  # ratings of the auditor
        self.scripted = 0  # ratings made from the simulation's truth
        self.requested = 0  # ratings asked for in the rounds that brought some
        self.episodes = 0
        self.model: RewardModel | None = None  # the last one trained
        self.frames = FrameStore(config.max_frames, config.image_size, config.prop_dim, seed)
        self.trunk = TrunkTrainer(config.trunk, config.prop_dim, seed) if config.recipe == "trunk" else None
        self.erl = ErlRewardEnsemble(config.erl, seed) if config.recipe == "erl" else None
        self._generator = np.random.default_rng(seed + 2)
        self._fresh: dict[str, float] = {}  # how the last model foretold the newest ratings

    def add_episode(self, episode: Episode) -> None:
        """Frames for the trunk; nothing is kept where the recipe has none. An episode that was seen is ignored."""
        if episode.index < self.episodes:
            return
        self.episodes = episode.index + 1
        if self.trunk is not None:
            self.frames.add(episode)

    def add_ratings(self, batch: RatingBatch) -> int:
        """Keep a round's valid ratings; returns how many. A round whose ratings are here already is ignored.

        Raises:
            ConfigError: the rater used another number of classes, or segments are of another length than before.
        """
        if batch.n_classes != self.config.n_classes:
            raise ConfigError(
                f"ratings have {batch.n_classes} classes, reward_trainer.n_classes is {self.config.n_classes}"
            )
        rated = [r for r in batch.rated if r.rating >= 0]
        if batch.round < self.round or not rated:
            return 0
        length, before = len(rated[0].segment.jpegs), self.images.shape[1]
        if len(self.ratings) and length != before:
            raise ConfigError(
                f"segments have {length} frames, those rated before {before}: segment_length must not change in a run"
            )
        images = np.stack([decode_many(r.segment.jpegs, self.config.image_size) for r in rated])
        proprio = np.stack([r.segment.proprio for r in rated]).astype(np.float32)
        if isinstance(self.model, TrunkRewardModel):  # the paper's model has no scale that ratings could be told from
            new = np.array([r.rating for r in rated], np.int64)
            self._fresh = fresh_figures(self.model, images[:, -1], proprio[:, -1], new)
        if len(self.ratings) == 0:
            self.images, self.proprio = images, proprio
        else:
            self.images = np.concatenate([self.images, images])
            self.proprio = np.concatenate([self.proprio, proprio])
        self.ratings = np.concatenate([self.ratings, np.array([r.rating for r in rated], np.int64)])
        self.soft = np.concatenate([self.soft, np.stack([soft_label(r, batch.n_classes) for r in rated])])
        self.audited = np.concatenate([self.audited, [r.audited for r in rated]])
        self.scripted += len(rated) if "scripted" in batch.teacher else 0
        self.round = batch.round + 1
        self.requested += batch.requested
        return len(rated)

    def counts(self) -> np.ndarray:
        """Ratings per class, int64 [n]."""
        return np.bincount(self.ratings, minlength=self.config.n_classes)

    def train(self) -> RewardModel:
        """Train on all ratings so far (at least one); the model carries its health figures."""
        started = time.monotonic()
        model, health = self._train_trunk() if self.trunk is not None else self._train_erl()
        health |= {f"rated_class_{i}": float(c) for i, c in enumerate(self.counts())}
        health |= {"ratings": float(len(self.ratings)), "train_seconds": time.monotonic() - started}
        health |= {"round": float(self.round), "requested": float(self.requested)}
        health |= self._fresh
        if self.scripted:
            health["scripted_ratings"] = float(self.scripted)
        model.health.update(health)
        self.model = model
        return model

    def _train_trunk(self) -> tuple[RewardModel, dict[str, float]]:
        health = {}
        if self.trunk.due(self.frames.size):
            health = self.trunk.train(self.frames.images, self.frames.proprio)
        flat = self.images.reshape(-1, *self.images.shape[2:])
        features = encode(self.trunk.trunk, flat)
        inputs = np.concatenate([features, self.proprio.reshape(len(flat), -1)], axis=1)
        length = self.images.shape[1]
        labels = np.repeat(self.ratings, length)  # a segment's rating speaks for each of its frames
        soft = np.repeat(self.soft, length, axis=0) if self.config.soft_labels else None
        self.version += 1
        noise = self._noise()
        heads, report = fit_heads(
            inputs, labels, self.config.n_classes, self.config.heads, self.seed + self.version, soft, self._unrated(),
            self.config.prop_dim, noise, np.repeat(self.audited, length),
        )  # fmt: skip
        health["assumed_noise"] = noise
        health |= report | {"skill": skill(report.get("held_out_loss", math.nan), self.counts())}
        return TrunkRewardModel(self.trunk.trunk, heads, self.version, self.trunk.version), health

    def _noise(self) -> float:
        """Share of wrong ratings to reckon with: half of what was shown before, half of what the last heads show."""
        heads = self.config.heads
        if not heads.adapt_noise or self.model is None:
            return heads.noise
        before = self.model.health.get("assumed_noise", heads.noise)
        return 0.5 * (before + self.model.health.get("rating_noise", before))

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

    def _train_erl(self) -> tuple[RewardModel, dict[str, float]]:
        soft = self.soft if self.config.soft_labels else None
        report = self.erl.fit(self.images, self.ratings, self._generator, soft)
        self.version += 1
        accuracy = 0.0 if np.isnan(report.accuracy) else float(report.accuracy)  # NaN: nothing could be ordered
        base = self.counts().max() / max(len(self.ratings), 1)
        health = {"train_accuracy": accuracy, "skill": float((accuracy - base) / max(1 - base, 1e-6))}
        return ErlRewardModel(self.erl, self.version), health

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later run needs to go on."""
        return {
            "version": self.version,
            "round": self.round,
            "requested": self.requested,
            "episodes": self.episodes,
            "recipe": self.config.recipe,
            "n_classes": self.config.n_classes,
            "images": self.images,
            "proprio": self.proprio,
            "ratings": self.ratings,
            "soft": self.soft,
            "audited": self.audited,
            "scripted": self.scripted,
            "frames": self.frames.state_dict(),
            "model": None if self.model is None else vars(self.model.to_bundle()),
            "rng": self._generator.bit_generator.state,
            "trunk": self.trunk.state_dict() if self.trunk else None,
            "erl": self.erl.state_dict() if self.erl else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ConfigError when recipe or class count differ from this run's."""
        for key in ("recipe", "n_classes"):
            if state[key] != getattr(self.config, key):
                raise ConfigError(f"checkpoint has {key}={state[key]}, this run asks for {getattr(self.config, key)}")
        for counter in ("version", "round", "requested", "episodes"):
            setattr(self, counter, int(state[counter]))
        self.images, self.proprio = np.array(state["images"]), np.array(state["proprio"])
        self.ratings = np.array(state["ratings"])
        hard = np.eye(self.config.n_classes, dtype=np.float32)[self.ratings]
        self.soft = np.array(state.get("soft", hard), np.float32)  # checkpoints of version 0.1 have none
        self.audited = np.array(state.get("audited", np.zeros(len(self.ratings))), bool)
        self.scripted = int(state.get("scripted", 0))
        if state.get("model") is not None:
            self.model = load_reward_model(Bundle(**state["model"]))
        self.frames.load_state_dict(state["frames"])
        self._generator.bit_generator.state = state["rng"]
        for part, saved in ((self.trunk, state["trunk"]), (self.erl, state["erl"])):
            if part is not None:
                part.load_state_dict(saved)


def skill(loss: float, counts: np.ndarray) -> float:
    """Share of the ratings' entropy that the model explains on held-out ratings; about 0 or less: nothing learned.
    A loss of NaN (nothing was held out) shows nothing."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    entropy = float(-(share * np.log(share)).sum())
    return 0.0 if entropy < 1e-6 or math.isnan(loss) else 1.0 - loss / entropy
