# SPDX-License-Identifier: Apache-2.0
"""How much of a joint motion may be kept when the tool may only move so fast."""

from __future__ import annotations

from collections.abc import Sequence

_STILL = 1e-6  # m/s


def within(wanted: Sequence[float], allowed: Sequence[float]) -> float:
    """The largest factor 0..1 with which ``wanted`` is, axis by axis, no faster than ``allowed`` in its direction.

    Joints cannot be slowed one by one without leaving their way, so all are slowed alike.
    """
    factor = 1.0
    for want, allow in zip(wanted, allowed, strict=True):
        if abs(want) > _STILL:
            factor = min(factor, max(0.0, allow / want))
    return factor
