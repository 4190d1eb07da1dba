# SPDX-License-Identifier: Apache-2.0
"""Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905), on one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from erl_vlm_ros.agents.networks import EnsembleMlp
from erl_vlm_ros.agents.normaliser import LOG_STD
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.agents.saved import config_state, require_saved
from erl_vlm_ros.agents.warm_start import Guide, Layers
from erl_vlm_ros.data.replay import TransitionBatch


class Metrics(Mapping):
    """Figures of one update; computed only when they are read."""

    def __init__(self, compute: dict[str, Callable[[], Any]]) -> None:
        self._compute = compute

    def __getitem__(self, key: str) -> float:
        return float(self._compute[key]())

    def __iter__(self):
        return iter(self._compute)

    def __len__(self) -> int:
        return len(self._compute)


class SAC:
    """Actor, twin critics with slow targets, temperature; one ``update`` per batch.

    All random numbers come from ``self.generator``, so two learners with one seed and one stream of batches
    hold the same numbers, bit for bit, on the same machine.
    """

    def __init__(self, cfg: SACConfig, seed: int) -> None:
        self.cfg = cfg
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0
        self.target_entropy = -float(cfg.act_dim) if cfg.target_entropy is None else float(cfg.target_entropy)
        make = {"members": 2, "layer_norm": cfg.critic_layer_norm, "generator": self.generator}
        self.actor = EnsembleMlp(cfg.obs_dim, cfg.hidden, 2 * cfg.act_dim, generator=self.generator)
        self.critic = EnsembleMlp(cfg.obs_dim + cfg.act_dim, cfg.hidden, 1, **make)
        self.target = EnsembleMlp(cfg.obs_dim + cfg.act_dim, cfg.hidden, 1, **make)
        self.target.flat.copy_(self.critic.flat)
        self._std_middle, self._std_half = (
            (cfg.log_std_max + cfg.log_std_min) / 2,
            (cfg.log_std_max - cfg.log_std_min) / 2,
        )
        last_bias = self.actor.named[f"b{len(cfg.hidden)}"]
        last_bias[:, : cfg.act_dim] = 0.0
        last_bias[:, cfg.act_dim :] = self._before_bounds(cfg.initial_log_std)
        self.average = self.actor
        if cfg.average_rate > 0:
            self.average = EnsembleMlp(cfg.obs_dim, cfg.hidden, 2 * cfg.act_dim, generator=self.generator)
            self.average.flat.copy_(self.actor.flat)
        # log p = sum(u_dependent - log_std - noise^2 / 2) - this
        self._log_prob_offset = (0.5 * math.log(2 * math.pi) + 2 * math.log(2)) * cfg.act_dim
        self.log_alpha = torch.nn.Parameter(torch.tensor([math.log(cfg.init_temperature)]), requires_grad=False)
        self.log_alpha.grad = torch.zeros(1)
        self._log_alpha_floor = math.log(cfg.min_temperature) if cfg.min_temperature > 0 else -math.inf
        self.critic_optimizer = torch.optim.Adam([self.critic.flat], lr=cfg.critic_lr, fused=True)
        groups = [
            {"params": [self.actor.flat], "lr": cfg.actor_lr},
            {"params": [self.log_alpha], "lr": cfg.alpha_lr},
        ]
        self.actor_optimizer = torch.optim.Adam(groups, fused=True)
        self.guide: Guide | None = None

    def _before_bounds(self, log_std: float) -> float:
        """What the actor's last layer gives for a log standard deviation."""
        return math.atanh((log_std - self._std_middle) / self._std_half)

    def set_out_from(self, layers: Layers, held: int) -> None:
        """Act as the policy of these layers does, with the deviation that it is exported with, as far as that lies
        within this one's bounds; the actor moves after ``held`` updates. Its hidden sizes must be this one's."""
        cfg, last = self.cfg, len(self.cfg.hidden)
        middle = sum(LOG_STD) / 2
        log_std = middle if cfg.log_std_min < middle < cfg.log_std_max else cfg.initial_log_std
        self.guide = Guide(layers, held, cfg.guide_weight, cfg.guide_updates)
        own, named = self.actor.named, self.guide.network.named
        for name, value in named.items():
            if name not in (f"w{last}", f"b{last}"):
                own[name].copy_(value)
        own[f"w{last}"].zero_()
        own[f"b{last}"].fill_(self._before_bounds(log_std))
        for name in (f"w{last}", f"b{last}"):
            own[name][..., : cfg.act_dim] = named[name]
        self.average.flat.copy_(self.actor.flat)

    # --- acting

    def _policy(self, obs: torch.Tensor):
        """obs [B, O] -> (action, log-probability [B], and what _update_actor needs for its derivatives).

        With u = mean + std * noise and a = tanh(u): log p(a) = log N(u) - sum log(1 - a^2), where
        log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)) stays finite for every u.
        """
        (out,), record = self.actor.forward(obs)
        mean, raw = out.chunk(2, 1)
        bounded = torch.tanh(raw)
        log_std = torch.add(bounded * self._std_half, self._std_middle)
        noise = torch.randn(mean.shape, generator=self.generator)
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        per_dim = torch.nn.functional.softplus(u * -2).add_(u).mul_(2).sub_(log_std).addcmul_(noise, noise, value=-0.5)
        return torch.tanh(u), per_dim.sum(1).sub_(self._log_prob_offset), (record, mean, bounded, spread)

    def act(self, obs: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """Observation(s) [O] or [B, O] -> action(s) in [-1, 1], float32 [A] or [B, A].

        A sample of the actor, or (deterministic) the mean action of its averaged weights, which swing less.
        """
        x = torch.as_tensor(np.atleast_2d(np.asarray(obs, np.float32)))
        with torch.no_grad():
            if deterministic:
                action = torch.tanh(self.average.forward(x)[0][0][:, : self.cfg.act_dim])
            else:
                action = self._policy(x)[0]
        return action.numpy().reshape(*np.shape(obs)[:-1], self.cfg.act_dim)

    def actor_arrays(self) -> dict[str, np.ndarray]:
        """The actor for SquashedGaussian: w0 [O, H], b0 [H], ..., log_std_bounds [2], and average.w0, ... where
        averaged weights are kept; float32 copies."""
        arrays = {k: value[0].numpy().copy() for k, value in self.actor.named.items()}
        if self.average is not self.actor:
            arrays |= {f"average.{k}": value[0].numpy().copy() for k, value in self.average.named.items()}
        arrays["log_std_bounds"] = np.array([self.cfg.log_std_min, self.cfg.log_std_max], np.float32)
        return arrays

    # --- learning

    @torch.no_grad()
    def update(self, batch: TransitionBatch) -> Metrics:
        """One critic step and, every policy_delay updates, one step of actor and temperature."""
        cfg, size = self.cfg, len(batch.reward)
        self.updates += 1
        if self.guide is not None and self.guide.over(self.updates):
            self.guide = None
        held = self.guide is not None and self.guide.holds(self.updates)
        with_actor = self.updates % cfg.policy_delay == 0 and not held
        alpha = self.log_alpha.exp()

        next_action, next_log_prob, _ = self._policy(batch.next_obs)
        (q1, q2), _ = self.target.forward(torch.cat((batch.next_obs, next_action), 1))
        next_value = torch.minimum(q1, q2).squeeze_(1)
        if cfg.backup_entropy:
            next_value.addcmul_(next_log_prob, alpha, value=-1)
        going_on = torch.rsub(batch.terminated, cfg.gamma, alpha=cfg.gamma)  # gamma (1 - terminated)
        goal = torch.addcmul(batch.reward, next_value, going_on).unsqueeze_(1)

        # Loss: half the squared error, averaged over the batch, summed over the critics.
        values, record = self.critic.forward(torch.cat((batch.obs, batch.action), 1))
        errors = [q.sub(goal).div_(size) for q in values]
        self.critic.backward(record, errors)
        self.critic_optimizer.step()
        metrics = {
            "critic_error": lambda: size * torch.cat(errors).abs().mean(),
            "q": values[0].mean,
            "alpha": alpha.item,
        }

        if with_actor:
            metrics.update(self._update_actor(batch.obs, alpha))
        if self.updates % cfg.target_delay == 0:
            self.target.flat.lerp_(self.critic.flat, cfg.tau)
        return Metrics(metrics)

    def _update_actor(self, obs: torch.Tensor, alpha: torch.Tensor) -> dict[str, Callable[[], Any]]:
        """Minimise mean(alpha log p - min Q), and the guide's pull, over the actor and mean(-log_alpha (log p + target
        entropy)) over the temperature. Derivatives of the squashed Gaussian, the noise held fixed:
        d log p / d u = 2a, d log p / d log_std = -1 (and through u), da/du = 1 - a^2."""
        size = len(obs)
        action, log_prob, (record, mean, bounded, spread) = self._policy(obs)
        (q1, q2), critic_record = self.critic.forward(torch.cat((obs, action), 1))
        first = (q1 <= q2).to(q1.dtype).div_(-size)  # dL/dq: only the smaller one counts
        second = torch.rsub(first, -1 / size)
        grad_action = self.critic.input_gradient(critic_record, (first, second), self.cfg.obs_dim)
        scale = alpha / size
        grad_mean = grad_action.addcmul(grad_action * action, action, value=-1).addcmul_(action, scale, value=2)
        grad_raw = (grad_mean * spread).sub_(scale).mul_((1 - bounded * bounded).mul_(self._std_half))
        if self.guide is not None:
            grad_mean += self.guide.slope(self.updates, obs, mean, torch.minimum(q1, q2))
        self.actor.backward(record, [torch.cat((grad_mean, grad_raw), 1)])
        entropy = log_prob.mean().neg_()
        self.log_alpha.grad.copy_(entropy - self.target_entropy)
        self.actor_optimizer.step()
        if self.average is not self.actor:
            self.average.flat.lerp_(self.actor.flat, self.cfg.average_rate)
        self.log_alpha.clamp_(min=self._log_alpha_floor)
        return {"actor_q": q1.mean, "entropy": entropy.item}

    # --- saving

    def finite(self) -> bool:
        """Whether every weight is a finite number: else learning has diverged and there is nothing worth keeping."""
        weights = (self.actor.flat, self.critic.flat, self.target.flat, self.log_alpha)
        return all(bool(torch.isfinite(w).all()) for w in weights)

    def state_dict(self) -> dict[str, Any]:
        """Networks, temperature, optimisers, random state, counters: nested dicts of tensors and numbers."""
        return {
            "config": config_state(self.cfg),
            "updates": self.updates,
            "actor": {k: v.clone() for k, v in self.actor.named.items()},
            "average": {k: v.clone() for k, v in self.average.named.items()},
            "critic": {k: v.clone() for k, v in self.critic.named.items()},
            "target": {k: v.clone() for k, v in self.target.named.items()},
            "log_alpha": self.log_alpha.data.clone(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "guide": None if self.guide is None else self.guide.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore in place, so that optimisers keep the same parameter objects.

        Raises:
            ConfigError: the saved networks have other sizes than this configuration.
        """
        require_saved(state["config"], self.cfg, ("obs_dim", "act_dim", "hidden", "critic_layer_norm"), "SAC")
        for name in ("actor", "average", "critic", "target"):
            if name == "average" and self.average is self.actor:
                continue  # this run keeps none; the saved average must not replace the actor
            for key, value in getattr(self, name).named.items():
                value.copy_(state[name][key])
        self.log_alpha.data.copy_(state["log_alpha"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.generator.set_state(state["generator"])
        guide = state.get("guide")
        self.guide = None if guide is None else Guide.restored(guide, self.cfg.guide_weight, self.cfg.guide_updates)
        self.updates = int(state["updates"])
