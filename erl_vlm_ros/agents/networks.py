# SPDX-License-Identifier: Apache-2.0
"""An ensemble of equal MLPs with a hand-written backward pass.

The networks here are so small that autograd's bookkeeping costs as much as the arithmetic, and SAC needs two
different backward passes through the critic (to its parameters, and to its input only). Both are written out;
test_sac.py compares them with autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from erl_vlm_ros.agents.linear import affine, times_transposed, transposed_times

_EPS = 1e-5
_PAD = 16  # every parameter starts on a cache line


class _Linear(NamedTuple):
    """One member's layer: views of the flat parameter and of its gradient. Only hidden layers have a norm."""

    weight: torch.Tensor  # [I, O]
    weight_t: torch.Tensor
    bias: torch.Tensor  # [O]
    gain: torch.Tensor | None  # LayerNorm [O]
    shift: torch.Tensor | None


class _Pass(NamedTuple):
    """What the backward pass needs of one layer."""

    x: torch.Tensor  # input [B, I]
    y: torch.Tensor | None  # output after ReLU [B, O]
    z: torch.Tensor | None = None  # before LayerNorm [B, O]
    mean: torch.Tensor | None = None  # [B, 1]
    rstd: torch.Tensor | None = None


Record = list[list[_Pass]]  # member, layer


class EnsembleMlp:
    """``members`` MLPs of equal shape: (Linear, LayerNorm if asked, ReLU) for each hidden size, then Linear.

    All parameters of all members lie in one flat tensor, ``flat``, so that one optimiser step and one
    averaging step cover them; ``named`` gives them by name: w0 [E, in, out], b0 [E, out], LayerNorm's g0 and
    s0 [E, out], w1 and so on. Initialisation: uniform within 1/sqrt(in), as in torch.nn.Linear.
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
        sizes = list(pairwise([in_dim, *hidden, out_dim]))
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (a, b) in enumerate(sizes):
            shapes[f"w{i}"], shapes[f"b{i}"] = (members, a, b), (members, b)
            if layer_norm and i < len(hidden):
                shapes[f"g{i}"] = shapes[f"s{i}"] = (members, b)
        self.in_dim, self.layer_norm, self.n_layers = in_dim, layer_norm, len(sizes)
        spans, at = {}, 0
        for name, shape in shapes.items():
            spans[name] = at
            at += -(-torch.Size(shape).numel() // _PAD) * _PAD
        self.flat = torch.nn.Parameter(torch.zeros(at), requires_grad=False)
        self.flat.grad = torch.zeros(at)

        def view(flat: torch.Tensor) -> dict[str, torch.Tensor]:
            return {n: flat[spans[n] : spans[n] + torch.Size(s).numel()].view(s) for n, s in shapes.items()}

        self.named, self.named_grad = view(self.flat.data), view(self.flat.grad)
        for i, (a, _) in enumerate(sizes):
            self.named[f"w{i}"].uniform_(-(a**-0.5), a**-0.5, generator=generator)
            self.named[f"b{i}"].uniform_(-(a**-0.5), a**-0.5, generator=generator)
            if f"g{i}" in shapes:
                self.named[f"g{i}"].fill_(1.0)
        self._values = [self._layers(self.named, e) for e in range(members)]
        self._grads = [self._layers(self.named_grad, e) for e in range(members)]

    def _layers(self, named: dict[str, torch.Tensor], member: int) -> list[_Linear]:
        layers = []
        for i in range(self.n_layers):
            weight = named[f"w{i}"][member]
            norm = [named[f"{k}{i}"][member] if f"{k}{i}" in named else None for k in "gs"]
            layers.append(_Linear(weight, weight.T, named[f"b{i}"][member], *norm))
        return layers

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], Record]:
        """x [B, in] -> outputs [B, out] of each member, and the record that backward needs."""
        outputs, records = [], []
        for layers in self._values:
            y, record = x, []
            for layer in layers[:-1]:
                if layer.gain is None:
                    out = affine(y, layer.weight, layer.weight_t, layer.bias, True)
                    record.append(_Pass(y, out))
                else:
                    z = affine(y, layer.weight, layer.weight_t, layer.bias, False)
                    out, mean, rstd = torch.native_layer_norm(z, z.shape[1:], layer.gain, layer.shift, _EPS)
                    record.append(_Pass(y, out.relu_(), z, mean, rstd))
                y = out
            last = layers[-1]
            outputs.append(affine(y, last.weight, last.weight_t, last.bias, False))
            record.append(_Pass(y, None))
            records.append(record)
        return outputs, records

    def backward(self, records: Record, grads: Sequence[torch.Tensor]) -> None:
        """Overwrite the gradient of every parameter, from dL/d output [B, out] of each member."""
        for layers, into, record, g in zip(self._values, self._grads, records, grads):
            for i in reversed(range(self.n_layers)):
                if i < self.n_layers - 1:
                    g = _through_activation(g, record[i], layers[i], into[i])
                transposed_times(record[i].x, g, into[i].weight, into[i].weight_t)
                torch.sum(g, 0, out=into[i].bias)
                if i > 0:
                    g = times_transposed(g, layers[i].weight, layers[i].weight_t)

    def input_gradient(self, records: Record, grads: Sequence[torch.Tensor], first: int = 0) -> torch.Tensor:
        """dL/d input [B, in - first], its columns from ``first`` on, summed over members."""
        total = None
        for layers, record, g in zip(self._values, records, grads):
            for i in reversed(range(self.n_layers)):
                if i < self.n_layers - 1:
                    g = _through_activation(g, record[i], layers[i], None)
                weight, weight_t = layers[i].weight, layers[i].weight_t
                g = (
                    times_transposed(g, weight[first:], weight_t[:, first:])
                    if i == 0
                    else times_transposed(g, weight, weight_t)
                )
            total = g if total is None else total.add_(g)
        return total


def _through_activation(g: torch.Tensor, record: _Pass, layer: _Linear, into: _Linear | None) -> torch.Tensor:
    """From dL/dy to dL/d(linear output): back through ReLU and, where there is one, LayerNorm."""
    g = torch.ops.aten.threshold_backward(g, record.y, 0.0)
    if record.z is None:
        return g
    keep = into is not None
    g, gain, shift = torch.ops.aten.native_layer_norm_backward(
        g, record.z, g.shape[1:], record.mean, record.rstd, layer.gain, layer.shift, [True, keep, keep]
    )
    if keep:
        into.gain.copy_(gain)
        into.shift.copy_(shift)
    return g
