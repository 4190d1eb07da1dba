# SPDX-License-Identifier: Apache-2.0
"""A trunk for each of several cameras, trained side by side; their features stand one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from erl_vlm_ros.data.views import split_views
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.trunk import Trunk, TrunkTrainer

_APART = 1000  # between the seeds of two cameras' trunks


class Trunks(nn.Module):
    """uint8 images [N, s * C, s, 3], the cameras below each other -> features [N, F * C]."""

    def __init__(self, trunks: list[Trunk]):
        super().__init__()
        self.views = nn.ModuleList(trunks)

    @property
    def config(self) -> TrunkConfig:
        """Of each of them."""
        return self.views[0].config

    @property
    def size(self) -> int:
        """How many features an image of all cameras has."""
        return len(self.views) * self.config.features

    @property
    def proprio_mean(self) -> torch.Tensor:
        """Of the frames that they were trained on, [P]."""
        return self.views[0].proprio_mean

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        parts = images.chunk(len(self.views), dim=1)
        return torch.cat([trunk(part) for trunk, part in zip(self.views, parts)], dim=1)


class TrunksTrainer:
    """The same as TrunkTrainer for ``count`` cameras."""

    def __init__(self, config: TrunkConfig, prop_dim: int, seed: int, count: int):
        self.trainers = [TrunkTrainer(config, prop_dim, seed + _APART * i) for i in range(count)]
        self.trunk = Trunks([trainer.trunk for trainer in self.trainers])

    @property
    def version(self) -> int:
        """Trainings so far."""
        return self.trainers[0].version

    def due(self, frames: int) -> bool:
        """Whether the frame store has grown enough."""
        return self.trainers[0].due(frames)

    def train(self, images: np.ndarray, proprio: np.ndarray) -> dict[str, float]:
        """Train on frames uint8 [N, s * C, s, 3]; mean losses of the cameras."""
        parts = split_views(images, len(self.trainers))
        losses = [trainer.train(part, proprio) for trainer, part in zip(self.trainers, parts)]
        return {name: float(np.mean([loss[name] for loss in losses])) for name in losses[0]}

    def state_dict(self) -> dict[str, Any]:
        """Of each trunk."""
        return {"views": [trainer.state_dict() for trainer in self.trainers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ConfigError: it was made with other sizes."""
        for trainer, own in zip(self.trainers, state["views"]):
            trainer.load_state_dict(own)


def trunk_trainer(config: TrunkConfig, prop_dim: int, seed: int, cameras: int) -> TrunkTrainer | TrunksTrainer:
    """Of one camera, or of several."""
    return TrunkTrainer(config, prop_dim, seed) if cameras < 2 else TrunksTrainer(config, prop_dim, seed, cameras)


def make_trunk(config: TrunkConfig, prop_dim: int, cameras: int) -> Trunk | Trunks:
    """An untrained trunk, of one camera or of several."""
    if cameras < 2:
        return Trunk(config, prop_dim)
    return Trunks([Trunk(config, prop_dim) for _ in range(cameras)])


def trunk_of(trunk: Trunk | Trunks, index: int) -> Trunk:
    """The trunk of one camera."""
    return trunk.views[index] if isinstance(trunk, Trunks) else trunk
