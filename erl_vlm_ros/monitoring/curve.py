# SPDX-License-Identifier: Apache-2.0
"""The learning curve of a run as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Worst to best class.
CLASS_COLOURS = ("#b2182b", "#ef8a62", "#d9d9d9", "#67a9cf", "#2166ac")


def class_colours(n: int) -> list[str]:
    """n colours from worst to best."""
    if n < 2:
        return [CLASS_COLOURS[-1]] * n
    return [CLASS_COLOURS[round(i * (len(CLASS_COLOURS) - 1) / (n - 1))] for i in range(n)]


def draw_curve(
    path: Path,
    summary: Mapping[str, Any],
    returns: Sequence[tuple[int, float]],
    mix_history: Sequence[tuple[int, Sequence[int]]],
    trained: Sequence[tuple[int, float]] = (),
) -> None:
    """Draw success, episode return and rating mix against environment steps.

    Args:
        summary: as in summary.json.
        returns: (env_steps, episode return under the learned reward) of each episode.
        mix_history: (env_steps, ratings of each class) of each round.
        trained: (env_steps, running share of successes in training episodes).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    FigureCanvasAgg(figure)
    success, earned, mix = figure.subplots(3, 1, sharex=True)
    _draw_success(success, summary, trained)
    steps = np.array([s for s, _ in returns], float)
    values = np.array([r for _, r in returns], float)
    earned.plot(steps, values, color="0.75", lw=0.7)
    if len(values) >= 10:
        smooth = np.convolve(values, np.ones(10) / 10, "valid")
        earned.plot(steps[9:], smooth, color="#2166ac", lw=1.6, label="mean of 10 episodes")
        earned.legend(loc="lower right", frameon=False)
    earned.set_ylabel("episode return\n(learned reward)")
    _draw_mix(mix, summary, mix_history)
    mix.set_xlabel("environment steps")
    for axis in (success, earned, mix):
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def _draw_success(axis: Any, summary: Mapping[str, Any], trained: Sequence[tuple[int, float]]) -> None:
    source = summary.get("success_source") or ""
    if trained and source != "ground truth":  # where the truth is known, what the learned reward thinks is no news
        axis.plot([s for s, _ in trained], [r for _, r in trained], color="0.6", lw=1.0, label="training episodes")
    judged = [e for e in summary["evaluations"] if e["success_rate"] is not None]
    steps, rates = [e["env_steps"] for e in judged], [e["success_rate"] for e in judged]
    axis.plot(steps, rates, "o-", color="#1b7837", label="evaluation")
    if len(axis.lines) > 1:
        axis.legend(loc="upper left", frameon=False)
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("success rate" + (f"\n({source})" if source else ""))
    accuracy = summary.get("rating_accuracy")
    text = f"{summary['task']}, seed {summary['seed']}: {summary['env_steps']:,} steps"
    text += f", {summary['ratings_valid']:,} ratings"
    axis.set_title(text if accuracy is None else f"{text} ({accuracy:.0%} right)")


def _draw_mix(axis: Any, summary: Mapping[str, Any], history: Sequence[tuple[int, Sequence[int]]]) -> None:
    axis.set_ylabel("ratings so far")
    if not history:
        return
    names = summary.get("rating_classes") or []
    counts = np.cumsum(np.array([h[1] for h in history], float), axis=0)
    steps = [h[0] for h in history]
    # One round is a point, and an area needs two.
    steps, counts = (
        [steps[0], *steps, max(summary["env_steps"], steps[-1])],
        np.vstack([0 * counts[:1], counts, counts[-1:]]),
    )
    n = counts.shape[1]
    axis.stackplot(
        steps,
        counts.T,
        colors=class_colours(n),
        labels=names if len(names) == n else [str(i) for i in range(n)],
    )
    axis.legend(loc="upper left", frameon=False, reverse=True)
