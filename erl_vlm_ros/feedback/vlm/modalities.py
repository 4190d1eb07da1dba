# SPDX-License-Identifier: Apache-2.0
"""What was measured besides the images (force, gripper, joint effort), as words or as a plot for the prompt.

Whether this helps a VLM is the ERL-VLM paper's first open question; so it is an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.spaces import GRIPPER

NONE = "none"
FORMS = ("text", "plot")
_WRENCH = {f"wrench_{kind}{axis}": (f"{word} {axis}", unit)
           for kind, word, unit in (("f", "force", "N"), ("t", "torque", "Nm")) for axis in "xyz"}  # fmt: skip
_COLOURS = ((180, 60, 30), (40, 130, 40), (40, 40, 200), (150, 120, 0), (150, 0, 150), (0, 120, 160), (90, 90, 90))
_WIDTH, _HEIGHT, _LEFT = 480, 170, 60  # of a panel and its axis, pixels


@dataclass(frozen=True)
class Series:
    """One quantity at each frame. ``values``: float [H]."""

    label: str
    unit: str
    values: np.ndarray


def asked(names: Sequence[str]) -> tuple[str, ...]:
    """The modalities that are asked for: ``names`` without ``none``."""
    return tuple(name for name in names if name != NONE)


def series_of(segment: Segment, modality: str) -> list[Series]:
    """The quantities of one modality; empty when the segment holds no such measurement."""
    if modality == "gripper":
        opening = segment.proprio_part(GRIPPER)
        return [] if opening is None else [Series("gripper opening", "cm", 100.0 * opening[:, 0])]
    out = []
    for column, name in enumerate(segment.extra_names):
        if modality == "wrench" and name in _WRENCH:
            out.append(Series(*_WRENCH[name], segment.extras[:, column]))
        elif modality == "effort" and name.startswith("effort_"):
            out.append(Series(f"effort of {name.removeprefix('effort_')}", "Nm", segment.extras[:, column]))
    return out


def in_words(segment: Segment, modalities: Sequence[str]) -> str:
    """A line per quantity with its values at each frame; empty when nothing of that was measured."""
    found = [s for modality in modalities for s in series_of(segment, modality)]
    if not found:
        return ""
    several = len(segment.jpegs) > 1
    head = "Measured at the moment of each image, in order:" if several else "Measured at the moment of the image:"
    return "\n".join([head, *(f"- {s.label}: {', '.join(f'{v:.1f}' for v in s.values)} {s.unit}" for s in found)])


def as_plot(segment: Segment, modalities: Sequence[str]) -> bytes | None:
    """A chart over the frames as JPEG, a panel per modality; None when nothing of that was measured."""
    panels = [_panel(modality, found) for modality in modalities if (found := series_of(segment, modality))]
    if not panels:
        return None
    return cv2.imencode(".jpg", np.concatenate(panels), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


PLOT_WORDS = "The last picture is a chart of what was measured at the moment of each image (1 is the first image)."


def _panel(name: str, series: list[Series]) -> np.ndarray:
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    values = np.array([s.values for s in series], float)
    low, high = float(values.min()), float(values.max())
    middle, half = (low + high) / 2, max((high - low) / 2, 0.5)
    top, bottom, right = 30, _HEIGHT - 24, _WIDTH - 110
    count = values.shape[1]
    x = np.linspace(_LEFT + 8, right - 8, count) if count > 1 else np.array([(_LEFT + right) / 2])
    _text(canvas, f"{name}, {' and '.join(dict.fromkeys(s.unit for s in series))}", (8, 18), 0.48)
    cv2.rectangle(canvas, (_LEFT, top), (right, bottom), (160, 160, 160), 1)
    for value, y in ((middle + half, top + 5), (middle - half, bottom)):
        _text(canvas, f"{value:.1f}", (6, y), 0.4)
    for i in range(count):
        _text(canvas, str(i + 1), (round(x[i]) - 3, bottom + 15), 0.4)
    for i, (one, row) in enumerate(zip(series, values)):
        y = bottom - 6 - (row - middle + half) / (2 * half) * (bottom - top - 12)
        points, colour = np.stack([x, y], 1).round().astype(np.int32), _COLOURS[i % len(_COLOURS)]
        cv2.polylines(canvas, [points], False, colour, 1, cv2.LINE_AA)
        for point in points:
            cv2.circle(canvas, tuple(map(int, point)), 3, colour, -1, cv2.LINE_AA)
        _text(canvas, one.label.removeprefix("effort of ")[:15], (right + 6, top + 10 + 15 * i), 0.38, colour)
    return canvas


def _text(canvas: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, ...] = (0, 0, 0)) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
