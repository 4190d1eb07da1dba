# SPDX-License-Identifier: Apache-2.0
"""The figure of a comparison: success of groups of runs against what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_AXES = {"steps": "environment steps", "queries": "queries"}
_COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#35978f", "#8c510a", "#4d4d4d")


class Curve(NamedTuple):
    """A group: success ``middle`` with an interval (NaN: none) at each ``x``, all [N]."""

    name: str
    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw_comparison(path: Path, panels: Mapping[str, Sequence[Curve]]) -> None:
    """Draw a panel for each axis, ``steps`` or ``queries``, as a PNG; a group of one evaluation is a point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, curves) in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels.items()):
        for curve, colour in zip(curves, (_COLOURS[i % len(_COLOURS)] for i in range(len(curves)))):
            if len(curve.x) == 1:
                spread = np.nan_to_num([curve.middle - curve.low, curve.high - curve.middle])
                axis.errorbar(curve.x, curve.middle, np.maximum(spread, 0), fmt="o", color=colour, capsize=3,
                              label=curve.name)  # fmt: skip
                continue
            axis.plot(curve.x, curve.middle, color=colour, marker=".", label=curve.name)
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, lw=0)
        axis.set_xlabel(_AXES.get(name, name))
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.25)
    first = figure.axes[0]
    first.set_ylabel("success: interquartile mean,\n95% interval over seeds")
    first.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
