# SPDX-License-Identifier: Apache-2.0
"""Rating heads of the default reward model: small MLPs on trunk features and proprioception.

Fitted from scratch after every round of ratings, each member with its own hold-out fold for early stopping, so
that all ratings are used and wrong ones are not memorised. All members train as one batched network.
"""

from __future__ import annotations

import numpy as np
import torch

from erl_vlm_ros.data.spaces import EE_POSITION, RELEASED_OBSERVATION
from erl_vlm_ros.reward.audits import audited_weights
from erl_vlm_ros.reward.compared import Compared
from erl_vlm_ros.reward.configs import HeadConfig
from erl_vlm_ros.reward.continuity import ContinuityPenalty, Unrated
from erl_vlm_ros.reward.objectives import ClassLikelihood, Labels, Objective
from erl_vlm_ros.reward.view_clusters import cluster_folds, importance, position_importance, view_clusters

_ENOUGH_RATINGS = 100  # below, their noise cannot be told


class Heads:
    """``members`` MLPs [D -> hidden -> hidden -> n] with an input normalisation; weights are plain tensors."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, weights: list[torch.Tensor]):
        self.mean, self.scale, self.weights = mean, scale, weights

    @property
    def n_classes(self) -> int:
        return int(self.weights[-1].shape[-1])

    @torch.inference_mode()
    def probabilities(self, inputs: np.ndarray, batch: int = 8192) -> np.ndarray:
        """Class probabilities float32 [members, N, n] of inputs [N, D] (features beside proprioception)."""
        parts = []
        for i in range(0, len(inputs), batch):
            x = (torch.from_numpy(np.ascontiguousarray(inputs[i : i + batch])) - self.mean) / self.scale
            logits = _forward(x.clamp(-10, 10).expand(len(self.weights[0]), -1, -1), self.weights)
            parts.append(logits.softmax(-1).numpy())
        return (
            np.concatenate(parts, axis=1) if parts else np.zeros((len(self.weights[0]), 0, self.n_classes), np.float32)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [E, N, n] of normalised inputs [E, N, D]."""
        return _forward(x, self.weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """Named float32 arrays for a bundle or a checkpoint."""
        out = {"head_mean": self.mean.numpy(), "head_scale": self.scale.numpy()}
        return out | {f"head_{i}": w.detach().numpy() for i, w in enumerate(self.weights)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Heads:
        """Inverse of ``arrays``."""
        tensors = {
            k: torch.from_numpy(np.array(v, dtype=np.float32)) for k, v in arrays.items() if k.startswith("head_")
        }
        count = len(tensors) - 2
        return cls(tensors["head_mean"], tensors["head_scale"], [tensors[f"head_{i}"] for i in range(count)])


def _forward(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.relu(torch.baddbmm(b1, x, w1))
    x = torch.relu(torch.baddbmm(b2, x, w2))
    return torch.baddbmm(b3, x, w3)


def folds(ratings: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
    """Fold number per rating, every class spread over the folds. int64 [M]."""
    fold = np.empty(len(ratings), np.int64)
    offset = 0
    for rating in np.unique(ratings):
        index = rng.permutation(np.flatnonzero(ratings == rating))
        fold[index] = (np.arange(len(index)) + offset) % members
        offset += len(index)
    return fold


def fit_heads(
    inputs: np.ndarray,
    ratings: np.ndarray,
    n_classes: int,
    config: HeadConfig,
    seed: int,
    soft: np.ndarray | None = None,
    unrated: Unrated | None = None,
    prop_dim: int = 0,
    noise: float | None = None,
    audited: np.ndarray | None = None,
    ee: slice | None = None,
    objective: Objective | None = None,
    compared: Compared | None = None,
) -> tuple[Heads, dict[str, float]]:
    """Fit heads on inputs float32 [M, D] and ratings int64 [M], or the soft labels float32 [M, n] in their place.

    Returns the heads and {held-out accuracy, held-out loss, noise that the held-out ratings show}. With fewer than
    two ratings a member every member trains on all of them, and nothing is reported.

    Args:
        unrated: further frames, for the penalties of the configuration.
        prop_dim: how many of the inputs' last columns are proprioception.
        noise: in place of the configuration's.
        audited: bool [M], ratings of the auditor; None: there is none.
        ee: where the tool's position stands in the proprioception; None: as in the released layout.
        objective: what a label costs, for logits; None: the likelihood of its class.
        compared: comparisons to be learned from as well, in the same inputs; then there may be no rating.
    """
    objective = objective or ClassLikelihood()
    ee = RELEASED_OBSERVATION.slice(EE_POSITION) if ee is None else ee
    noise = config.noise if noise is None else noise
    trusted = np.zeros(len(ratings), bool) if audited is None else audited
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)),
        torch.from_numpy(ratings.astype(np.int64)),
    )
    seen = x if compared is None else torch.cat([x, compared.frames])
    mean, scale = seen.mean(0), seen.std(0, unbiased=False).clamp_min(1e-2)
    if compared is not None:
        compared.normalise(mean, scale)
    x = ((x - mean) / scale).clamp(-10, 10)
    members = config.members
    weight, fold = torch.ones(len(y)), folds(ratings, members, rng)
    if config.cluster_size and len(y):
        clusters = view_clusters(x.numpy(), prop_dim, max(2 * members, len(y) // config.cluster_size), rng)
        weight, fold = torch.from_numpy(importance(clusters)), cluster_folds(clusters, members, rng)
    if config.bandwidth_m > 0 and len(y):
        weight = torch.from_numpy(position_importance(inputs[:, -prop_dim:][:, ee], config.bandwidth_m))
    if trusted.any():
        weight = weight * torch.from_numpy(audited_weights(x.numpy(), prop_dim, ratings, trusted, config.audit_weight))
    penalty = None
    if unrated is not None and config.continuity:
        penalty = ContinuityPenalty(
            unrated, lambda raw: ((torch.from_numpy(raw) - mean) / scale).clamp(-10, 10), n_classes, config.jump,
            config.jump_weight, config.start_level, config.start_weight, config.object_weight,
            config.batch_size,
        )  # fmt: skip
    labels = Labels(
        y,
        None if soft is None else torch.from_numpy(np.ascontiguousarray(soft, dtype=np.float32)),
        torch.from_numpy(np.where(trusted, config.audit_noise, noise).astype(np.float32)),
    )
    held = torch.from_numpy(fold[None] == np.arange(members)[:, None])  # [E, M]
    if len(ratings) < 2 * members:
        held = torch.zeros_like(held)
    weights = _initial(x.shape[1], config, n_classes, generator)
    optimiser = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    pick, judge = (~held).float() * weight, held.float() * weight
    best, best_loss = [w.detach().clone() for w in weights], torch.full((members,), torch.inf)
    everything = x.expand(members, -1, -1)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return _forward(inputs, weights)

    for step in range(config.iterations):
        loss = torch.zeros(())
        if len(y):
            index = torch.multinomial(pick, min(config.batch_size, len(y)), replacement=True, generator=generator)
            batch = x[index]
            batch = batch + config.input_noise * torch.randn(batch.shape, generator=generator)
            loss = objective.terms(_forward(batch, weights), labels[index]).mean(1).sum()
        if compared is not None:
            loss = (1 - compared.share) * loss + compared.share * compared.loss(forward, generator)
        if penalty is not None:
            loss = loss + penalty(forward, members, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % config.check_every == 0 or step + 1 == config.iterations:
            best, best_loss = _keep_best(objective, everything, labels, judge, weights, best, best_loss, compared)
    heads = Heads(mean, scale, best)
    if compared is not None:  # the ratings' own loss, without the comparisons'
        best_loss = _rated_loss(objective, everything, labels, judge, best)
    return heads, _report(objective, everything, labels, held, best, best_loss, trusted)


def _initial(dim: int, config: HeadConfig, n_classes: int, generator: torch.Generator) -> list[torch.Tensor]:
    weights = []
    for fan_in, fan_out in ((dim, config.hidden), (config.hidden, config.hidden), (config.hidden, n_classes)):
        bound = fan_in**-0.5
        w = (torch.rand(config.members, fan_in, fan_out, generator=generator) * 2 - 1) * bound
        weights += [w.requires_grad_(), torch.zeros(config.members, 1, fan_out, requires_grad=True)]
    return weights


@torch.no_grad()
def _keep_best(objective, everything, labels, judge, weights, best, best_loss, compared=None):
    """``judge`` [E, M]: weights of the held-out ratings, 0 for the others."""
    loss, count = _rated_loss(objective, everything, labels, judge, weights), judge.sum(1)
    if compared is not None:
        other = compared.held_out_loss(lambda inputs: _forward(inputs, weights))
        loss = (1 - compared.share) * loss + compared.share * other
        count = count + compared.held.sum(1)
    loss = torch.where(count > 0, loss, -torch.inf)  # nothing held out: keep the last
    better = (loss < best_loss) | (count == 0)
    best = [torch.where(better.view(-1, 1, 1), w, b) for w, b in zip(weights, best)]
    return [b.detach() for b in best], torch.where(better, loss, best_loss)


@torch.no_grad()
def _rated_loss(objective, everything, labels, judge, weights):
    """Mean over each member's held-out ratings, [E]; 0 for none."""
    losses = objective.terms(_forward(everything, weights), labels.for_each(len(judge)))
    return (losses * judge).sum(1) / judge.sum(1).clamp_min(1e-6)


@torch.no_grad()
def _report(objective, everything, labels, held, weights, best_loss, audited) -> dict[str, float]:
    if not held.any():
        return {}
    logits = _forward(everything, weights)
    y, said = labels.classes, objective.answers(logits, labels.for_each(len(logits)))
    right = (said == y).float()
    out = {
        "held_out_accuracy": float((right * held).sum() / held.sum()),
        "held_out_loss": float(best_loss.mean()),
    }
    held = held & ~torch.from_numpy(audited)
    shown = rating_noise(said[held].numpy(), y.expand_as(said)[held].numpy(), logits.shape[-1])
    return out if shown is None else out | {"rating_noise": shown}


def rating_noise(said: np.ndarray, ratings: np.ndarray, n_classes: int) -> float | None:
    """Share of wrong ratings, were errors uniform over the wrong classes, from predictions on held-out ratings.

    Only ratings two or more classes off count: a neighbouring class may be the model's error, or a matter of taste.
    None when there are too few ratings, or (n = 2) no class is that far. Clipped to 0.05..0.5.
    """
    classes = np.arange(n_classes)
    far = (np.abs(classes[:, None] - classes) >= 2).sum(1)[said].sum()  # chances for a rating to be far off
    if len(ratings) < _ENOUGH_RATINGS or far == 0:
        return None
    share = (n_classes - 1) * float((np.abs(said - ratings) >= 2).sum()) / float(far)
    return float(np.clip(share, 0.05, 0.5))
