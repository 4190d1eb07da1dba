# SPDX-License-Identifier: Apache-2.0
"""Actions of two values, such as a gripper that is open or shut: the rarer one must not drown when they are cloned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_EDGE = 0.999  # of an action in [-1, 1]; a continuous one reaches it now and then, not always


class Balance:
    """Weights [2, A] of the error of each number of an action, where it is at most 0 and where it is above; all 1 until
    ``fit``, and for numbers with more than two values."""

    def __init__(self, size: int):
        self.weights = torch.ones(2, size)

    def fit(self, actions: torch.Tensor) -> None:
        """Inverse frequencies of the two values in ``actions`` [N, A], with mean weight 1 (ERL-VLM's robot runs)."""
        two = (actions.abs() >= _EDGE).all(0)
        share = (actions > 0).float().mean(0)
        two &= (share > 0) & (share < 1)
        self.weights = torch.where(two, 0.5 / torch.stack((1 - share, share)).clamp_min(1e-6), 1.0)

    def __call__(self, actions: torch.Tensor) -> torch.Tensor:
        """Weights [B, A] of actions [B, A]."""
        return torch.where(actions > 0, self.weights[1], self.weights[0])

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return {"weights": self.weights.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.weights = state["weights"].clone()
