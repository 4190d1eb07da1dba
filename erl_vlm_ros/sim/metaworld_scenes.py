# SPDX-License-Identifier: Apache-2.0
"""What is seen and where things begin in MetaWorld's tasks: the views and placements of the papers' released code.

RL-VLM-F and ERL-VLM (arXiv 2402.03681, 2506.12822) look from cameras of their own, hide the arm, colour the block
green, and begin every episode alike; the numbers are theirs, the code is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 0.1  # share of the way below which nothing has been done
_RUNGS = {
    2: (),
    3: (MARGIN,),
    4: (MARGIN, 1 / 2),
    5: (MARGIN, 1 / 3, 2 / 3),
}


@dataclass(frozen=True)
class View:
    """A camera: position m, euler angles rad (x, y, z in turn), vertical field of view degrees.

    turned: its images come out upside down and are turned by 180 degrees. arm: whether the arm is seen.
    """

    position: tuple[float, float, float]
    euler: tuple[float, float, float]
    fovy: float
    turned: bool = False
    arm: bool = False


@dataclass(frozen=True)
class Placement:
    """How every episode begins in the paper's set-up: the hand's start, m, and MetaWorld's placement vector."""

    hand: tuple[float, float, float]
    vector: tuple[float, ...]


VIEWS = {
    "drawer-open-v3": View((0.0, 0.5, 0.5), (0.5, 0.0, 0.0), 60.0),
    "sweep-into-v3": View((-0.3, 0.8, 0.45), (0.0, -0.6, 1.57), 50.0, turned=True),
    "soccer-v3": View((0.2, 0.55, 0.4), (3.7, 2.7, 0.55), 55.0, turned=True),
}
OTHERS = View((0.0, 0.5, 1.5), (0.0, 0.0, 0.0), 45.0, arm=True)
PLACEMENTS = {
    "drawer-open-v3": Placement((0.0, 0.75, 0.15), (0.0, 0.9, 0.0)),
    "sweep-into-v3": Placement((0.0, 0.53, 0.05), (0.0, 0.65, 0.02, 0.0, 0.84, 0.02)),
    "soccer-v3": Placement((0.0, 0.56, 0.05), (0.0, 0.65, 0.03, 0.0, 0.85, 0.0)),
}
COLOURS = {"sweep-into-v3": ("objGeom", (0.0, 0.6, 0.0, 1.0))}  # the sentence speaks of a green cube


def progress_of(distance: float, at_start: float, success: bool) -> float:
    """Share of the object's way to its target that is done, 0..1; distances in m."""
    return 1.0 if success else float(np.clip(1.0 - distance / max(at_start, 1e-6), 0.0, 0.999))


def classes_of(progress: float, success: bool) -> dict[str, float]:
    """class_n for n = 2..5, worst 0: the top one is the environment's own success, the others shares of the way."""
    return {
        f"class_{n}": float(n - 1 if success else sum(progress >= limit for limit in limits))
        for n, limits in _RUNGS.items()
    }
