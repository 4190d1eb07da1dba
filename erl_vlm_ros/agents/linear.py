# SPDX-License-Identifier: Apache-2.0
"""Matrix products for small networks on a CPU: oneDNN where it wins, torch's default elsewhere.

torch hands float32 products to MKL, which on AMD processors takes a slower path: 108 against 227 GFLOP/s for
256x256x256 on one thread of an EPYC with AVX-512. oneDNN is part of torch but reachable for plain float32 only
through the operator torch.compile uses, so it is checked once against the plain product and left alone if it
is absent or differs.
"""

from __future__ import annotations

import torch

_MIN_SIDE = 64  # below this the call's fixed cost (about 10 us) eats the gain


def _find_onednn():
    try:
        operator = torch.ops.mkldnn._linear_pointwise
        x, w = torch.linspace(-1, 1, 12).view(3, 4), torch.linspace(-1, 1, 20).view(4, 5)
        bias = torch.linspace(-1, 1, 5)
        plain = operator(x, w.T, bias, "none", [], "")
        relu = operator(x, w.T, None, "relu", [], "")
        good = torch.allclose(plain, x @ w + bias, atol=1e-5) and torch.allclose(relu, (x @ w).relu(), atol=1e-5)
        return operator if good else None
    except (AttributeError, RuntimeError, TypeError):
        return None


_ONEDNN = _find_onednn()


def _worth(a: torch.Tensor, b: torch.Tensor) -> bool:
    return _ONEDNN is not None and min(a.shape[0], b.shape[0], b.shape[1]) >= _MIN_SIDE and a.device.type == "cpu"


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    """``x @ weight + bias`` for x [B, I], weight [I, O], bias [O], then ReLU if asked. No autograd."""
    if _worth(x, weight):
        return _ONEDNN(x, weight.T, bias, "relu" if relu else "none", [], "")
    out = torch.addmm(bias, x, weight)
    return out.relu_() if relu else out


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b`` for two matrices, transposed views welcome. No autograd."""
    if _worth(a, b):
        return _ONEDNN(a, b.T, None, "none", [], "")
    return torch.mm(a, b)
