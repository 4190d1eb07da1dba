# SPDX-License-Identifier: Apache-2.0
"""The dashboard image: camera, learning curves, rating mix, budget and the health of the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.monitoring.curve import class_colours
from erl_vlm_ros.monitoring.line import duration

WIDTH, HEIGHT = 960, 540
_INK, _DIM, _PAPER, _PANEL = (235, 235, 235), (150, 150, 150), (24, 26, 30), (38, 41, 47)
_GREEN, _BLUE, _RED, _AMBER = (90, 190, 110), (103, 169, 207), (214, 80, 70), (225, 165, 60)
HEALTH_COLOURS = {"ok": _GREEN, "warn": _AMBER, "stale": _RED}


def render(
    progress: Mapping[str, Any],
    title: str,
    class_names: Sequence[str],
    camera: np.ndarray | None,
    success: Sequence[tuple[int, float]],
    returns: Sequence[tuple[int, float]],
    health: Mapping[str, str],
) -> np.ndarray:
    """Draw the dashboard.

    Args:
        progress: as in progress.json.
        camera: uint8 RGB image, square, or None before the first.
        success: (env_steps, success rate) of each evaluation; returns: (env_steps, episode return).
        health: node -> "ok", "warn" or "stale".
    Returns:
        uint8 RGB [540, 960, 3].
    """
    canvas = np.full((HEIGHT, WIDTH, 3), _PAPER, np.uint8)
    _text(canvas, title, (16, 28), 0.62)
    state = progress["state"] + (f" {progress['detail']}" if progress.get("detail") else "")
    _text(canvas, f"{state}  {duration(progress['wall_s'])}", (620, 28), 0.55, _DIM)
    side = 400
    if camera is None:
        cv2.rectangle(canvas, (16, 44), (16 + side, 44 + side), _PANEL, -1)
        _text(canvas, "no image yet", (150, 250), 0.6, _DIM)
    else:
        canvas[44 : 44 + side, 16 : 16 + side] = cv2.resize(
            camera, (side, side), interpolation=cv2.INTER_LINEAR
        )
    end = max(progress["max_steps"], progress["env_steps"], 1)
    rate, earned = progress.get("success_rate"), progress.get("episode_return")
    _chart(
        canvas,
        (436, 44, 508, 150),
        success,
        end,
        "success rate",
        "-" if rate is None else f"{rate:.0%}",
        _GREEN,
        (0.0, 1.0),
    )
    _chart(
        canvas,
        (436, 206, 508, 150),
        returns,
        end,
        "episode return, learned reward",
        "-" if earned is None else f"{earned:.1f}",
        _BLUE,
    )
    _mix(canvas, (436, 368, 508, 76), progress, class_names)
    _bar(canvas, (16, 462, 446), "steps", progress["env_steps"], progress["max_steps"], _speed(progress))
    _bar(
        canvas,
        (482, 462, 462),
        "ratings",
        progress["ratings_valid"],
        progress["max_ratings"],
        _accuracy(progress),
    )
    _health(canvas, (16, 524), health)
    return canvas


def _speed(progress: Mapping[str, Any]) -> str:
    left = progress.get("left_s")
    return f"{progress['steps_per_s']:.0f}/s" + ("" if left is None else f", {duration(left)} left")


def _accuracy(progress: Mapping[str, Any]) -> str:
    accuracy = progress.get("rating_accuracy")
    return "" if accuracy is None else f"{accuracy:.0%} right"


def _text(
    canvas: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int] = _INK
) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _chart(
    canvas: np.ndarray,
    box: tuple[int, int, int, int],
    points: Sequence[tuple[int, float]],
    end: int,
    name: str,
    now: str,
    colour: tuple[int, int, int],
    limits: tuple[float, float] | None = None,
) -> None:
    x, y, width, height = box
    cv2.rectangle(canvas, (x, y), (x + width, y + height), _PANEL, -1)
    _text(canvas, name, (x + 8, y + 18), 0.45, _DIM)
    _text(canvas, now, (x + width - 70, y + 20), 0.6, colour)
    if not points:
        return
    values = np.array(points, float)
    low, high = limits or (float(values[:, 1].min()), float(values[:, 1].max()))
    span = max(high - low, 1e-9)
    px = x + 8 + values[:, 0] / end * (width - 16)
    py = y + height - 8 - (values[:, 1] - low) / span * (height - 40)
    line = np.stack([px, py], 1).round().astype(np.int32)
    cv2.polylines(canvas, [line], False, colour, 1, cv2.LINE_AA)
    if len(line) < 40:
        for point in line:
            cv2.circle(canvas, tuple(map(int, point)), 3, colour, -1, cv2.LINE_AA)


def _mix(
    canvas: np.ndarray, box: tuple[int, int, int, int], progress: Mapping[str, Any], names: Sequence[str]
) -> None:
    x, y, width, height = box
    cv2.rectangle(canvas, (x, y), (x + width, y + height), _PANEL, -1)
    _text(canvas, "ratings given", (x + 8, y + 18), 0.45, _DIM)
    mix = progress.get("rating_mix") or []
    total = sum(mix)
    if not total:
        return
    left = float(x + 8)
    for i, (count, hexadecimal) in enumerate(zip(mix, class_colours(len(mix)))):
        colour = tuple(int(hexadecimal[j : j + 2], 16) for j in (1, 3, 5))
        right = left + count / total * (width - 16)
        cv2.rectangle(canvas, (round(left), y + 26), (round(right), y + 48), colour, -1)
        left = right
        column = x + 8 + i * (width - 16) // len(mix)
        name = names[i] if len(names) == len(mix) else str(i)
        cv2.rectangle(canvas, (column, y + 57), (column + 9, y + 66), colour, -1)
        _text(canvas, f"{name} {count}", (column + 13, y + 66), 0.36, _INK)


def _bar(canvas: np.ndarray, at: tuple[int, int, int], name: str, used: int, budget: int, note: str) -> None:
    x, y, width = at
    share = min(used / budget, 1.0) if budget else 0.0
    cv2.rectangle(canvas, (x, y), (x + width, y + 26), _PANEL, -1)
    cv2.rectangle(canvas, (x, y), (x + round(width * share), y + 26), (70, 90, 110), -1)
    _text(canvas, f"{name} {used:,} of {budget:,}   {note}", (x + 8, y + 18), 0.45)


def _health(canvas: np.ndarray, at: tuple[int, int], health: Mapping[str, str]) -> None:
    x, y = at
    for node, level in health.items():
        cv2.circle(canvas, (x + 5, y - 5), 5, HEALTH_COLOURS.get(level, _DIM), -1, cv2.LINE_AA)
        _text(canvas, node, (x + 15, y), 0.42, _DIM)
        x += 30 + 8 * len(node)
