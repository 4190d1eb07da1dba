# SPDX-License-Identifier: Apache-2.0
"""Statistics of columns as LeRobot keeps them, of an episode and of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.data.images import decode_jpeg

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_IMAGES = 20  # looked at in an episode


def column_stats(values: np.ndarray) -> dict[str, np.ndarray]:
    """Of numbers [n, k]: min, max, mean, std and quantiles [k], count [1]."""
    rows = np.asarray(values, np.float64)
    rows = rows.reshape(len(rows), -1)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {name: np.quantile(rows, share, axis=0) for name, share in _QUANTILES.items()}
    return found | {"count": np.array([len(rows)])}


def image_stats(jpegs: list[bytes]) -> dict[str, np.ndarray]:
    """The same of the three channels, 0 to 1, of some images: [3, 1, 1]; count: images."""
    some = np.unique(np.linspace(0, len(jpegs) - 1, min(_IMAGES, len(jpegs))).astype(int))
    pixels = np.concatenate([decode_jpeg(jpegs[i]).reshape(-1, 3)[::7] for i in some]) / 255.0
    found = {k: v.reshape(3, 1, 1) for k, v in column_stats(pixels).items() if k != "count"}
    return found | {"count": np.array([len(some)])}


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of several episodes' statistics those of all. Quantiles are means weighted by count, as LeRobot has them."""
    counts = np.array([part["count"][0] for part in parts], np.float64)
    weights = counts / counts.sum()

    def mean(name: str) -> np.ndarray:
        return np.tensordot(weights, np.stack([part[name] for part in parts]), 1)

    centre = mean("mean")
    spread = np.stack([part["std"] ** 2 + (part["mean"] - centre) ** 2 for part in parts])
    out = {"min": np.min([part["min"] for part in parts], 0), "max": np.max([part["max"] for part in parts], 0)}
    out |= {"mean": centre, "std": np.sqrt(np.tensordot(weights, spread, 1))}
    return out | {name: mean(name) for name in _QUANTILES} | {"count": np.array([int(counts.sum())])}


def as_json(stats: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Lists in place of arrays."""
    return {name: {key: value.tolist() for key, value in of.items()} for name, of in stats.items()}
