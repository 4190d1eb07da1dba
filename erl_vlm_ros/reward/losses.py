# SPDX-License-Identifier: Apache-2.0
"""Losses between class probabilities and ratings (ERL-VLM Eq. 2 and 3), and the class weights of its code.

One scale for both forms: the sum over classes, then a (weighted) mean over the batch. The released code
averages over classes too when it does not weight, so its unweighted MAE is smaller by the factor n and cannot
be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from erl_vlm_ros.common.errors import DataError


def rating_targets(labels: Tensor, n_classes: int, smoothing: float = 0.0) -> Tensor:
    """Target distribution [B, n]: (1 - r) one-hot + r / n, r the label smoothing (paper: 0.1, Fig. 6a).

    ``labels``: classes int64 [B], or soft labels float [B, n] in place of the one-hot.
    """
    soft = labels.is_floating_point()
    target = labels if soft else functional.one_hot(labels, n_classes).to(torch.float32)
    return target * (1.0 - smoothing) + smoothing / n_classes


def mae_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 3 for each sample [B]: sum over classes of |target - probability|, within [0, 2]."""
    return (logits.softmax(dim=1) - targets).abs().sum(dim=1)


def ce_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 2 for each sample [B]: minus the sum over classes of target * log probability."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


#: name -> terms(logits, targets)
TERMS = {"mae": mae_terms, "ce": ce_terms}


def weighted_mean(terms: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the batch [B], or sum(w * l) / sum(w) with sample weights [B]; equal weights change nothing."""
    return terms.mean() if weights is None else (terms * weights).sum() / weights.sum()


def rating_loss(kind: str, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Scalar loss: mean over the batch, or sum(w * l) / sum(w) with sample weights [B].

    Args:
        kind: "mae" (Eq. 3) or "ce" (Eq. 2, vanilla RbRL).
        logits: exponents of Eq. 1 [B, n].
        targets: distributions [B, n], from `rating_targets`.
        weights: positive sample weights [B]; weights that are all equal change nothing.
    """
    if kind not in TERMS:
        raise DataError(f"loss is {kind!r}, must be one of {', '.join(TERMS)}", field="kind")
    return weighted_mean(TERMS[kind](logits, targets), weights)


def class_weights(counts: Sequence[int] | Tensor) -> Tensor:
    """Weight of each class [n] from the label counts of the rated set: (N - n_i) / N, the smallest made 1.

    For two classes the rarer one weighs n_major / n_minor. While a class has no label, all weigh 1 (as in the
    released code).
    """
    counts = torch.as_tensor(counts, dtype=torch.float32)
    if bool((counts == 0).any()):
        return torch.ones_like(counts)
    share_of_others = (counts.sum() - counts) / counts.sum()
    return share_of_others / share_of_others.min()
