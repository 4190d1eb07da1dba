# SPDX-License-Identifier: Apache-2.0
"""Comparisons as a second objective of rating heads: Bradley-Terry on the expected level of the two segments.

A rating says where on the task's scale a frame stands, a comparison which of two is further on, also within one class.
Both are asked of the same heads: the levels that their class probabilities expect.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from erl_vlm_ros.reward.configs import HeadConfig
from erl_vlm_ros.reward.objectives import BradleyTerry, Labels

Forward = Callable[[torch.Tensor], torch.Tensor]  # frames [E, N, D] to logits [E, N, n]


class Compared:
    """What comparisons cost, for each member of an ensemble.

    Args:
        inputs: raw inputs float32 [M, 2, H, D] of the frames of M comparisons, at least one.
        classes: int64 [M]: 0, the first is better, or 1. audited: bool [M], by the auditor.
        fold: number of the member that each is held out from, int64 [M].
        ratings: how many there are beside them. Every label counts alike: ``share`` is that of the comparisons.
    """

    def __init__(
        self, inputs: np.ndarray, classes: np.ndarray, audited: np.ndarray, n_classes: int, config: HeadConfig,
        fold: np.ndarray, ratings: int,
    ) -> None:  # fmt: skip
        self.share = len(fold) / (len(fold) + ratings)
        self._x, self._members = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)), config.members
        self._levels = torch.arange(n_classes, dtype=torch.float32)
        self._objective, self._input_noise = BradleyTerry(), config.input_noise
        noise = np.where(audited, min(config.audit_noise, 0.49), config.noise).astype(np.float32)
        self._labels = Labels(torch.from_numpy(classes.astype(np.int64)), noise=torch.from_numpy(noise))
        weight = torch.from_numpy(np.where(audited, config.audit_weight, 1.0).astype(np.float32))
        self.held = torch.from_numpy(fold[None] == np.arange(config.members)[:, None])  # [E, M]
        if len(fold) < 2 * config.members:
            self.held = torch.zeros_like(self.held)
        self._pick, self._judge = (~self.held).float() * weight, self.held.float() * weight
        self._size = min(config.batch_size, len(fold))

    def __len__(self) -> int:
        return len(self._x)

    @property
    def frames(self) -> torch.Tensor:
        """Raw inputs of all frames, float32 [2 M H, D]."""
        return self._x.reshape(-1, self._x.shape[-1])

    def normalise(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        """Bring the inputs to the networks' scale."""
        self._x = ((self._x - mean) / scale).clamp(-10, 10)

    def loss(self, forward: Forward, generator: torch.Generator) -> torch.Tensor:
        """Sum over members of the mean over a batch each."""
        index = torch.multinomial(self._pick, self._size, replacement=True, generator=generator)  # [E, B]
        batch = self._x[index]
        batch = batch + self._input_noise * torch.randn(batch.shape, generator=generator)
        return self._objective.terms(self._returns(forward, batch), self._labels[index]).mean(1).sum()

    @torch.no_grad()
    def held_out_loss(self, forward: Forward) -> torch.Tensor:
        """Mean over the comparisons that each member was not trained on, [E]; 0 where there are none."""
        losses = self._objective.terms(self._everything(forward), self._labels.for_each(self._members))
        return (losses * self._judge).sum(1) / self._judge.sum(1).clamp_min(1e-6)

    @torch.no_grad()
    def report(self, forward: Forward) -> dict[str, float]:
        """{held-out accuracy, held-out loss}, or nothing where none was held out."""
        if not self.held.any():
            return {}
        said = self._objective.answers(self._everything(forward), self._labels.for_each(self._members))
        right = (said == self._labels.classes) & self.held
        accuracy = float(right.sum() / self.held.sum())
        return {"held_out_accuracy": accuracy, "held_out_loss": float(self.held_out_loss(forward).mean())}

    def _everything(self, forward: Forward) -> torch.Tensor:
        return self._returns(forward, self._x.expand(self._members, *self._x.shape))

    def _returns(self, forward: Forward, batch: torch.Tensor) -> torch.Tensor:
        """[E, B, 2] of frames [E, B, 2, H, D]: their expected levels, in classes, which are log-odds."""
        members, count, segments, length, width = batch.shape
        levels = forward(batch.reshape(members, -1, width)).softmax(-1) @ self._levels
        return levels.view(members, count, segments, length).mean(-1)
