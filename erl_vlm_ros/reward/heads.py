# SPDX-License-Identifier: Apache-2.0
"""Rating heads of the default reward model: small MLPs on trunk features and proprioception.

Fitted from scratch after every round of ratings, each member with its own hold-out fold for early stopping, so
that all ratings are used and wrong ones are not memorised. All members train as one batched network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from erl_vlm_ros.data.observation import EE_SLICE
from erl_vlm_ros.reward.audits import audited_weights
from erl_vlm_ros.reward.continuity import ContinuityPenalty, Unrated
from erl_vlm_ros.reward.kinds import importance, kind_folds, kinds_of, place_importance

_ENOUGH_RATINGS = 100  # below, their noise cannot be told


@dataclass(frozen=True)
class HeadConfig:
    """``noise`` is the share of ratings assumed wrong (uniformly over the other classes): forward-corrected loss.

    How many ratings are far off, two classes or more, tells it, see ``rating_noise``.

    Against errors that belong to kinds of view (docs/check_rater.md): ``kind_size`` groups the ratings into kinds of
    about so many, and ``place_m`` those made with the hand in one place, see ``kinds``; ``jump``, ``start`` and
    ``object`` are what unrated frames must keep to, see ``continuity``. ``audit_*``: see ``audits``.
    """

    members: int = 5
    hidden: int = 64
    iterations: int = 300
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.1
    input_noise: float = 0.1
    check_every: int = 10
    noise: float = 0.2
    adapt_noise: bool = True  # noise is only the first guess; later rounds take what the held-out ratings show
    kind_size: int = 0  # ratings; 0: each rating counts for itself
    jump: float = 1.0  # classes from frame to frame
    jump_weight: float = 0.0
    start_level: float = 0.25  # of the top class
    start_weight: float = 0.0
    object_weight: float = 0.0
    place_m: float = 0.0  # 0: the hand's place does not matter
    audit_weight: float = 10.0  # of an audited rating, in ordinary ones
    audit_noise: float = 0.05  # share of audited ratings assumed wrong

    @property
    def continuity(self) -> bool:
        """Whether unrated frames are of use."""
        return self.jump_weight > 0 or self.start_weight > 0 or self.object_weight > 0


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
) -> tuple[Heads, dict[str, float]]:
    """Fit heads on inputs float32 [M, D] and ratings int64 [M], or the soft labels float32 [M, n] in their place.

    Returns the heads and {held-out accuracy, held-out loss, noise that the held-out ratings show}. With fewer than
    two ratings a member every member trains on all of them, and nothing is reported.

    Args:
        unrated: further frames, for the penalties of the configuration.
        prop_dim: how many of the inputs' last columns are proprioception.
        noise: in place of the configuration's.
        audited: bool [M], ratings of the auditor; None: there is none.
    """
    noise = config.noise if noise is None else noise
    trusted = np.zeros(len(ratings), bool) if audited is None else audited
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)),
        torch.from_numpy(ratings.astype(np.int64)),
    )
    mean, scale = x.mean(0), x.std(0, unbiased=False).clamp_min(1e-2)
    x = ((x - mean) / scale).clamp(-10, 10)
    members = config.members
    weight, fold = torch.ones(len(y)), folds(ratings, members, rng)
    if config.kind_size:
        kinds = kinds_of(x.numpy(), prop_dim, max(2 * members, len(y) // config.kind_size), rng)
        weight, fold = torch.from_numpy(importance(kinds)), kind_folds(kinds, members, rng)
    if config.place_m > 0:
        weight = torch.from_numpy(place_importance(inputs[:, -prop_dim:][:, EE_SLICE], config.place_m))
    if trusted.any():
        weight = weight * torch.from_numpy(audited_weights(x.numpy(), prop_dim, ratings, trusted, config.audit_weight))
    penalty = None
    if unrated is not None and config.continuity:
        penalty = ContinuityPenalty(
            unrated, lambda raw: ((torch.from_numpy(raw) - mean) / scale).clamp(-10, 10), n_classes, config.jump,
            config.jump_weight, config.start_level, config.start_weight, config.object_weight,
            config.batch_size,
        )  # fmt: skip
    target = y if soft is None else torch.from_numpy(np.ascontiguousarray(soft, dtype=np.float32))
    wrong = torch.from_numpy(np.where(trusted, config.audit_noise, noise).astype(np.float32))  # share, [M]
    held = torch.from_numpy(fold[None] == np.arange(members)[:, None])  # [E, M]
    if len(ratings) < 2 * members:
        held = torch.zeros_like(held)
    weights = _initial(x.shape[1], config, n_classes, generator)
    optimiser = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    pick, judge = (~held).float() * weight, held.float() * weight
    best, best_loss = [w.detach().clone() for w in weights], torch.full((members,), torch.inf)
    everything = x.expand(members, -1, -1)
    for step in range(config.iterations):
        index = torch.multinomial(pick, min(config.batch_size, len(y)), replacement=True, generator=generator)
        batch = x[index]
        batch = batch + config.input_noise * torch.randn(batch.shape, generator=generator)
        loss = _loss(_forward(batch, weights), target[index], wrong[index]).mean(1).sum()
        if penalty is not None:
            loss = loss + penalty(lambda inputs: _forward(inputs, weights), members, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % config.check_every == 0 or step + 1 == config.iterations:
            best, best_loss = _keep_best(everything, target, judge, weights, best, best_loss, wrong)
    heads = Heads(mean, scale, best)
    return heads, _report(everything, y, held, best, best_loss, trusted)


def _initial(dim: int, config: HeadConfig, n_classes: int, generator: torch.Generator) -> list[torch.Tensor]:
    weights = []
    for fan_in, fan_out in ((dim, config.hidden), (config.hidden, config.hidden), (config.hidden, n_classes)):
        bound = fan_in**-0.5
        w = (torch.rand(config.members, fan_in, fan_out, generator=generator) * 2 - 1) * bound
        weights += [w.requires_grad_(), torch.zeros(config.members, 1, fan_out, requires_grad=True)]
    return weights


def _loss(logits: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Cross-entropy [E, B]; with ``noise`` [E, B] or [B] the likelihood of the rating under a rater wrong that often.

    ``labels``: classes int64 [E, B], or soft labels float32 [E, B, n]: the mean of the classes' losses under them.
    """
    n, soft = logits.shape[-1], labels.is_floating_point()
    log_p = F.log_softmax(logits, -1)
    if not soft:
        log_p = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    if noise.any():
        noise = noise.unsqueeze(-1) if soft else noise
        wrong = noise / (n - 1)
        log_p = torch.log(wrong + (1 - noise - wrong) * log_p.exp())
    return -(labels * log_p).sum(-1) if soft else -log_p


@torch.no_grad()
def _keep_best(everything, y, judge, weights, best, best_loss, noise):
    """``judge`` [E, M]: weights of the held-out ratings, 0 for the others."""
    losses = _loss(_forward(everything, weights), y.expand(len(judge), *y.shape), noise)
    count = judge.sum(1)
    loss = torch.where(
        count > 0, (losses * judge).sum(1) / count.clamp_min(1e-6), -torch.inf
    )  # nothing held out: keep the last
    better = (loss < best_loss) | (count == 0)
    best = [torch.where(better.view(-1, 1, 1), w, b) for w, b in zip(weights, best)]
    return [b.detach() for b in best], torch.where(better, loss, best_loss)


@torch.no_grad()
def _report(everything, y, held, weights, best_loss, audited) -> dict[str, float]:
    if not held.any():
        return {}
    logits = _forward(everything, weights)
    said = logits.argmax(-1)
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
