# SPDX-License-Identifier: Apache-2.0
"""Matrix products for small networks on a CPU: oneDNN where it wins, torch's default elsewhere.

torch hands float32 products to MKL, which on AMD processors takes a slower path: 307 us against 146 us for
256x256x256 on one thread of an EPYC with AVX-512. oneDNN is part of torch, but for plain float32 it is only
reachable through the operator that torch.compile emits. So it is compared once with the plain product, and
left alone if it is absent or differs.
"""

from __future__ import annotations

import torch


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
_LARGE = 1 << 20  # multiply-adds above which oneDNN's fixed cost of about 10 us is earned back


def affine(
    x: torch.Tensor, weight: torch.Tensor, weight_t: torch.Tensor, bias: torch.Tensor, relu: bool
) -> torch.Tensor:
    """``x @ weight + bias`` for x [B, I], weight [I, O], bias [O], then ReLU if asked. No autograd.

    ``weight_t`` is ``weight.T``, made once by the caller: a view costs as much as a small product.
    """
    outputs = weight.shape[1]
    # MKL is slowest for a few output columns, such as the actor's last layer.
    work = x.shape[0] * weight.shape[0] * (outputs if outputs == 1 or outputs > 32 else 32)
    if work >= _LARGE and _ONEDNN is not None:
        return _ONEDNN(x, weight_t, bias, "relu" if relu else "none", [], "")
    out = torch.addmm(bias, x, weight)
    return out.relu_() if relu else out


def times_transposed(a: torch.Tensor, b: torch.Tensor, b_t: torch.Tensor) -> torch.Tensor:
    """``a @ b.T`` for a [B, O], b [I, O] and ``b_t`` its transposed view. No autograd."""
    if a.numel() * b.shape[0] >= _LARGE and _ONEDNN is not None:
        return _ONEDNN(a, b, None, "none", [], "")
    return torch.mm(a, b_t)


def transposed_times(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, out_t: torch.Tensor) -> None:
    """``out = a.T @ b`` for a [B, I], b [B, O]; ``out_t`` is out's transposed view. No autograd."""
    if b.numel() * a.shape[1] >= _LARGE and b.shape[1] > 32 and _ONEDNN is not None:
        out.copy_(_ONEDNN(a.T, b.T, None, "none", [], ""))
    elif b.shape[1] < a.shape[1]:
        torch.mm(b.T, a, out=out_t)
    else:
        torch.mm(a.T, b, out=out)
