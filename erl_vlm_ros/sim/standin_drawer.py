# SPDX-License-Identifier: Apache-2.0
"""Looking at the drawer: where the cabinet stands and how far the drawer is out, by matching a drawn model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from erl_vlm_ros.sim import standin_scene as scene
from erl_vlm_ros.sim.standin_vision import ARM, BLUE, GREEN, RED, TABLE, WHITE, YELLOW, View, box, descend

# of the front plane's x, the middle's y, the opening; a little wider than what happens
_LOW, _HIGH = np.array([0.535, -0.09, -0.004]), np.array([0.585, 0.09, 0.204])


@dataclass(frozen=True)
class Drawer:
    """Where things are, m. ``misfit``: share of the drawn drawer's pixels that look different (0 is perfect)."""

    x: float
    y: float
    opening: float
    misfit: float

    @property
    def handle(self) -> np.ndarray:
        """Centre of the handle bar [3]."""
        return np.array([self.x - self.opening + scene.HANDLE_X, self.y, scene.HANDLE_Z])


def _solids(x: float, y: float, opening: float) -> list[tuple[np.ndarray, int]]:
    """Convex solids of cabinet and drawer, in an order in which each may cover the ones before it."""
    front, w = x - opening, scene.CABINET_HALF_WIDTH
    back, f = x + scene.CABINET_DEPTH, scene.FRONT_HALF_WIDTH
    hx, h = front + scene.HANDLE_X, scene.HANDLE_HALF_LENGTH
    rx, rz = scene.HANDLE_RADIUS
    return [
        (box((x, y - w, 0.0), (back, y + w, scene.CABINET_TOP)), WHITE),
        (box((front, y - 0.12, 0.028), (x + 0.22 - opening, y + 0.12, 0.036)), YELLOW),
        (box((front, y + 0.112, 0.032), (x + 0.22 - opening, y + 0.12, 0.108)), YELLOW),
        (box((front, y - 0.12, 0.032), (x + 0.22 - opening, y - 0.112, 0.108)), YELLOW),
        (box((x, y - w, 0.145), (back, y + w, scene.CABINET_TOP)), WHITE),
        (box((x, y - w, 0.0), (back, y - w + 0.02, scene.CABINET_TOP)), WHITE),
        # the edges of the panels are turned away from the light: as grey as the table
        (box((x, y - w, 0.145), (x, y + w, scene.CABINET_TOP)), TABLE),
        (box((x, y - w, 0.0), (x, y - w + 0.02, scene.CABINET_TOP)), TABLE),
        (box((front - 0.016, y - f, 0.025), (front, y + f, scene.FRONT_TOP)), BLUE),
        (box((hx, y + 0.077, 0.104), (front - 0.013, y + 0.089, 0.116)), RED),
        (box((hx, y - 0.089, 0.104), (front - 0.013, y - 0.077, 0.116)), RED),
        (box((hx - rx, y - h, scene.HANDLE_Z - rz), (hx + rx, y + h, scene.HANDLE_Z + rz)), RED),
    ]


def draw(view: View, x: float, y: float, opening: float) -> np.ndarray:
    """Labels uint8 [h, w] of how the scene would look without the arm."""
    return view.draw(_solids(x, y, opening))


@lru_cache(maxsize=4)
def _bank(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Drawn models over a coarse grid of (x, y, opening): parameters [K, 3], labels [K, h/2 * w/2]."""
    grid = np.array(np.meshgrid(np.linspace(0.542, 0.578, 3), np.linspace(-0.08, 0.08, 9), np.linspace(0, 0.2, 11)))
    parameters = grid.reshape(3, -1).T
    return parameters, np.stack([draw(view, *p)[::2, ::2].ravel() for p in parameters])


def look(view: View, seen: np.ndarray) -> Drawer | None:
    """Find cabinet and drawer in a label picture. None when too little of them is visible."""
    visible = (seen != ARM) & (seen != GREEN)
    if np.count_nonzero((seen == BLUE) | (seen == RED) | (seen == YELLOW)) < 0.004 * seen.size:
        return None
    parameters, drawn = _bank(view)
    index = np.nonzero(visible[::2, ::2].ravel())[0]
    costs = (drawn[:, index] != seen[::2, ::2].ravel()[index]).sum(axis=1)
    start = parameters[int(np.argmin(costs))]

    def cost(p: np.ndarray) -> int:
        return int(np.count_nonzero((draw(view, *p) != seen) & visible))

    # drawer front and cabinet move apart along x: the opening changes with each of them
    directions = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    best, lowest = descend(cost, start, directions, (0.010, 0.004), _LOW, _HIGH)
    area = max(1, np.count_nonzero((draw(view, *best) != TABLE) & visible))
    return Drawer(float(best[0]), float(best[1]), float(max(best[2], 0.0)), lowest / area)
