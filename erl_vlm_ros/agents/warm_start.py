# SPDX-License-Identifier: Apache-2.0
"""SAC that sets out from another algorithm's policy, and does not lose it while its own critics are young.

First the critics alone learn, of the actor as it came (a warm start as in WSRL, arXiv 2412.07762). Then the actor
moves, and is pulled back to where it came from, in proportion to the mean value (as TD3+BC weighs behaviour cloning,
arXiv 2106.06860); the pull fades to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from erl_vlm_ros.agents.networks import EnsembleMlp
from erl_vlm_ros.agents.normaliser import Normaliser

Layers = list[tuple[np.ndarray, np.ndarray]]


def layers_in(state: Mapping[str, Any]) -> Layers | None:
    """(weights [I, O], bias [O]) of each layer of the policy in an agent's saved state, for observations as they are;
    the last gives the mean [A] before tanh. None: it holds no such policy."""
    average = state.get("networks", {}).get("average")
    if average is None or "normaliser" not in state:
        return None
    scale = Normaliser(len(state["normaliser"]["mean"]))
    scale.load_state_dict(state["normaliser"])
    layers = [(average[f"w{i}"][0].numpy(), average[f"b{i}"][0].numpy()) for i in range(len(average) // 2)]
    return [scale.inside(*layers[0]), *layers[1:]]


def hidden_of(layers: Layers) -> tuple[int, ...]:
    """The sizes of hidden layers."""
    return tuple(weights.shape[1] for weights, _ in layers[:-1])


class Guide:
    """The policy that an actor set out from.

    Args:
        layers: of ``layers_in``.
        held: updates before the actor moves.
        weight: of the pull in the first update then, in mean absolute values for a squared distance of 1.
        updates: in which the pull fades, evenly.
    """

    def __init__(self, layers: Layers, held: int, weight: float, updates: int):
        size, out = layers[0][0].shape[0], layers[-1][0].shape[1]
        self.held, self.weight, self.updates = held, weight, updates
        self.network = EnsembleMlp(size, hidden_of(layers), out)
        for i, (weights, bias) in enumerate(layers):
            self.network.named[f"w{i}"][0] = torch.as_tensor(weights)
            self.network.named[f"b{i}"][0] = torch.as_tensor(bias)

    def holds(self, update: int) -> bool:
        """Whether the actor stays as it is in this update, counted from 1."""
        return update <= self.held

    def share(self, update: int) -> float:
        """Share of the pull that is left in this update: 1 in the first that moves the actor, 0 at the end."""
        return max(0.0, 1.0 - (update - self.held - 1) / self.updates) if self.updates else 0.0

    def over(self, update: int) -> bool:
        """Whether it is of no use any more from this update on."""
        return not self.holds(update) and self.weight * self.share(update) == 0.0

    def slope(self, update: int, obs: torch.Tensor, mean: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """dL/dmean [B, A] of L = weight * share * mean |values| * mean over B of |tanh(mean) - its own action|^2.

        Args:
            obs: [B, O].
            mean: the actor's, before tanh, [B, A].
            values: of the actor's actions, [B, 1].
        """
        said = torch.tanh(mean)
        apart = said - torch.tanh(self.network.forward(obs)[0][0])
        pull = self.weight * self.share(update) * values.abs().mean() * (2 / len(obs))
        return apart * (1 - said * said) * pull

    def state_dict(self) -> dict[str, Any]:
        """Network and when the actor moves."""
        return {"network": {k: v.clone() for k, v in self.network.named.items()}, "held": self.held}

    @classmethod
    def restored(cls, state: Mapping[str, Any], weight: float, updates: int) -> Guide:
        """What state_dict gave, with the pull of the present configuration."""
        named = state["network"]
        layers = [(named[f"w{i}"][0].numpy(), named[f"b{i}"][0].numpy()) for i in range(len(named) // 2)]
        return cls(layers, int(state["held"]), weight, updates)
