# SPDX-License-Identifier: Apache-2.0
"""An ensemble of equal MLPs with a hand-written backward pass.

The networks here are so small that autograd's bookkeeping costs as much as the arithmetic, and that SAC needs
two different backward passes through the critic (to its parameters, and to its input only). Both are written
out; test_sac.py compares them with autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from erl_vlm_ros.agents.linear import affine, product

_EPS = 1e-5


class _Layer(NamedTuple):
    """What the backward pass needs of one layer of one member."""

    x: torch.Tensor  # input [B, I]
    y: torch.Tensor  # output after ReLU [B, O]
    norm: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None  # before LayerNorm [B, O], mean, 1/std


class EnsembleMlp:
    """``members`` MLPs of equal shape: (Linear, LayerNorm if asked, ReLU) for each hidden size, then Linear.

    The parameters of all members lie in one tensor a layer, weights [E, in, out] and biases [E, out], so that
    one optimiser step or one averaging step covers them all. LayerNorm adds gain and shift [E, out].
    Initialisation: uniform within 1/sqrt(in), like torch.nn.Linear.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: Sequence[int],
        out_dim: int,
        members: int = 1,
        layer_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        sizes = [in_dim, *hidden, out_dim]
        self.members, self.layer_norm = members, layer_norm
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for i, (a, b) in enumerate(pairwise(sizes)):
            bound = a**-0.5
            self._add(f"w{i}", torch.empty(members, a, b).uniform_(-bound, bound, generator=generator))
            self._add(f"b{i}", torch.empty(members, b).uniform_(-bound, bound, generator=generator))
            if layer_norm and i < len(hidden):
                self._add(f"g{i}", torch.ones(members, b))
                self._add(f"s{i}", torch.zeros(members, b))
        self.n_layers = len(sizes) - 1
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        # Views by member, made once: slicing in every pass would cost as much as a small product.
        self._value = [{k: p.data[e] for k, p in self.parameters.items()} for e in range(members)]
        self._grad = [{k: p.grad[e] for k, p in self.parameters.items()} for e in range(members)]

    def _add(self, name: str, value: torch.Tensor) -> None:
        self.parameters[name] = torch.nn.Parameter(value, requires_grad=False)

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[list[_Layer]]]:
        """x [B, in] -> outputs [B, out] of each member, and the record that backward needs."""
        outputs, records = [], []
        for value in self._value:
            y, record = x, []
            for i in range(self.n_layers - 1):
                x_i, norm = y, None
                if self.layer_norm:
                    z = affine(x_i, value[f"w{i}"], value[f"b{i}"], relu=False)
                    y, mean, rstd = torch.native_layer_norm(z, z.shape[-1:], value[f"g{i}"], value[f"s{i}"], _EPS)
                    y.relu_()
                    norm = (z, mean, rstd)
                else:
                    y = affine(x_i, value[f"w{i}"], value[f"b{i}"], relu=True)
                record.append(_Layer(x_i, y, norm))
            last = self.n_layers - 1
            outputs.append(affine(y, value[f"w{last}"], value[f"b{last}"], relu=False))
            record.append(_Layer(y, y, None))
            records.append(record)
        return outputs, records

    def backward(
        self, records: list[list[_Layer]], grads: Sequence[torch.Tensor], to_parameters: bool, to_input: bool
    ) -> torch.Tensor | None:
        """From dL/d output [B, out] of each member: overwrite the parameters' ``.grad`` and / or return
        dL/d input [B, in], summed over members."""
        total = None
        for value, grad, record, g in zip(self._value, self._grad, records, grads):
            for i in reversed(range(self.n_layers)):
                layer = record[i]
                if i < self.n_layers - 1:
                    g = torch.ops.aten.threshold_backward(g, layer.y, 0.0)
                    if layer.norm is not None:
                        g, gain, shift = torch.ops.aten.native_layer_norm_backward(
                            g, layer.norm[0], g.shape[-1:], *layer.norm[1:], value[f"g{i}"], value[f"s{i}"],
                            [True, to_parameters, to_parameters],
                        )  # fmt: skip
                        if to_parameters:
                            grad[f"g{i}"].copy_(gain)
                            grad[f"s{i}"].copy_(shift)
                if to_parameters:
                    grad[f"w{i}"].copy_(product(layer.x.T, g))
                    torch.sum(g, 0, out=grad[f"b{i}"])
                if i > 0 or to_input:
                    g = product(g, value[f"w{i}"].T)
            if to_input:
                total = g if total is None else total.add_(g)
        return total
