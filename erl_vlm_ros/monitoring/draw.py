# SPDX-License-Identifier: Apache-2.0
"""Drawing on a uint8 RGB canvas: text with a real font, panels, bars, lines, symbols. Coordinates in pixels.

Colours are Okabe and Ito's, which people with colour blindness tell apart; no meaning rests on colour alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x, y, width, height

PAPER, PANEL, GRID = (17, 19, 23), (30, 33, 39), (55, 60, 69)
INK, DIM, FAINT, BLACK = (238, 240, 243), (163, 170, 180), (112, 118, 128), (10, 10, 12)
BLUE, GREEN, ORANGE, YELLOW, PINK = (86, 180, 233), (32, 190, 148), (240, 170, 40), (240, 228, 66), (220, 140, 185)
RED = (222, 38, 38)  # for what must be seen at once, always with white words on it
# Worst to best class: red to blue, light in the middle.
RATINGS: tuple[Colour, ...] = ((214, 72, 62), (244, 165, 130), (222, 222, 222), (146, 197, 222), (58, 134, 200))
_SHIFT = 4  # binary digits after the point in the coordinates of lines


def rating_colours(n: int) -> list[Colour]:
    """n colours from the worst class to the best."""
    if n < 2:
        return [RATINGS[-1]] * n
    return [RATINGS[round(i * (len(RATINGS) - 1) / (n - 1))] for i in range(n)]


def reward_colour(value: float) -> Colour:
    """The colour of a learned reward from 0 (worst class) to 1 (best), between those of the classes."""
    at = min(max(value, 0.0), 1.0) * (len(RATINGS) - 1)
    low = min(int(at), len(RATINGS) - 2)
    mixed = (1 - at + low) * np.array(RATINGS[low]) + (at - low) * np.array(RATINGS[low + 1])
    r, g, b = mixed.round().astype(int).tolist()
    return r, g, b


@lru_cache(maxsize=16)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


@lru_cache(maxsize=1024)
def _mask(text: str, size: int, bold: bool) -> np.ndarray:
    """Coverage uint16 [h, w, 1] of a line of text, 0..256; its baseline lies ``size`` pixels below the top."""
    font = _font(size, bold)
    width, height = max(int(np.ceil(font.getlength(text))), 1), size + size // 2
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text((0, size), text, 255, font, anchor="ls")
    return np.asarray(image, np.uint16)[..., None] * 257 >> 8


def width_of(text: str, size: int, bold: bool = False) -> int:
    """Width of a line of text."""
    return _mask(text, size, bold).shape[1]


@lru_cache(maxsize=512)
def fit(text: str, width: int, size: int, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is too long."""
    if width_of(text, size, bold) <= width:
        return text
    keep = len(text)
    while keep > 0 and _font(size, bold).getlength(text[:keep] + "…") > width:
        keep -= 1
    return text[:keep].rstrip() + "…"


@lru_cache(maxsize=128)
def wrap(text: str, width: int, size: int, most: int) -> tuple[str, ...]:
    """The text in at most ``most`` lines, the last of them cut where it is too long."""
    lines, words = [""], text.split()
    for i, word in enumerate(words):
        longer = f"{lines[-1]} {word}".lstrip()
        if width_of(longer, size) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] = " ".join([lines[-1], *words[i:]])
            break
    return tuple(fit(line, width, size) for line in lines)


def text(
    canvas: np.ndarray, words: str, at: tuple[int, int], size: int, colour: Colour = INK,
    bold: bool = False, align: str = "left", width: int | None = None,
) -> None:  # fmt: skip
    """A line of text whose baseline begins (align left), has its middle or ends at ``at``; cut to ``width``."""
    if not words:
        return
    mask = _mask(fit(words, width, size, bold) if width is not None else words, size, bold)
    height, wide = mask.shape[:2]
    x = at[0] - {"left": 0, "center": wide // 2, "right": wide}[align]
    y = at[1] - size
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + wide, canvas.shape[1]), min(y + height, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = canvas[y0:y1, x0:x1]
    cover = mask[y0 - y : y1 - y, x0 - x : x1 - x]
    part[:] = (part * (256 - cover) + np.array(colour, np.uint16) * cover) >> 8


def rectangle(canvas: np.ndarray, box: Box, colour: Colour) -> None:
    """A filled rectangle."""
    x, y, width, height = box
    canvas[max(y, 0) : y + height, max(x, 0) : x + width] = colour


def panel(canvas: np.ndarray, box: Box, title: str = "", value: str = "", colour: Colour = INK) -> None:
    """The ground of a panel, its title, and its figure at the right."""
    x, y, width, _ = box
    rectangle(canvas, box, PANEL)
    text(canvas, title, (x + 12, y + 22), 14, DIM, width=width - 24)
    text(canvas, value, (x + width - 12, y + 24), 18, colour, bold=True, align="right")


def bar(canvas: np.ndarray, box: Box, share: float, colour: Colour) -> None:
    """A horizontal bar that is filled to ``share`` 0..1."""
    x, y, width, height = box
    rectangle(canvas, box, GRID)
    rectangle(canvas, (x, y, round(width * min(max(share, 0.0), 1.0)), height), colour)


def line(canvas: np.ndarray, x: np.ndarray, y: np.ndarray, colour: Colour, thickness: int = 1) -> None:
    """A smooth polyline through points [n]."""
    points = (np.stack([x, y], 1) * (1 << _SHIFT)).round().astype(np.int32)
    cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def dot(canvas: np.ndarray, at: tuple[float, float], radius: float, colour: Colour) -> None:
    """A filled circle."""
    x, y, r = (round(v * (1 << _SHIFT)) for v in (*at, radius))
    cv2.circle(canvas, (x, y), r, colour, -1, cv2.LINE_AA, _SHIFT)


def symbol(canvas: np.ndarray, at: tuple[int, int], level: int) -> None:
    """A mark 14 pixels wide for a diagnostic level: a dot, a triangle, a diamond, a cross."""
    x, y = at
    if level == 0:
        dot(canvas, (x, y), 5, GREEN)
    elif level == 1:
        cv2.fillPoly(canvas, [np.array([(x, y - 6), (x + 7, y + 6), (x - 7, y + 6)])], ORANGE, cv2.LINE_AA)
        text(canvas, "!", (x, y + 5), 10, BLACK, bold=True, align="center")
    elif level == 2:
        points = np.array([(x, y - 8), (x + 8, y), (x, y + 8), (x - 8, y)])
        cv2.fillPoly(canvas, [points], RED, cv2.LINE_AA)
        text(canvas, "!", (x + 1, y + 5), 11, INK, bold=True, align="center")
    else:
        rectangle(canvas, (x - 7, y - 7, 15, 15), RED)
        for a, b in (((-4, -4), (4, 4)), ((-4, 4), (4, -4))):
            cv2.line(canvas, (x + a[0], y + a[1]), (x + b[0], y + b[1]), INK, 2, cv2.LINE_AA)


def fit_image(canvas: np.ndarray, image: np.ndarray, box: Box) -> None:
    """An image, as large as the box allows, in its middle."""
    x, y, width, height = box
    scale = min(width / image.shape[1], height / image.shape[0])
    w, h = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = x + (width - w) // 2, y + (height - h) // 2
    canvas[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=how)
