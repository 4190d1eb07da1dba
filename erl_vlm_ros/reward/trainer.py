# SPDX-License-Identifier: Apache-2.0
"""Keeps the labels and has them turned into a reward model, by whichever of ``models`` the configuration names."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.query import LabelBatch, soft_label
from erl_vlm_ros.data.spaces import require_spaces, spaces_in
from erl_vlm_ros.data.views import decode_views
from erl_vlm_ros.reward.fresh import fresh_pairs
from erl_vlm_ros.reward.info import RewardModelInfo
from erl_vlm_ros.reward.model import RewardModel, load_reward_model
from erl_vlm_ros.reward.models import REWARD_MODELS
from erl_vlm_ros.reward.models.base import LabelSet, ModelTrainer
from erl_vlm_ros.reward.trainer_config import RewardTrainerConfig

__all__ = ["RewardTrainer", "RewardTrainerConfig"]
_RECIPES = {"trunk": "trunk_heads", "erl": "erl_vlm"}  # names of version 0.1, in its checkpoints


class RewardTrainer:
    """Give it every episode (frames for the trunk) and every round's ratings; ``train`` gives the next model."""

    def __init__(self, config: RewardTrainerConfig, seed: int):
        self.config, self.seed = config, seed
        self.version = 0
        self.round = 0
        self.trainer: ModelTrainer = REWARD_MODELS.load(config.reward_model)(config, seed)
        side = self.trainer.image_size
        self.images = np.zeros((0, 1, side, side, 3), np.uint8)  # [M, H, s, s, 3]
        self.proprio = np.zeros((0, 1, config.prop_dim), np.float32)
        self.ratings = np.zeros(0, np.int64)
        self.soft = np.zeros((0, config.n_classes), np.float32)  # soft labels; one-hot where none was given
        self.audited = np.zeros(0, bool)  # ratings of the auditor
        self.scripted = 0  # ratings made from the simulation's truth
        self.requested = 0  # ratings asked for in the rounds that brought some
        self.episodes = 0
        self.model: RewardModel | None = None  # the last one trained
        self._fresh: dict[str, float] = {}  # how the last model predicted the newest ratings

    def add_episode(self, episode: Episode) -> None:
        """Frames for the model, where it learns from them. An episode that was seen is ignored.

        Raises:
            ValueError: a frame cannot be read, or the episode has other spaces; nothing is changed.
        """
        if episode.index < self.episodes:
            return
        if self.config.spaces is not None:
            sizes = (episode.observations.shape[1], episode.actions.shape[1])
            require_spaces(self.config.spaces, episode.spaces, sizes, f"episode {episode.index}")
        if episode.prop_dim != self.config.prop_dim:
            raise DataError(
                f"episode {episode.index}: prop_dim is {episode.prop_dim}, this run has {self.config.prop_dim}",
                field="prop_dim",
            )
        self.trainer.add_episode(episode)
        self.episodes = episode.index + 1

    def add_labels(self, batch: LabelBatch) -> int:
        """Keep a round's valid ratings; returns how many. A round whose ratings are here already is ignored.

        Raises:
            ValueError: another number of classes, or segments of another size than before; nothing is changed.
        """
        if batch.n_classes != self.config.n_classes:
            raise DataError(
                f"ratings have {batch.n_classes} classes, reward_trainer.n_classes is {self.config.n_classes}",
                field="n_classes",
            )
        segments = self.config.segments
        told = [r for r in batch.labels if r.value >= 0]
        rated = told if segments == 1 else [r for r in told if r.value < segments]
        if batch.round < self.round or not rated:
            return 0
        if len(rated[0].query) != segments:
            raise DataError(
                f"labels are of kind {batch.kind}, about {len(rated[0].query)} segments each; reward_trainer."
                f"reward_model {self.config.reward_model} learns from labels of {segments}",
                field="reward_model",
            )
        length, before = len(rated[0].query[0].jpegs), self.images.shape[1] // segments
        if len(self.ratings) and length != before:
            raise DataError(
                f"segments have {length} frames, those rated before {before}: segment_length must not change in a run",
                field="segment_length",
            )
        if rated[0].query[0].proprio.shape[1] != self.config.prop_dim:
            raise DataError(
                f"segments have {rated[0].query[0].proprio.shape[1]} numbers of proprioception, "
                f"this run has {self.config.prop_dim}",
                field="prop_dim",
            )
        cameras = tuple(getattr(self.trainer, "cameras", ()))  # of a model from elsewhere: the first
        images = np.stack([decode_views(r.query.jpegs, self.trainer.image_size, cameras) for r in rated])
        proprio = np.stack([np.concatenate([s.proprio for s in r.query]) for r in rated]).astype(np.float32)
        if self.model is not None:
            new = np.array([r.value for r in rated], np.int64)
            if segments == 1:
                self._fresh = self.trainer.prequential(self.model, images[:, -1], proprio[:, -1], new)
            else:
                self._fresh = fresh_pairs(self.model, images, proprio, new)
        if len(self.ratings) == 0:
            self.images, self.proprio = images, proprio
        else:
            self.images = np.concatenate([self.images, images])
            self.proprio = np.concatenate([self.proprio, proprio])
        self.ratings = np.concatenate([self.ratings, np.array([r.value for r in rated], np.int64)])
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
        labels = LabelSet(self.images, self.proprio, self.ratings, self.soft, self.audited, self.config.segments)
        model, health = self.trainer.fit(labels, self.version + 1, self.model)
        self.version += 1
        noise = (health.get(name) for name in ("assumed_noise", "rating_noise"))
        info = RewardModelInfo(self.round, self.requested, health["skill"], *noise)
        health |= {f"rated_class_{i}": float(c) for i, c in enumerate(self.counts())}
        health |= {"ratings": float(len(self.ratings)), "train_seconds": time.monotonic() - started}
        health |= {"round": float(self.round), "requested": float(self.requested)}
        health |= self._fresh
        if self.scripted:
            health["scripted_ratings"] = float(self.scripted)
        self.model = replace(model, info=info, health=health)
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later run needs to go on."""
        return {
            "version": self.version,
            "round": self.round,
            "requested": self.requested,
            "episodes": self.episodes,
            "reward_model": self.config.reward_model,
            "n_classes": self.config.n_classes,
            "cameras": list(self.config.cameras),
            "spaces": None if self.config.spaces is None else self.config.spaces.to_json(),
            "images": self.images,
            "proprio": self.proprio,
            "ratings": self.ratings,
            "soft": self.soft,
            "audited": self.audited,
            "scripted": self.scripted,
            "model": None if self.model is None else vars(self.model.to_bundle()),
            **self.trainer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ConfigError when reward model or class count differ from this run's."""
        if "recipe" in state:
            state = {**state, "reward_model": _RECIPES.get(state["recipe"], state["recipe"])}
        for key in ("reward_model", "n_classes"):
            if state[key] != getattr(self.config, key):
                text = f"checkpoint has {key}={state[key]}, this run asks for {getattr(self.config, key)}"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"reward_trainer.{key}")
        before = tuple(state.get("cameras", ()))
        if before != self.config.cameras:
            raise ConfigError(
                f"the checkpoint's reward model sees {', '.join(before) or 'one camera without a name'}, this run asks "
                f"for {', '.join(self.config.cameras) or 'one camera without a name'}: set "
                "reward_trainer.reward_cameras back, or begin a new run",
                code=Code.DOES_NOT_FIT, parameter="reward_trainer.reward_cameras",
            )  # fmt: skip
        if self.config.spaces is not None:
            require_spaces(self.config.spaces, spaces_in(state), None, "the reward trainer's checkpoint")
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
        self.trainer.load_state_dict(state)
