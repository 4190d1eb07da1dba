# SPDX-License-Identifier: Apache-2.0
"""The dashboard image, 1280 x 720: what a person wants to see on a second screen while the arm learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from erl_vlm_ros.monitoring import draw, panels
from erl_vlm_ros.monitoring.charts import mix_chart, return_chart, success_chart
from erl_vlm_ros.monitoring.draw import Box
from erl_vlm_ros.monitoring.line import duration
from erl_vlm_ros.monitoring.screen import CALM, LOUD, Screen, headline, safety_words

WIDTH, HEIGHT = 1280, 720
_GROUNDS = (draw.PANEL, draw.ORANGE, draw.RED)  # by loudness
_WORDS = (draw.INK, draw.BLACK, (255, 255, 255))


def render(screen: Screen) -> np.ndarray:
    """Draw the dashboard. Returns uint8 RGB [720, 1280, 3]."""
    canvas = np.full((HEIGHT, WIDTH, 3), draw.PAPER, np.uint8)
    _header(canvas, screen)
    _headline(canvas, screen)
    progress = screen.progress
    end = _horizon(progress["env_steps"], progress["max_steps"])
    parts: tuple[tuple[Box, Callable[[np.ndarray, Box, Screen], None]], ...] = (
        ((12, 108, 456, 366), panels.camera),
        ((12, 482, 456, 106), panels.reward),
        ((12, 596, 456, 116), panels.nodes),
        ((880, 108, 388, 116), panels.budget),
        ((880, 232, 388, 236), panels.teacher),
        ((880, 476, 388, 236), panels.alarms),
    )
    for box, part in parts:
        part(canvas, box, screen)
    evaluated, trained = screen.evaluated, screen.trained
    success_chart(canvas, (476, 108, 396, 196), end, evaluated, trained, screen.success_source)
    return_chart(canvas, (476, 312, 396, 176), end, screen.returns)
    mix_chart(canvas, (476, 496, 396, 216), end, screen.mix_history, screen.class_names, progress["rating_mix"] or [])
    if headline(screen).loudness == LOUD:
        _frame(canvas)
    return canvas


def _horizon(steps: int, whole: int) -> float:
    """Right end of the charts: all of a run once much of it is done, before that enough to see something."""
    end = float(max(whole, steps, 1))
    while end / 2 >= max(1.1 * steps, 100.0):
        end /= 2
    return end


def _header(canvas: np.ndarray, screen: Screen) -> None:
    words, loud = safety_words(screen)
    draw.rectangle(canvas, (12, 10, 208, 44), _GROUNDS[loud] if loud != CALM else (20, 92, 74))
    draw.text(canvas, words, (116, 40), 22, _WORDS[loud], bold=True, align="center")
    draw.text(canvas, screen.title, (236, 32), 20, bold=True, width=800)
    draw.text(canvas, screen.subtitle, (236, 52), 13, draw.DIM, width=800)
    draw.text(canvas, screen.clock, (WIDTH - 12, 32), 20, align="right")
    wall = f"running for {duration(screen.progress['wall_s'])}"
    draw.text(canvas, wall, (WIDTH - 12, 52), 13, draw.DIM, align="right")


def _headline(canvas: np.ndarray, screen: Screen) -> None:
    _, words, loud = headline(screen)
    draw.rectangle(canvas, (0, 62, WIDTH, 38), _GROUNDS[loud])
    draw.text(canvas, words, (24, 88), 19, _WORDS[loud], bold=loud != CALM, width=WIDTH - 48)


def _frame(canvas: np.ndarray) -> None:
    """A red edge that is seen from across the room."""
    for edge in ((0, 0, WIDTH, 5), (0, HEIGHT - 5, WIDTH, 5), (0, 0, 5, HEIGHT), (WIDTH - 5, 0, 5, HEIGHT)):
        draw.rectangle(canvas, edge, draw.RED)
