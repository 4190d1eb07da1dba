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
from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.data.spaces import require_spaces, spaces_in
from erl_vlm_ros.reward.fresh import fresh_pairs
from erl_vlm_ros.reward.info import RewardModelInfo
from erl_vlm_ros.reward.kept_labels import KeptLabels
from erl_vlm_ros.reward.model import RewardModel, load_reward_model
from erl_vlm_ros.reward.models import REWARD_MODELS
from erl_vlm_ros.reward.models.base import ModelTrainer
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
        side, size = self.trainer.image_size, config.prop_dim
        self.kept = KeptLabels(config.segments, config.n_classes, side, size)
        self.compared: KeptLabels | None = None  # comparisons besides the ratings
        if config.compared is not None:
            if not getattr(self.trainer, "takes_both", False):
                text = (
                    f"reward_model {config.reward_model} learns from one kind of label, and the feedback is both: set "
                    "reward_trainer.reward_model to trunk_heads, or feedback to rating or preference"
                )
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="reward_trainer.reward_model")
            self.compared = KeptLabels(2, config.compared[1], side, size)
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
        compared = self.compared if self.config.compared and batch.kind == self.config.compared[0] else None
        kept = self.kept if compared is None else compared
        kept.require_classes(batch)
        rated = kept.lessons(batch)
        if batch.round < self.round or not rated:
            return 0
        if len(rated[0].query) != kept.segments:
            raise DataError(
                f"labels are of kind {batch.kind}, about {len(rated[0].query)} segments each; reward_trainer."
                f"reward_model {self.config.reward_model} learns from labels of {kept.segments}",
                field="reward_model",
            )
        kept.require(rated)
        cameras = tuple(getattr(self.trainer, "cameras", ()))  # of a model from elsewhere: the first
        images, proprio, classes, soft, audited = kept.decoded(rated, cameras)
        if self.model is not None:
            if kept.segments == 1:
                fresh = self.trainer.prequential(self.model, images[:, -1], proprio[:, -1], classes)
            else:
                fresh = fresh_pairs(self.model, images, proprio, classes)
            if self.compared is None:
                self._fresh = fresh
            else:
                self._fresh |= fresh if compared is None else _named(batch.kind, fresh)
        kept.add(images, proprio, classes, soft, audited)
        self.scripted += len(rated) if "scripted" in batch.teacher else 0
        self.round = batch.round + 1
        self.requested += batch.requested
        return len(rated)

    @property
    def images(self) -> np.ndarray:
        """Of the ratings, or of the comparisons where they are the one kind there is: uint8 [M, H, s, s, 3]."""
        return self.kept.images

    @property
    def proprio(self) -> np.ndarray:
        """Theirs, float32 [M, H, P]."""
        return self.kept.proprio

    @property
    def ratings(self) -> np.ndarray:
        """Their classes, int64 [M]."""
        return self.kept.classes

    @property
    def soft(self) -> np.ndarray:
        """Their soft labels, float32 [M, n]; one-hot where none was given."""
        return self.kept.soft

    @property
    def audited(self) -> np.ndarray:
        """Which are the auditor's, bool [M]."""
        return self.kept.audited

    def counts(self) -> np.ndarray:
        """Ratings per class, int64 [n]."""
        return self.kept.counts()

    def train(self) -> RewardModel:
        """Train on all ratings so far (at least one); the model carries its health figures."""
        started = time.monotonic()
        labels = self.kept.label_set()
        if self.compared is None:
            model, health = self.trainer.fit(labels, self.version + 1, self.model)
        else:
            model, health = self.trainer.fit(labels, self.version + 1, self.model, self.compared.label_set())
            lessons = {"labels": float(len(self.compared))}
            lessons |= {f"class_{i}": float(c) for i, c in enumerate(self.compared.counts())}
            health |= _named(self.config.compared[0], lessons)
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
            **self.kept.state_dict(),
            **({} if self.compared is None else {"compared": self.compared.state_dict()}),
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
        if "compared" in state and self.compared is None:
            text = "the checkpoint holds ratings and comparisons, this run asks for one of them: set feedback to both"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="reward_trainer.feedback")
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
        self.kept.load_state_dict(state)
        if self.compared is not None and "compared" in state:  # else a run with ratings alone goes on with both
            self.compared.load_state_dict(state["compared"])
        self.scripted = int(state.get("scripted", 0))
        if state.get("model") is not None:
            self.model = load_reward_model(Bundle(**state["model"]))
        self.trainer.load_state_dict(state)


def _named(kind: str, figures: dict[str, float]) -> dict[str, float]:
    """Figures of another kind of label than the ratings'."""
    return {f"{kind}_{name}": value for name, value in figures.items()}
