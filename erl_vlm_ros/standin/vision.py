# SPDX-License-Identifier: Apache-2.0
"""Looking at an image: what has which colour, the calibrated camera, and drawing solids through it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from erl_vlm_ros.standin import scene as scene

_INSET = 0.55  # px; see View.draw
_UNIT = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)

# labels of what a pixel shows; the arm and its green fingers hide what is behind them
TABLE, RED, BLUE, YELLOW, WHITE, GREEN, ARM = range(7)


class View:
    """A camera of ``standin_scene`` at one image size; ``share``: only that part of its sides, from the middle."""

    def __init__(self, task: str, width: int, height: int, share: float = 1.0) -> None:
        camera = scene.CAMERAS[task]
        self.width, self.height = width, height
        self.position = np.array(camera.position)
        self.rotation = camera.rotation()
        self.focal = 0.5 * height / np.tan(np.deg2rad(camera.fovy) / 2) / share  # px
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (u, v) [N, 2] of points [N, 3] in the base frame, m."""
        local = (points - self.position) @ self.rotation.T
        return local[:, :2] * (self.focal / np.maximum(local[:, 2:], 1e-3)) + self.centre

    def into(self, point: np.ndarray) -> np.ndarray:
        """A point [3] of the base frame as (right / depth, down / depth, depth in m)."""
        right, down, depth = self.rotation @ (point - self.position)
        return np.array([right / depth, down / depth, depth])

    def out(self, seen: np.ndarray) -> np.ndarray:
        """Inverse of ``into``."""
        return self.position + (seen[2] * np.array([seen[0], seen[1], 1.0])) @ self.rotation

    def draw(self, solids: list[tuple[np.ndarray, int]]) -> np.ndarray:
        """Label image uint8 [h, w] of convex solids, each given by points [N, 3] that span it, and a label.

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
def view(task: str, width: int, height: int, share: float = 1.0) -> View:
    """The View of a task's camera at this image size, px."""
    return View(task, width, height, share)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
    """Corners [8, 3] of an axis-aligned box; or [N, 8, 3] of N boxes given as [N, 1, 3]."""
    low = np.asarray(low)
    return low + _UNIT * (np.asarray(high) - low)


def cylinder(bottom: tuple[float, ...], top: tuple[float, ...], radius: float) -> np.ndarray:
    """Points [32, 3] around both ends of an upright cylinder."""
    angles = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
    ring = radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(16)], axis=1)
    return np.concatenate([ring + bottom, ring + top])


def labels(image: np.ndarray) -> np.ndarray:
    """What every pixel of a BGR image uint8 [h, w, 3] shows, as labels uint8 [h, w]."""
    b, g, r = cv2.split(image.astype(np.int16))
    low, bright = np.minimum(np.minimum(r, g), b), np.maximum(np.maximum(r, g), b)
    out = np.zeros(image.shape[:2], np.uint8)
    out[low > 163] = WHITE
    out[(bright < 100) & (bright - low < 45)] = ARM
    out[np.minimum(r, g) - b > 70] = YELLOW
    out[b - np.maximum(r, g) > 55] = BLUE
    out[g - np.maximum(r, b) > 65] = GREEN
    out[r - np.maximum(g, b) > 70] = RED
    return out
