# SPDX-License-Identifier: Apache-2.0
"""Contrastive preference learning (arXiv 2310.13639, and as PLARE, arXiv 2507.23391): a policy straight from compared
segments, without a reward model. Length decides: compare whole episodes where they are short (docs/offline.md).

What is cloned, before the comparisons and beside them, may be the segments alone that were preferred most often."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erl_vlm_ros.agents.base import NEEDS, Batches, Needs, Policy
from erl_vlm_ros.agents.normaliser import Normaliser, exported
from erl_vlm_ros.agents.offline_config import CplConfig
from erl_vlm_ros.agents.saved import config_state, require_saved
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.query import Label


def contrastive_loss(advantages: Tensor, labels: Tensor, contrast: float) -> Tensor:
    """Loss of each pair [B] from the segments' advantages [B, 2] and labels int64 [B], 0 the first or 1 the second:
    -log sigmoid(A of the preferred - contrast * A of the other)."""
    preferred = advantages.gather(1, labels.unsqueeze(1)).squeeze(1)
    other = advantages.gather(1, 1 - labels.unsqueeze(1)).squeeze(1)
    return F.softplus(contrast * other - preferred)


def preferred(labels: Sequence[Label], least_won: float) -> list[str]:
    """Ids of the compared segments that won at least the share ``least_won`` of their comparisons, best first; a tenth
    of them in any case, and one. One win of one counts as two thirds (Laplace's rule); of equals the earlier asked."""
    seen: Counter[str] = Counter()
    won: Counter[str] = Counter()
    for label in labels:
        for side, segment in enumerate(label.query):
            seen[segment.id] += 1
            won[segment.id] += label.value == side
    share = {name: (won[name] + 1) / (seen[name] + 2) for name in seen}
    ranked = sorted(seen, key=lambda name: -share[name])
    enough = sum(value >= least_won for value in share.values())
    return ranked[: max(1, len(ranked) // 10, enough)]


class CplAgent:
    """A deterministic actor, tanh of an MLP with dropout: log pi is minus the squared error of the action."""

    needs: ClassVar[Needs] = NEEDS["cpl"]

    def __init__(self, config: CplConfig, seed: int):
        self.config, self.updates = config, 0
        self.rng = np.random.default_rng(seed)
        self.normaliser = Normaliser(config.obs_dim)
        state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        width = config.obs_dim
        for size in config.hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(config.dropout)]
            width = size
        self.actor = nn.Sequential(*layers, nn.Linear(width, config.act_dim))
        self._torch_state = torch.random.get_rng_state()  # dropout draws from it, and from nothing of others'
        torch.random.set_rng_state(state)
        self.average = copy.deepcopy(self.actor)
        self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=config.warm_lr)
        self._preferred: tuple[int, list[str]] = (0, [])  # of so many labels: more come, none is taken back

    @staticmethod
    def configure(values: Mapping[str, Any], obs_dim: int, act_dim: int) -> CplConfig:
        """From the parameters ``cpl.*``."""
        return from_values(CplConfig, values, "cpl.", obs_dim=obs_dim, act_dim=act_dim)

    def update(self, batches: Batches) -> Mapping[str, float]:
        """One step of cloning, and after ``warm_updates`` of these one of comparisons, with a fresh optimiser."""
        self.normaliser.fit(batches)
        if self.updates == self.config.warm_updates:
            self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=self.config.lr)
        state = torch.random.get_rng_state()
        torch.random.set_rng_state(self._torch_state)
        try:
            warm = self.updates < self.config.warm_updates
            loss, figures = self._cloned(batches) if warm else self._compared(batches)
            self._step(loss)
        finally:
            self._torch_state = torch.random.get_rng_state()
            torch.random.set_rng_state(state)
        self.updates += 1
        return figures

    def _errors(self, obs: Tensor, action: Tensor) -> Tensor:
        """Squared errors [...] of actions [..., A] at observations [..., O]."""
        return ((torch.tanh(self.actor(self.normaliser(obs))) - action) ** 2).sum(-1)

    def _cloned(self, batches: Batches) -> tuple[Tensor, dict[str, float]]:
        batch = None
        if self.config.least_won > 0:
            labels = batches.labels()
            if self._preferred[0] != len(labels):
                self._preferred = len(labels), preferred(labels, self.config.least_won)
            batch = batches.among(self._preferred[1], self.config.batch_size)
        if batch is None:
            batch = batches.transitions(self.config.batch_size)
        loss = self._errors(batch.obs, batch.action).mean()
        return loss, {"actor_error": float(loss.detach())}

    def _compared(self, batches: Batches) -> tuple[Tensor, dict[str, float]]:
        labels = batches.labels()
        chosen = [labels[i] for i in self.rng.integers(0, len(labels), self.config.pairs)]
        found = [(label, [batches.stretch(segment.id) for segment in label.query]) for label in chosen]
        found = [(label, pair) for label, pair in found if all(part is not None for part in pair)]
        if not found:
            raise ConfigError(
                "no compared segment is in the buffer: learner.capacity holds too few episodes for its labels",
                parameter="learner.capacity",
            )
        obs = torch.from_numpy(np.stack([[part[0] for part in pair] for _, pair in found]))  # [B, 2, L, O]
        action = torch.from_numpy(np.stack([[part[1] for part in pair] for _, pair in found]))
        advantages = -self.config.alpha * self._errors(obs, action).sum(2)  # [B, 2]
        said = torch.tensor([label.value for label, _ in found])
        loss = contrastive_loss(advantages, said, self.config.contrast).mean()
        right = (advantages[:, 1] > advantages[:, 0]).long() == said
        figures = {"loss": float(loss.detach()), "pair_accuracy": float(right.float().mean())}
        if self.config.clone_weight > 0:
            error, more = self._cloned(batches)
            loss, figures = loss + self.config.clone_weight * error, figures | more
        return loss, figures

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        rate = self.config.average_rate or 1.0
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.actor.parameters(), strict=True):
                mean.lerp_(now, rate)

    def policy(self) -> Policy:
        """The running mean of the actor, without dropout."""
        linear = [layer for layer in self.average if isinstance(layer, nn.Linear)]
        layers = [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear]
        return Policy("squashed_gaussian", exported(layers, self.normaliser))

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(torch.isfinite(p).all()) for p in self.actor.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, random states."""
        return {
            "config": config_state(self.config), "updates": self.updates, "normaliser": self.normaliser.state_dict(),
            "actor": {name: value.clone() for name, value in self.actor.state_dict().items()},
            "average": {name: value.clone() for name, value in self.average.state_dict().items()},
            "optimizer": self.optimizer.state_dict(), "torch": self._torch_state,
            "rng": self.rng.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore. ConfigError when the saved network has other sizes."""
        require_saved(state["config"], self.config, ("obs_dim", "act_dim", "hidden"))
        self.actor.load_state_dict(state["actor"])
        self.average.load_state_dict(state.get("average", state["actor"]))  # before it had a mean
        self.optimizer.load_state_dict(state["optimizer"])
        self.normaliser.load_state_dict(state["normaliser"])
        self._torch_state, self.updates = state["torch"], int(state["updates"])
        self._preferred = (0, [])  # the labels are now those of the state
        self.rng.bit_generator.state = state["rng"]
