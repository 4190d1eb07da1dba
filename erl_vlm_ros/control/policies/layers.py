# SPDX-License-Identifier: Apache-2.0
"""The layers of an MLP out of a bundle's arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from erl_vlm_ros.common.errors import DataError


def checked_layers(arrays: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weights [in, out], bias [out]) of each layer out of w0, b0, w1 ...; DataError: they are not such layers."""
    count = sum(name.startswith("w") for name in arrays)
    names = {f"{letter}{i}" for letter in "wb" for i in range(count)}
    if count < 1 or set(arrays) != names:
        raise DataError(
            f"actor arrays should be {sorted(names)}, got {sorted(arrays)}", field=",".join(sorted(set(arrays) ^ names))
        )
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise DataError(
            "actor arrays hold a number that is not finite",
            field=next(name for name, a in arrays.items() if not np.isfinite(a).all()),
        )
    layers = [(np.asarray(arrays[f"w{i}"], np.float32), np.asarray(arrays[f"b{i}"], np.float32)) for i in range(count)]
    width = None
    for i, (w, b) in enumerate(layers):
        if w.ndim != 2 or b.shape != w.shape[1:] or width not in (None, w.shape[0]):
            raise DataError(
                f"actor layer {i}: weights {list(w.shape)} and bias {list(b.shape)} do not fit", field=f"layer {i}"
            )
        width = w.shape[1]
    return layers
