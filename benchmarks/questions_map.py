# SPDX-License-Identifier: Apache-2.0
"""Where a policy's end effector is, over where the teacher says too much or too little: a panel for each run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def draw(by_row: list[tuple[Any, list[dict[str, Any]]]], path: Path) -> None:
    """A PNG of rows by seeds; points are frames of the final policy, side view, coloured by the teacher's bias."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    there = [(row, [r for r in own if r.get("frames")]) for row, own in by_row]
    there = [(row, own) for row, own in there if own]
    if not there:
        raise SystemExit("--map: --out holds no run whose policy was played")
    columns = max(len(own) for _, own in there)
    size = (3.4 * columns + 1, 2.6 * len(there))
    figure, axes = pyplot.subplots(len(there), columns, squeeze=False, sharex=True, sharey=True, figsize=size)
    for line, (row, own) in zip(axes, there):
        for panel in line[len(own) :]:
            panel.axis("off")
        for panel, result in zip(line, own):
            x, _, z, _, bias = np.array(result["frames"]).T
            shown = panel.scatter(100 * x, 100 * z, c=bias, s=6, cmap="coolwarm", vmin=-4, vmax=4)
            success, mean = result["success"], result["bias_policy"]
            panel.set_title(f"{row.name}, seed {result['seed']}\nsuccess {success:.0%}, bias {mean:+.2f}", fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("x of the end effector, cm", fontsize=8)
    for line in axes:
        line[0].set_ylabel("z, cm", fontsize=8)
    figure.tight_layout()
    figure.colorbar(shown, ax=axes.ravel().tolist(), label="teacher too high by, classes of 5", shrink=0.8)
    figure.savefig(path, dpi=80)
