# SPDX-License-Identifier: Apache-2.0
"""Charts of the dashboard: curves against environment steps, rating mix, reward of an episode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.monitoring import draw
from erl_vlm_ros.monitoring.draw import BLUE, DIM, GRID, INK, Box, Colour

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 36, 24  # margins of the plot within its panel
_MOST_POINTS = 400


class Axes:
    """Maps figures to pixels of a plot and draws its grid."""

    def __init__(self, box: Box, end: float, low: float, high: float):
        x, y, width, height = box
        self.x0, self.x1 = x + _LEFT, x + width - _RIGHT
        self.y0, self.y1 = y + _TOP, y + height - _BOTTOM
        self.end, self.low, self.span = max(end, 1e-9), low, max(high - low, 1e-9)

    def x(self, values: np.ndarray) -> np.ndarray:
        """Pixels of steps."""
        return self.x0 + np.asarray(values, float) / self.end * (self.x1 - self.x0)

    def y(self, values: np.ndarray) -> np.ndarray:
        """Pixels of figures."""
        return self.y1 - (np.asarray(values, float) - self.low) / self.span * (self.y1 - self.y0)

    def grid(self, canvas: np.ndarray, ticks: Sequence[tuple[float, str]], unit: str = "steps") -> None:
        """Horizontal lines at ``ticks`` (figure, label) and labels of the steps."""
        for value, label in ticks:
            row = round(float(self.y(value)))
            canvas[row, self.x0 : self.x1] = GRID
            draw.text(canvas, label, (self.x0 - 6, row + 5), 12, DIM, align="right")
        step = _round_step(self.end / 4)
        for i in range(int(self.end / step) + 1):
            at = round(float(self.x(i * step)))
            last = (i + 1) * step > self.end
            words = short(i * step) + (f" {unit}" if last else "")
            align = "left" if i == 0 else "right" if at > self.x1 - 40 else "center"
            draw.text(canvas, words, (at, self.y1 + 18), 12, DIM, align=align)


def _round_step(least: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not less than ``least``."""
    power = 10 ** math.floor(math.log10(max(least, 1e-9)))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= least * (1 - 1e-9))


def short(number: float) -> str:
    """1500 -> 1.5k."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def success_chart(
    canvas: np.ndarray, box: Box, end: float,
    evaluated: Sequence[tuple[int, float]], trained: Sequence[tuple[int, float]], source: str,
) -> None:  # fmt: skip
    """Success of evaluations (dots) and of training episodes (thin line).

    Args:
        evaluated: (env_steps, rate 0..1) of each evaluation; trained: (env_steps, running rate) of training episodes.
        source: who tells, in words.
    """
    last = evaluated[-1][1] if evaluated else trained[-1][1] if trained else None
    draw.panel(canvas, box, "success" + (f" ({source})" if source else ""), _percent(last), draw.GREEN)
    axes = Axes(box, end, 0.0, 1.0)
    axes.grid(canvas, [(0.0, "0"), (0.5, "50%"), (1.0, "100%")])
    if trained:
        points = _thin(np.array(trained, float))
        draw.line(canvas, axes.x(points[:, 0]), axes.y(points[:, 1]), draw.FAINT, 1)
    if evaluated:
        points = np.array(evaluated, float)
        x, y = axes.x(points[:, 0]), axes.y(points[:, 1])
        draw.line(canvas, x, y, draw.GREEN, 2)
        for at in zip(x, y) if len(x) <= 60 else ():
            draw.dot(canvas, at, 3.5, draw.GREEN)
    if evaluated and trained:
        x, y = axes.x0 + 8, axes.y0 + 12
        for colour, words in ((draw.GREEN, "evaluation"), (draw.FAINT, "training, latest")):
            draw.rectangle(canvas, (x, y - 6, 14, 3), colour)
            draw.text(canvas, words, (x + 20, y), 12, DIM)
            x += 36 + draw.width_of(words, 12)
    if not evaluated and not trained:
        _nothing(canvas, axes, "nothing evaluated yet")


def return_chart(canvas: np.ndarray, box: Box, end: float, returns: Sequence[tuple[int, float]]) -> None:
    """Return of each training episode under the learned reward, and its running mean."""
    now = "" if not returns else f"{returns[-1][1]:.1f}"
    draw.panel(canvas, box, "episode return, learned reward", now, BLUE)
    points = np.array(returns, float).reshape(-1, 2)
    low = min(0.0, float(points[:, 1].min())) if len(points) else 0.0
    high = float(points[:, 1].max()) if len(points) else 1.0
    step = _round_step(max(high - low, 1e-3) / 3)
    first, last = math.floor(low / step), math.ceil(max(high, low + step) / step)
    axes = Axes(box, end, first * step, last * step)
    axes.grid(canvas, [(i * step, short(i * step)) for i in range(first, last + 1)])
    if not len(points):
        _nothing(canvas, axes, "no reward model yet")
        return
    if len(points) < 10:
        draw.line(canvas, axes.x(points[:, 0]), axes.y(points[:, 1]), BLUE, 2)
        return
    single = _thin(points)
    draw.line(canvas, axes.x(single[:, 0]), axes.y(single[:, 1]), (74, 96, 116), 1)
    mean = np.convolve(points[:, 1], np.ones(10) / 10, "valid")
    smooth = _thin(np.stack([points[9:, 0], mean], 1))
    draw.line(canvas, axes.x(smooth[:, 0]), axes.y(smooth[:, 1]), BLUE, 2)


def mix_chart(
    canvas: np.ndarray, box: Box, end: float,
    history: Sequence[tuple[int, Sequence[int]]], names: Sequence[str], mix: Sequence[int],
) -> None:  # fmt: skip
    """Shares of the rating classes in each round, worst at the bottom; totals in the legend."""
    x, y, width, _ = box
    draw.panel(canvas, box, "ratings, each round", f"{sum(mix):,}" if sum(mix) else "")
    n = len(mix)
    axes = Axes((x, y, width, box[3] - 6 - 20 * max(math.ceil(n / 3), 1)), end, 0.0, 1.0)
    axes.grid(canvas, [(0.0, "0"), (0.5, "50%"), (1.0, "100%")])
    if not sum(mix):
        _nothing(canvas, axes, "no rating yet")
        return
    colours = draw.rating_colours(n)
    rounds = [(steps, counts) for steps, counts in history if sum(counts)]
    edges = [float(axes.x0), *(float(axes.x(steps)) for steps, _ in rounds)]
    for left, right, (_, counts) in zip(edges, edges[1:], rounds):
        below, total = axes.y1, sum(counts)
        for i, colour in enumerate(colours[: len(counts)]):
            above = round(float(axes.y(sum(counts[: i + 1]) / total)))
            draw.rectangle(canvas, (round(left), above, max(round(right) - round(left), 2), below - above), colour)
            below = above
    _legend(canvas, (x + 14, axes.y1 + 42), (width - 20) // 3, colours, names, mix)


def _legend(
    canvas: np.ndarray, at: tuple[int, int], column: int,
    colours: Sequence[Colour], names: Sequence[str], mix: Sequence[int],
) -> None:  # fmt: skip
    for i, (colour, count) in enumerate(zip(colours, mix)):
        x, y = at[0] + i % 3 * column, at[1] + i // 3 * 20
        draw.rectangle(canvas, (x, y - 10, 12, 12), colour)
        name = names[i] if len(names) == len(mix) else f"class {i}"
        draw.text(canvas, f"{name} {count}", (x + 18, y), 12, INK, width=column - 22)


def reward_strip(canvas: np.ndarray, box: Box, rewards: np.ndarray | None, n_classes: int) -> None:
    """Learned reward 0..1 of each step of an episode, as columns in the colours of the classes."""
    x, y, width, height = box
    if rewards is None or not len(rewards):
        draw.text(canvas, "no reward yet", (x + width // 2, y + height // 2 + 5), 14, DIM, align="center")
        return
    for i in range(max(n_classes, 2)):
        row = round(y + height - 1 - i / (max(n_classes, 2) - 1) * (height - 2))
        canvas[row, x : x + width] = GRID
    edges = np.linspace(x, x + width, len(rewards) + 1).round().astype(int)
    for left, right, value in zip(edges, edges[1:], rewards):
        tall = max(round(min(max(float(value), 0.0), 1.0) * (height - 2)), 2)
        gap = 1 if right - left > 3 else 0
        box_of_step = (left, y + height - tall, max(right - left - gap, 1), tall)
        draw.rectangle(canvas, box_of_step, draw.reward_colour(float(value)))


def _nothing(canvas: np.ndarray, axes: Axes, words: str) -> None:
    at = ((axes.x0 + axes.x1) // 2, (axes.y0 + axes.y1) // 2 + 18)
    draw.text(canvas, words, at, 14, DIM, align="center")


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"


def _thin(points: np.ndarray) -> np.ndarray:
    """At most _MOST_POINTS of the points [n, 2], the last one included."""
    if len(points) <= _MOST_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int)]
