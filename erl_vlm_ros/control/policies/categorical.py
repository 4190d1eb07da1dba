# SPDX-License-Identifier: Apache-2.0
"""A categorical policy from an MLP, in plain numpy: one of K actions, with one of M objects where it takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.control.policies.layers import checked_layers
from erl_vlm_ros.data.choices import Moves

KIND = "categorical"
TAKES = "takes"  # array uint8 [K]: whether an action takes an object


class Categorical:
    """Runs w0 [O, H], b0 [H], ...: K logits of the actions, then M of the objects; ``takes`` [K] beside them.

    Raises:
        ValueError: a missing or non-finite array, or shapes that do not fit each other.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None) -> None:
        acting = dict(arrays)
        takes = np.asarray(acting.pop(TAKES, ()), np.float32)
        self._layers = checked_layers(acting)
        self.obs_dim, self.act_dim = self._layers[0][0].shape[0], self._layers[-1][0].shape[1]
        if takes.ndim != 1 or not 0 < len(takes) <= self.act_dim or not np.isin(takes, (0.0, 1.0)).all():
            raise DataError(f"a categorical policy of {self.act_dim} logits needs takes [K] of 0 and 1", field=TAKES)
        self._moves = Moves([bool(t) for t in takes], self.act_dim - len(takes))
        self._actions = len(takes)

    @property
    def takes(self) -> tuple[bool, ...]:
        """Of each action whether it takes an object."""
        return self._moves.takes

    @property
    def mean_layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weights [in, out], bias [out]) of each layer."""
        return self._layers

    def act(self, obs: np.ndarray, deterministic: bool, rng: np.random.Generator | None = None) -> np.ndarray:
        """Observation [O] -> one-hot action float32 [K + M]: the most probable, or one drawn with ``rng``."""
        x = np.asarray(obs, np.float32)
        if x.shape != (self.obs_dim,):
            raise DataError(
                f"observation has shape {list(x.shape)}, the actor expects [{self.obs_dim}]", field="observation"
            )
        if rng is None and not deterministic:
            raise DataError("a stochastic action needs a random generator", field="rng")
        *hidden, (w, b) = self._layers
        for weights, bias in hidden:
            x = np.maximum(x @ weights + bias, 0.0)
        out, logits = np.zeros(self.act_dim, np.float32), x @ w + b
        if not deterministic:
            logits = logits + rng.gumbel(size=len(logits))  # its argmax is a draw from the softmax
        action = int(logits[: self._actions].argmax())
        out[action] = 1.0
        if self._moves.takes[action]:
            out[self._actions + int(logits[self._actions :].argmax())] = 1.0
        return out
