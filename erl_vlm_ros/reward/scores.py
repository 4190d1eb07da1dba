# SPDX-License-Identifier: Apache-2.0
"""Scalar heads that learn from comparisons: the rating heads' network with one output, under Bradley-Terry.

A comparison fixes no scale and no offset, so members cannot be averaged as they are: the 1st and the 99.5th percentile
of each over the frames seen become 0 and 1. Nothing is clipped: the rare best frames lie beyond the latter early on.
"""

from __future__ import annotations

import numpy as np
import torch

from erl_vlm_ros.reward.configs import HeadConfig
from erl_vlm_ros.reward.heads import _forward, _initial, folds
from erl_vlm_ros.reward.objectives import Labels, Objective

LOW, HIGH = "head_low", "head_high"
_PERCENTILES = (1.0, 99.5)
_BATCH = 8192


class Scores:
    """``members`` MLPs [D -> hidden -> hidden -> 1]; ``low`` and ``high`` float32 [E] become reward 0 and 1."""

    n_classes = 2  # levels that a reward is drawn with

    def __init__(self, mean, scale, weights: list[torch.Tensor], low: np.ndarray, high: np.ndarray):
        self.mean, self.scale, self.weights, self.low, self.high = mean, scale, weights, low, high

    @torch.inference_mode()
    def raw(self, inputs: np.ndarray) -> np.ndarray:
        """Scores float32 [E, N] of inputs [N, D], each member's on its own scale."""
        parts = [np.zeros((len(self.low), 0), np.float32)]
        for i in range(0, len(inputs), _BATCH):
            x = torch.from_numpy(np.ascontiguousarray(inputs[i : i + _BATCH], dtype=np.float32))
            x = ((x - self.mean) / self.scale).clamp(-10, 10)
            parts.append(_forward(x.expand(len(self.low), -1, -1), self.weights).squeeze(-1).numpy())
        return np.concatenate(parts, axis=1)

    def rewards(self, inputs: np.ndarray) -> np.ndarray:
        """The same on one scale."""
        return (self.raw(inputs) - self.low[:, None]) / np.maximum(self.high - self.low, 1e-6)[:, None]

    def scaled(self, inputs: np.ndarray) -> Scores:
        """The same heads with the scale of these inputs float32 [N, D], at least one."""
        low, high = np.percentile(self.raw(inputs), _PERCENTILES, axis=1).astype(np.float32)
        return Scores(self.mean, self.scale, self.weights, low, high)

    def arrays(self) -> dict[str, np.ndarray]:
        """Named float32 arrays for a bundle or a checkpoint."""
        out = {"head_mean": self.mean.numpy(), "head_scale": self.scale.numpy(), LOW: self.low, HIGH: self.high}
        return out | {f"head_{i}": w.detach().numpy() for i, w in enumerate(self.weights)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Scores:
        """Inverse of ``arrays``; KeyError or RuntimeError where one is missing or does not fit."""
        found = {k: np.array(v, np.float32) for k, v in arrays.items() if k.startswith("head_")}
        low, high = found.pop(LOW), found.pop(HIGH)
        tensors = {k: torch.from_numpy(v) for k, v in found.items()}
        weights = [tensors[f"head_{i}"] for i in range(len(tensors) - 2)]
        if low.shape != (len(weights[0]),) or high.shape != low.shape:
            raise RuntimeError("head_low and head_high must have a number for each member")
        return cls(tensors["head_mean"], tensors["head_scale"], weights, low, high)


def fit_scores(
    pairs: np.ndarray, labels: np.ndarray, config: HeadConfig, seed: int, objective: Objective, audited: np.ndarray
) -> tuple[Scores, dict[str, float]]:
    """Fit heads on pairs of segments float32 [M, 2, H, D] and labels int64 [M]: 0, the first is preferred, or 1.

    Each member has its own hold-out fold, by which its best weights are kept; with fewer than two labels a member all
    of them train every member. Returns the heads, not yet scaled, and {held-out accuracy, held-out loss}.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    count, _, length, width = pairs.shape
    flat = torch.from_numpy(np.ascontiguousarray(pairs.reshape(-1, width), dtype=np.float32))
    mean, scale = flat.mean(0), flat.std(0, unbiased=False).clamp_min(1e-2)
    x = ((flat - mean) / scale).clamp(-10, 10).view(count, 2 * length, width)
    members, size = config.members, min(config.batch_size, count)
    noise = torch.from_numpy(np.where(audited, min(config.audit_noise, 0.49), config.noise).astype(np.float32))
    told = Labels(torch.from_numpy(labels.astype(np.int64)), noise=noise)
    weight = torch.from_numpy(np.where(audited, config.audit_weight, 1.0).astype(np.float32))
    held = torch.from_numpy(folds(labels, members, rng)[None] == np.arange(members)[:, None])  # [E, M]
    if count < 2 * members:
        held = torch.zeros_like(held)
    pick, judge = (~held).float() * weight, held.float() * weight
    weights = _initial(width, config, 1, generator)
    optimiser = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def returns(batch: torch.Tensor) -> torch.Tensor:
        """[E, B, 2] of frames [E, B, 2 H, D]."""
        out = _forward(batch.reshape(members, -1, width), weights)
        return out.view(members, -1, 2, length).sum(-1)

    best, best_loss = [w.detach().clone() for w in weights], torch.full((members,), torch.inf)
    everything = x.expand(members, -1, -1, -1)
    for step in range(config.iterations):
        index = torch.multinomial(pick, size, replacement=True, generator=generator)  # [E, B]
        batch = x[index]
        batch = batch + config.input_noise * torch.randn(batch.shape, generator=generator)
        loss = objective.terms(returns(batch), told[index]).mean(1).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % config.check_every == 0 or step + 1 == config.iterations:
            with torch.no_grad():
                losses = objective.terms(returns(everything), told.for_each(members))
                total = judge.sum(1)
                now = torch.where(total > 0, (losses * judge).sum(1) / total.clamp_min(1e-6), -torch.inf)
                better = (now < best_loss) | (total == 0)  # nothing held out: keep the last
                best = [torch.where(better.view(-1, 1, 1), w.detach(), b) for w, b in zip(weights, best)]
                best_loss = torch.where(better, now, best_loss)
    report: dict[str, float] = {}
    if held.any():
        with torch.no_grad():
            weights[:] = best
            right = objective.answers(returns(everything), told.for_each(members)) == told.classes
        report["held_out_accuracy"] = float((right & held).sum() / held.sum())
        report["held_out_loss"] = float(best_loss.mean())
    zeros = np.zeros(members, np.float32)
    return Scores(mean, scale, best, zeros, zeros + 1), report
