# SPDX-License-Identifier: Apache-2.0
"""Implicit Q-learning (arXiv 2110.06169): offline from rewarded transitions, or going on online."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from erl_vlm_ros.agents.balance import Balance
from erl_vlm_ros.agents.base import NEEDS, Batches, Needs, Policy
from erl_vlm_ros.agents.networks import EnsembleMlp, Record
from erl_vlm_ros.agents.normaliser import Normaliser, exported
from erl_vlm_ros.agents.offline_config import IqlConfig
from erl_vlm_ros.agents.sac import Metrics
from erl_vlm_ros.agents.saved import config_state, require_saved
from erl_vlm_ros.common.config import from_values


def expectile_weight(error: torch.Tensor, expectile: float) -> torch.Tensor:
    """|expectile - 1(error < 0)| of each."""
    return torch.where(error < 0, 1 - expectile, expectile)


def advantage_weight(advantage: torch.Tensor, beta: float, most: float, normalise: bool = False) -> torch.Tensor:
    """exp(beta A), at most ``most``."""
    if normalise:
        advantage = advantage / advantage.std().clamp_min(1e-6)
    return torch.exp(beta * advantage).clamp_max(most)


def effective_share(weight: torch.Tensor) -> torch.Tensor:
    """Effective sample size of weights [B], as a share of B; near 1 all count alike: that is behaviour cloning."""
    return weight.sum() ** 2 / (len(weight) * (weight**2).sum())


class Cloned:
    """Networks of a deterministic actor, tanh of an MLP, and what every agent with one does alike."""

    def __init__(self, config: Any, seed: int):
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.normaliser, self.balance = Normaliser(config.obs_dim), Balance(config.act_dim)
        self.networks: dict[str, EnsembleMlp] = {"actor": self._actor(), "average": self._actor()}
        self.networks["average"].flat.copy_(self.networks["actor"].flat)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"actor": self._adam("actor")}
        self.updates = 0

    def _actor(self) -> EnsembleMlp:
        return EnsembleMlp(self.config.obs_dim, self.config.hidden, self.config.act_dim, generator=self.generator)

    def _adam(self, name: str) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.networks[name].flat], lr=self.config.lr, fused=True)

    def _fit(self, batches: Batches) -> None:
        """Take the scales from the data, the first time."""
        drawn = self.normaliser.fit(batches)
        if drawn is not None and self.config.balance:
            self.balance.fit(drawn.action)

    def _clone(self, obs: torch.Tensor, action: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """A step of the actor on the mean of weight [B] times the balanced squared error; gives the plain ones [B]."""
        actor = self.networks["actor"]
        (out,), record = actor.forward(obs)
        said = torch.tanh(out)
        error = said - action
        slope = error * self.balance(action) * (1 - said * said) * (2 / len(obs)) * weight.unsqueeze(1)
        actor.backward(record, [slope])
        self._actor_step()
        return (error**2).sum(1)

    def _actor_step(self) -> None:
        """Follow the actor's gradient, and its running mean follows."""
        actor, average, rate = self.networks["actor"], self.networks["average"], self.config.average_rate
        self.optimizers["actor"].step()
        average.flat.lerp_(actor.flat, rate) if rate > 0 else average.flat.copy_(actor.flat)

    def policy(self) -> Policy:
        """The running mean of the actor."""
        return Policy("squashed_gaussian", exported(self._averaged(), self.normaliser))

    def _averaged(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weights, bias) of each layer of the running mean."""
        named = self.networks["average"].named
        return [(named[f"w{i}"][0].numpy(), named[f"b{i}"][0].numpy()) for i in range(len(self.config.hidden) + 1)]

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(torch.isfinite(network.flat).all()) for network in self.networks.values())

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, random state."""
        return {
            "config": config_state(self.config), "updates": self.updates, "generator": self.generator.get_state(),
            "normaliser": self.normaliser.state_dict(), "balance": self.balance.state_dict(),
            "networks": {name: {k: v.clone() for k, v in net.named.items()} for name, net in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore in place. ConfigError when the saved networks have other sizes."""
        require_saved(state["config"], self.config, ("obs_dim", "act_dim", "hidden"))
        for name, network in self.networks.items():
            for key, value in network.named.items():
                value.copy_(state["networks"][name][key])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.normaliser.load_state_dict(state["normaliser"])
        if "balance" in state:
            self.balance.load_state_dict(state["balance"])
        self.generator.set_state(state["generator"])
        self.updates = int(state["updates"])


class IqlAgent(Cloned):
    """Twin critics with slow targets, their expectile as value, and a cloned actor weighted by advantage. The actor may
    be shown the best episodes alone (``iql.best_share``); values are always learned from all."""

    needs: ClassVar[Needs] = NEEDS["iql"]

    def __init__(self, config: IqlConfig, seed: int):
        super().__init__(config, seed)
        norm = {"layer_norm": True, "generator": self.generator}
        self.networks["value"] = EnsembleMlp(config.obs_dim, config.hidden, 1, **norm)
        size_in, size_out = self._critic_sizes()
        for name in ("critic", "target"):
            self.networks[name] = EnsembleMlp(size_in, config.hidden, size_out, members=2, **norm)
        self.networks["target"].flat.copy_(self.networks["critic"].flat)
        self.optimizers |= {name: self._adam(name) for name in ("value", "critic")}

    @staticmethod
    def configure(values: Mapping[str, Any], obs_dim: int, act_dim: int) -> IqlConfig:
        """From the parameters ``iql.*``."""
        return from_values(IqlConfig, values, "iql.", obs_dim=obs_dim, act_dim=act_dim)

    def _critic_sizes(self) -> tuple[int, int]:
        """Numbers that a critic takes and gives."""
        return self.config.obs_dim + self.config.act_dim, 1

    def _q(self, name: str, obs: torch.Tensor, action: torch.Tensor) -> tuple[list[torch.Tensor], Record]:
        """What was done, [B, 1], by each of two critics."""
        return self.networks[name].forward(torch.cat((obs, action), 1))

    def _critic_step(self, record: Record, slopes: list[torch.Tensor], action: torch.Tensor) -> None:
        """A step of the critics, from dL/dq [B, 1] of each."""
        self.networks["critic"].backward(record, slopes)
        self.optimizers["critic"].step()

    @torch.no_grad()
    def update(self, batches: Batches) -> Mapping[str, float]:
        """One step of value, critics and actor."""
        self._fit(batches)
        cfg, batch, nets = self.config, batches.transitions(self.config.batch_size), self.networks
        size = len(batch.reward)
        self.updates += 1
        obs, then = self.normaliser(batch.obs), self.normaliser(batch.next_obs)
        q = torch.minimum(*self._q("target", obs, batch.action)[0])
        next_value = nets["value"].forward(then)[0][0]
        (value,), record = nets["value"].forward(obs)
        advantage = q - value
        weight = expectile_weight(advantage, cfg.expectile)
        nets["value"].backward(record, [advantage * weight * (-2 / size)])
        goal = batch.reward.unsqueeze(1) + cfg.gamma * (1 - batch.terminated.unsqueeze(1)) * next_value
        values, record = self._q("critic", obs, batch.action)
        self.optimizers["value"].step()
        self._critic_step(record, [(v - goal) * (2 / size) for v in values], batch.action)
        shown = batch
        if cfg.best_share < 1:
            shown = batches.best(cfg.batch_size, cfg.best_share)
            obs = self.normaliser(shown.obs)
            advantage = torch.minimum(*self._q("target", obs, shown.action)[0]) - nets["value"].forward(obs)[0][0]
        weights = advantage_weight(advantage.squeeze(1), cfg.beta, cfg.max_weight, cfg.normalise_advantages)
        errors = self._clone(obs, shown.action, weights)
        nets["target"].flat.lerp_(nets["critic"].flat, cfg.tau)
        return Metrics({
            "q": values[0].mean, "value": value.mean, "advantage_std": advantage.std, "actor_error": errors.mean,
            "effective_share": lambda: effective_share(weights),
        })  # fmt: skip
