# SPDX-License-Identifier: Apache-2.0
"""What is known of unrated frames: levels rise step by step, an episode does not begin at the top, and
frames with the object in the same place are of one level.

A rating class is a level of progress, and between two frames an arm moves a few centimetres. A view cluster that a
teacher overrates breaks that: the end effector enters it, and the rating jumps from the lowest class to the highest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Unrated:
    """Inputs float32 of unrated frames: ``before`` and ``after`` [K, D] follow one another, ``starts`` [S, D] begin
    episodes, ``one`` and ``other`` [P, D] show the object in the same place."""

    before: np.ndarray
    after: np.ndarray
    starts: np.ndarray
    one: np.ndarray
    other: np.ndarray


class ContinuityPenalty:
    """Mean squared excess over what is possible, in classes.

    Args:
        inputs: how raw inputs become the network's.
        jump: classes that the expected rating may change by from one frame to the next; weight 0: not asked for.
        start_level: expected rating (0 worst, 1 top class) that an episode's first frame may have.
        object_weight: of differences between frames with the object in the same place.
    """

    def __init__(
        self,
        unrated: Unrated,
        inputs: Callable[[np.ndarray], torch.Tensor],
        n_classes: int,
        jump: float,
        jump_weight: float,
        start_level: float,
        start_weight: float,
        object_weight: float,
        batch_size: int,
    ) -> None:
        self._levels = torch.arange(n_classes, dtype=torch.float32)
        self._jump, self._jump_weight = jump, jump_weight if len(unrated.before) else 0.0
        self._start, self._start_weight = start_level * (n_classes - 1), start_weight if len(unrated.starts) else 0.0
        self._object_weight = object_weight if len(unrated.one) else 0.0
        self._one, self._other = inputs(unrated.one), inputs(unrated.other)
        self._before, self._after = inputs(unrated.before), inputs(unrated.after)
        self._starts, self._batch = inputs(unrated.starts), batch_size

    def __call__(
        self, forward: Callable[[torch.Tensor], torch.Tensor], members: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Penalty summed over the members; ``forward``: [E, B, D] -> logits [E, B, n]."""
        total = torch.zeros(())
        if self._jump_weight > 0:
            difference = self._differences(self._before, self._after, forward, members, generator)
            excess = (difference - self._jump).clamp_min(0)
            total = total + self._jump_weight * excess.pow(2).mean(1).sum()
        if self._object_weight > 0:
            difference = self._differences(self._one, self._other, forward, members, generator)
            total = total + self._object_weight * difference.pow(2).mean(1).sum()
        if self._start_weight > 0:
            at = torch.randint(len(self._starts), (max(self._batch // 4, 1),), generator=generator)
            level = forward(self._starts[at].expand(members, -1, -1)).softmax(-1) @ self._levels
            total = total + self._start_weight * (level - self._start).clamp_min(0).pow(2).mean(1).sum()
        return total

    def _differences(self, one, other, forward, members, generator) -> torch.Tensor:
        """Between the expected ratings of some pairs, [E, B]."""
        at = torch.randint(len(one), (self._batch,), generator=generator)
        pairs = torch.cat([one[at], other[at]]).expand(members, -1, -1)
        first, second = (forward(pairs).softmax(-1) @ self._levels).chunk(2, 1)
        return (first - second).abs()
