# SPDX-License-Identifier: Apache-2.0
"""Looking at a picture: what has which colour, the calibrated camera, and drawing solids through it to compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from erl_vlm_ros.sim import standin_scene as scene

_INSET = 0.55  # px; see View.draw
_UNIT = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)

# labels of what a pixel shows; the arm and its green fingers hide what is behind them
TABLE, RED, BLUE, YELLOW, WHITE, GREEN, ARM = range(7)


class View:
    """A camera of ``standin_scene`` at one image size."""

    def __init__(self, task: str, width: int, height: int) -> None:
        camera = scene.CAMERAS[task]
        self.width, self.height = width, height
        self.position = np.array(camera.position)
        self.rotation = camera.rotation()
        self.focal = 0.5 * height / np.tan(np.deg2rad(camera.fovy) / 2)  # px
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (u, v) [N, 2] of points [N, 3] in the base frame, m."""
        local = (points - self.position) @ self.rotation.T
        return local[:, :2] * (self.focal / np.maximum(local[:, 2:], 1e-3)) + self.centre

    def ray(self, u: float, v: float) -> np.ndarray:
        """Unit direction [3] in the base frame of what is seen at pixel (u, v)."""
        direction = np.array([u - self.centre[0], v - self.centre[1], self.focal]) @ self.rotation
        return direction / np.linalg.norm(direction)

    def draw(self, solids: list[tuple[np.ndarray, int]]) -> np.ndarray:
        """Label picture uint8 [h, w] of convex solids, each given by points [N, 3] whose hull it is, and its label.

        Later ones cover earlier ones; where there is none it is TABLE.
        """
        sizes = [len(points) for points, _ in solids]
        ends = np.cumsum(sizes)
        pixels = self.project(np.concatenate([points for points, _ in solids]))
        middles = np.add.reduceat(pixels, ends - sizes) / np.array(sizes)[:, None]
        # OpenCV draws the border line too, half a pixel outside: move the points in by as much
        pixels = pixels - _INSET * np.sign(pixels - np.repeat(middles, sizes, axis=0))
        fixed = np.clip(np.round(pixels * 16), -30000, 30000).astype(np.int32)
        out = np.zeros((self.height, self.width), np.uint8)
        for (_, label), size, end in zip(solids, sizes, ends):
            cv2.fillConvexPoly(out, cv2.convexHull(fixed[end - size : end]), label, shift=4)
        return out


@lru_cache(maxsize=16)
def view(task: str, width: int, height: int) -> View:
    """The View of a task's camera at this image size, px."""
    return View(task, width, height)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
    """Corners [8, 3] of an axis-aligned box."""
    low = np.asarray(low)
    return low + _UNIT * (np.asarray(high) - low)


def labels(image: np.ndarray) -> np.ndarray:
    """What every pixel of a BGR picture uint8 [h, w, 3] shows, as labels uint8 [h, w]."""
    b, g, r = cv2.split(image.astype(np.int16))
    low, bright = np.minimum(np.minimum(r, g), b), np.maximum(np.maximum(r, g), b)
    out = np.zeros(image.shape[:2], np.uint8)
    out[low > 163] = WHITE
    out[(bright < 100) & (bright - low < 45)] = ARM
    out[np.minimum(r, g) - b > 70] = YELLOW
    out[b - np.maximum(r, g) > 55] = BLUE
    out[g - np.maximum(r, b) > 55] = GREEN
    out[r - np.maximum(g, b) > 70] = RED
    return out


def descend(
    cost: Callable[[np.ndarray], float], start: np.ndarray, directions: np.ndarray, steps: tuple[float, ...],
    low: np.ndarray, high: np.ndarray,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Lower a count of wrong pixels: (best parameters [P], its cost).

    Near the right place such a count grows linearly to both sides, so three values along a direction give the place:
    with r = (c(-s) - c(s)) / (c(-s) + c(s) - 2 c(0)), the minimum is at s r / (1 + abs(r)).
    """
    best, lowest = start, cost(start)
    for step in steps:
        for direction in directions:
            tries = [np.minimum(np.maximum(best + sign * step * direction, low), high) for sign in (-1.0, 1.0)]
            left, right = cost(tries[0]), cost(tries[1])
            bend = left + right - 2 * lowest
            if bend > 0 and lowest <= min(left, right):
                r = (left - right) / bend
                if abs(r) > 0.05:
                    tries.append(np.minimum(np.maximum(best + step * r / (1 + abs(r)) * direction, low), high))
            costs = [left, right, *(cost(t) for t in tries[2:])]
            i = int(np.argmin(costs))
            if costs[i] < lowest:
                best, lowest = tries[i], costs[i]
    return best, lowest
