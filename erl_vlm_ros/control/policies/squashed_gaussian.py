# SPDX-License-Identifier: Apache-2.0
"""A squashed Gaussian from an MLP, in plain numpy: no torch import, a few ten microseconds an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.control.policies.layers import checked_layers

AVERAGE = "average."


class SquashedGaussian:
    """Runs the weights of ``SAC.actor_arrays``: w0 [O, H], b0 [H], ..., log_std_bounds [2]; deterministic actions come
    from the averaged weights average.w0, ... where they are given.

    Raises:
        ValueError: a missing or non-finite array, or shapes that do not fit each other.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None) -> None:
        acting = {name: a for name, a in arrays.items() if not name.startswith(AVERAGE)}
        average = {name[len(AVERAGE) :]: a for name, a in arrays.items() if name.startswith(AVERAGE)}
        bounds = np.asarray(acting.pop("log_std_bounds", ()), np.float32)
        self._layers = checked_layers(acting)
        self._average = checked_layers(average) if average else self._layers
        shapes = [[w.shape for w, _ in layers] for layers in (self._layers, self._average)]
        if shapes[0] != shapes[1]:
            raise DataError(f"actor's averaged weights have shapes {shapes[1]}, its own {shapes[0]}", field="averaged")
        width = self._layers[-1][0].shape[1]
        if bounds.shape != (2,) or not np.isfinite(bounds).all() or width % 2:
            raise DataError(
                "actor needs log_std_bounds [2] and an output of twice the action size", field="log_std_bounds"
            )
        self.obs_dim, self.act_dim = self._layers[0][0].shape[0], width // 2
        self._middle, self._half = float(bounds.mean()), float(bounds[1] - bounds[0]) / 2

    @property
    def mean_layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weights [in, out], bias [out]) of each layer that deterministic actions come from."""
        return self._average

    def act(self, obs: np.ndarray, deterministic: bool, rng: np.random.Generator | None = None) -> np.ndarray:
        """Observation [O] -> action float32 [A] in [-1, 1]: the mean's tanh, or a sample drawn with ``rng``."""
        x = np.asarray(obs, np.float32)
        if x.shape != (self.obs_dim,):
            raise DataError(
                f"observation has shape {list(x.shape)}, the actor expects [{self.obs_dim}]", field="observation"
            )
        *hidden, (w, b) = self._average if deterministic else self._layers
        for weights, bias in hidden:
            x = np.maximum(x @ weights + bias, 0.0)
        out = x @ w + b
        mean = out[: self.act_dim]
        if deterministic:
            return np.tanh(mean)
        if rng is None:
            raise DataError("a stochastic action needs a random generator", field="rng")
        log_std = np.tanh(out[self.act_dim :]) * self._half + self._middle
        noise = rng.standard_normal(self.act_dim, np.float32)
        return np.tanh(mean + np.exp(log_std) * noise)
