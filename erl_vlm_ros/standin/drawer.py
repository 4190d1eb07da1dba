# SPDX-License-Identifier: Apache-2.0
"""Looking at the drawer: where the cabinet stands and how far the drawer is out, by fitting a drawn model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from erl_vlm_ros.standin import scene as scene
from erl_vlm_ros.standin.fit import Fields, Model
from erl_vlm_ros.standin.vision import ARM, BLUE, GREEN, RED, TABLE, WHITE, YELLOW, View, box

_CELLS, _TURNS = 32, 2
_HIDDEN = np.uint8(255)


@dataclass(frozen=True)
class Drawer:
    """Front plane, middle and opening, m. ``misfit``: share of the drawn pixels that look different."""

    x: float
    y: float
    opening: float
    misfit: float

    @property
    def handle(self) -> np.ndarray:
        """Centre of the handle bar [3]."""
        return np.array([self.x - self.opening + scene.DRAWER.handle_x, self.y, scene.DRAWER.handle_z])


def _solids(x: float, y: float, opening: float) -> list[tuple[np.ndarray, int]]:
    """Convex solids of cabinet and drawer, in an order in which each may cover the ones before it."""
    k = scene.DRAWER
    front, w, back, top = x - opening, k.cabinet_half_width, x + k.cabinet_depth, k.cabinet_top
    f, hx, z, t = k.front_half_width, front + k.handle_x, k.handle_z, k.post_half
    inside, side, wall = front + k.box_depth, k.box_half_width, k.box_wall
    rx, h, rz = k.handle_half

    def post(at: float) -> np.ndarray:
        return box((hx, y + at - t, z - t), (front - k.front_depth, y + at + t, z + t))

    def wall_at(at: float) -> np.ndarray:
        return box((front, y + at, k.wall_z[0]), (inside, y + at + wall, k.wall_z[1]))

    return [
        (box((x, y - w, 0.0), (back, y + w, top)), WHITE),
        (box((front, y - side, k.floor_z[0]), (inside, y + side, k.floor_z[1])), YELLOW),
        (wall_at(side - wall), YELLOW),
        (wall_at(-side), YELLOW),
        (box((x, y - w, top - k.panel), (back, y + w, top)), WHITE),
        (box((x, y - w, 0.0), (back, y - w + k.panel, top)), WHITE),
        # the edges of the panels are turned away from the light: as grey as the table
        (box((x, y - w, top - k.panel), (x, y + w, top)), TABLE),
        (box((x, y - w, 0.0), (x, y - w + k.panel, top)), TABLE),
        (box((front - k.front_depth, y - f, k.front_bottom), (front, y + f, k.front_top)), BLUE),
        (post(k.post_y), RED),
        (post(-k.post_y), RED),
        (box((hx - rx, y - h, z - rz), (hx + rx, y + h, z + rz)), RED),
    ]


def draw(eye: View, p: np.ndarray) -> np.ndarray:
    """Labels uint8 [h, w] of how the scene would look without the arm.

    Parameters [3]: x of the drawer's front, y of the middle, x of the cabinet's front plane, m.
    """
    return eye.draw(_solids(p[2], p[1], p[2] - p[0]))


@lru_cache(maxsize=4)
def _bank(eye: View) -> tuple[Model, np.ndarray, np.ndarray]:
    """The model, and a coarse grid to start from: parameters [K, 3] and labels [K, h/2 * w/2]."""
    usual = scene.DRAWER.cabinet_x
    model = Model(
        lambda p: draw(eye, p), nudge=np.full(3, 0.01), pull=np.zeros(3), rest=np.zeros(3),
        low=np.array([usual - 0.23, -0.1, usual - 0.03]), high=np.array([usual + 0.03, 0.1, usual + 0.03]),
    )  # fmt: skip
    grid = np.meshgrid(
        np.linspace(0.0, 0.2, 11),
        np.linspace(-0.08, 0.08, 9),
        (usual - 0.016, usual, usual + 0.016),
        indexing="ij",
    )
    parameters = np.stack(grid, -1).reshape(-1, 3)
    parameters[:, 0] = parameters[:, 2] - parameters[:, 0]  # from the opening to the front's place
    return model, parameters, np.stack([draw(eye, p)[::2, ::2].ravel() for p in parameters])


def look(eye: View, seen: np.ndarray) -> Drawer | None:
    """Find cabinet and drawer in a label image. None when too little of them is visible."""
    visible = (seen != ARM) & (seen != GREEN)
    if np.count_nonzero(visible & (seen != TABLE) & (seen != WHITE)) < 0.004 * seen.size:
        return None
    model, parameters, drawn = _bank(eye)
    small = np.where(visible, seen, _HIDDEN)[::2, ::2].ravel()
    costs = np.count_nonzero(drawn != small, axis=1)  # hidden pixels count the same for all
    fields = Fields(seen, visible.astype(np.float32), (RED, BLUE, YELLOW, WHITE), _CELLS)
    best, _ = model.settle(fields, parameters[int(np.argmin(costs))], _TURNS)
    image = draw(eye, best)
    area = max(1, np.count_nonzero((image != TABLE) & visible))
    misfit = np.count_nonzero((image != seen) & visible) / area
    return Drawer(float(best[2]), float(best[1]), float(max(best[2] - best[0], 0.0)), misfit)
