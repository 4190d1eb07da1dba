# SPDX-License-Identifier: Apache-2.0
"""Rating probabilities from predicted returns (ERL-VLM, arXiv 2506.12822, Eq. 1; RbRL, arXiv 2307.16348).

Class i owns the interval between two boundaries of the batch's returns, scaled to [0, 1]. The boundaries are
order statistics: they sit where the batch would be cut if its returns were in the order of its ratings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erl_vlm_ros.common.errors import DataError

EPSILON = 1e-6
BOUNDARIES = ("edge", "midpoint")


def min_max(returns: Tensor) -> Tensor:
    """Scale the returns [B] of a batch to [0, 1]: (R - min) / (max - min + 1e-6), gradient through all three.

    Returns that agree to within 1e-6 hold no order: they come back without a gradient, because 1 / 1e-6 would
    swamp Adam's running mean of squares for thousands of steps.
    """
    low, high = returns.amin(), returns.amax()
    scaled = (returns - low) / (high - low + EPSILON)
    if bool(high.detach() - low.detach() <= EPSILON):
        return scaled.detach() + 0.0 * returns
    return scaled


def class_boundaries(scaled: Tensor, counts: Sequence[int] | Tensor, kind: str = "edge") -> Tensor:
    """Boundaries [n + 1] of n classes: 0 = R_0 <= R_1 <= ... <= R_n = 1, without gradient.

    With c labels below class i, R_i is the c-th smallest of the scaled returns ("edge", as released) or
    half-way from there to the next larger one ("midpoint"). With c = 0 it is the smallest, 0 (an index of -1
    would wrap round to the maximum), so that a class without a label has an interval of no width.

    "edge" drifts once the classes are apart: the highest return of a class lies on its boundary and is pulled
    inwards, the boundary follows, and after a few dozen passes the lower classes have collapsed into one. The
    paper's early stop hides that on clean ratings. "midpoint" leaves a gap between classes and does not
    drift.

    Args:
        scaled: returns [B] within [0, 1], from `min_max`.
        counts: labels of each class in this batch [n]; their sum is B.
        kind: "edge" or "midpoint".
    """
    if kind not in BOUNDARIES:
        raise DataError(f"boundary is {kind!r}, must be one of {', '.join(BOUNDARIES)}", field="kind")
    counts = torch.as_tensor(counts, dtype=torch.long)
    below = counts.cumsum(0)
    size = scaled.numel()
    if int(below[-1]) != size:
        raise DataError(f"class counts sum to {int(below[-1])}, the batch holds {size} returns", field="counts")
    if size == 0:
        raise DataError("a batch without returns has no boundaries", field="returns")
    inner = below[:-1]
    ordered = scaled.detach().sort().values
    cut = ordered[(inner - 1).clamp(min=0)]
    if kind == "midpoint":
        cut = torch.where(inner < size, (cut + ordered[inner.clamp(max=size - 1)]) / 2.0, 1.0)
    boundaries = ordered.new_zeros(counts.numel() + 1)
    boundaries[1:-1] = cut
    boundaries[-1] = 1.0
    return boundaries


def class_logits(scaled: Tensor, boundaries: Tensor, k: float) -> Tensor:
    """Exponents of Eq. 1 [B, n]: -k (R - R_i)(R - R_{i+1}).

    The paper prints no k; RbRL and the released ERL-VLM code use 30.
    """
    column = scaled[:, None]
    return -k * (column - boundaries[:-1]) * (column - boundaries[1:])


def class_probabilities(scaled: Tensor, boundaries: Tensor, k: float) -> Tensor:
    """Eq. 1: probability of each class [B, n], a softmax of `class_logits`."""
    return class_logits(scaled, boundaries, k).softmax(dim=1)


def rate(logits: Tensor, counts: Sequence[int] | Tensor) -> Tensor:
    """Most probable class [B] among those that the batch holds; a tie goes to the lower class.

    A return that lies on a boundary ties between the classes on its two sides. It is the highest of the class
    below, hence the tie rule; an empty class, whose interval has no width, must not win such a tie.
    """
    empty = torch.as_tensor(counts) == 0
    return logits.detach().masked_fill(empty, -torch.inf).argmax(dim=1)
