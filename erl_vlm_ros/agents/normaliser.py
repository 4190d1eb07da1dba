# SPDX-License-Identifier: Apache-2.0
"""Observations at one scale, taken once from the data; a policy is exported with the scale inside its first layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from erl_vlm_ros.data.replay import TransitionBatch

_DRAWN = 8192  # transitions
_LEAST = 0.02  # deviation; a part that never moved must not blow up
LOG_STD = (-5.0, 0.0)  # bounds of the exported policy; its deviation lies in their middle


class Normaliser:
    """Mean and deviation float32 [O]; until ``fit`` nothing is changed."""

    def __init__(self, size: int):
        self.mean, self.scale, self.fitted = torch.zeros(size), torch.ones(size), False

    def fit(self, batches: Any) -> TransitionBatch | None:
        """Take the scale from the transitions, the first time; returns what was drawn for it then."""
        if self.fitted:
            return None
        drawn = batches.transitions(_DRAWN)
        self.mean, self.scale = drawn.obs.mean(0), drawn.obs.std(0, unbiased=False).clamp_min(_LEAST)
        self.fitted = True
        return drawn

    def __call__(self, obs: torch.Tensor) -> torch.Tensor:
        """[..., O] at that scale."""
        return (obs - self.mean) / self.scale

    def inside(self, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A first layer [O, H], [H] for observations as they are."""
        scaled = weight / self.scale.numpy()[:, None]
        return scaled, bias - self.mean.numpy() @ scaled

    def state_dict(self) -> dict[str, Any]:
        """Mean and deviation."""
        return {"mean": self.mean.clone(), "scale": self.scale.clone(), "fitted": self.fitted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.mean, self.scale = state["mean"].clone(), state["scale"].clone()
        self.fitted = bool(state["fitted"])


def exported(layers: list[tuple[np.ndarray, np.ndarray]], normaliser: Normaliser) -> dict[str, np.ndarray]:
    """Arrays of a ``squashed_gaussian`` from layers (weight [I, O], bias [O]) of a network that gives the mean before
    tanh. Its deviation is that of the middle of LOG_STD, where an action is drawn and not the mean taken."""
    out: dict[str, np.ndarray] = {}
    for i, (weight, bias) in enumerate(layers):
        if i == 0:
            weight, bias = normaliser.inside(weight, bias)
        if i == len(layers) - 1:
            weight = np.concatenate([weight, np.zeros_like(weight)], axis=1)
            bias = np.concatenate([bias, np.zeros_like(bias)])
        out[f"w{i}"], out[f"b{i}"] = weight.astype(np.float32), bias.astype(np.float32)
    return out | {"log_std_bounds": np.array(LOG_STD, np.float32)}
