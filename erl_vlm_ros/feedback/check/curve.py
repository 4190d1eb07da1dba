# SPDX-License-Identifier: Apache-2.0
"""The rating curve of a check as a PNG: what each rater said along the trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.feedback.check.check import Answers
from erl_vlm_ros.feedback.check.frames import CheckFrames
from erl_vlm_ros.feedback.check.stats import histograms

_MOST = 6  # trajectories that are drawn


def draw_check(path: Path, frames: CheckFrames, answers: Sequence[Answers], task: Task) -> None:
    """One panel a rater and number of classes: mean rating of each frame, its spread over the repeats, and the truth.

    Trajectories follow one another; grey lines part them. Dots are as large as the share of repeats with that class.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers = np.unique(frames.trajectory)[:_MOST]
    rows = np.flatnonzero(np.isin(frames.trajectory, numbers))
    figure = Figure(figsize=(min(6 + 0.04 * len(rows), 16), 0.8 + 2.4 * len(answers)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(answers), 1, sharex=True, squeeze=False)[:, 0]
    time = np.arange(len(rows))
    for axis, a in zip(axes, answers):
        shares = histograms(a.ratings, a.n)[rows]
        given = shares.sum(1) > 0
        for level in range(a.n):
            axis.scatter(time, np.full(len(rows), level), s=36 * shares[:, level], color="#67a9cf", lw=0, zorder=2)
        mean = np.where(given, shares @ np.arange(a.n), np.nan)
        for number in numbers:
            part = frames.trajectory[rows] == number
            axis.plot(time[part], mean[part], color="#2166ac", lw=1.4, zorder=3, label="mean rating")
            reference = frames.reference.get(a.n)
            if reference is not None:
                true = np.where(reference[rows] >= 0, reference[rows], np.nan)[part]
                axis.step(time[part], true, where="mid", color="#1b7837", lw=1.1, zorder=1, label="reference")
            if number != numbers[0]:
                axis.axvline(time[part][0] - 0.5, color="0.8", lw=0.8)
        axis.plot(time[~given], np.full((~given).sum(), -0.4), "x", color="#b2182b", ms=4, label="no rating")
        names = task.class_names(a.n)
        axis.set_yticks(range(a.n), [f"{i} {name}" for i, name in enumerate(names)])
        axis.set_ylim(-0.6, a.n - 0.6)
        axis.set_title(f"{a.candidate.name}, n = {a.n}", fontsize=10, loc="left")
        axis.grid(axis="y", alpha=0.25)
        handles, labels = axis.get_legend_handles_labels()
        shown = dict(zip(labels, handles))
        if given.all():
            shown.pop("no rating", None)
        axis.legend(shown.values(), shown.keys(), loc="upper left", fontsize=7, frameon=False, ncols=3)
    axes[-1].set_xlabel("frame" if len(numbers) == 1 else "frame; trajectories one after the other")
    figure.savefig(path, dpi=110)
