# SPDX-License-Identifier: Apache-2.0
"""Looking at the red block: where it is and how it is turned, when its height is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.standin.fit import Fields, Model
from erl_vlm_ros.standin.vision import ARM, BLUE, GREEN, RED, View, box

Solids = Sequence[tuple[np.ndarray, int]]
_CELLS, _TURNS = 32, 2
_HIDDEN = 0.05  # weight of pixels that show the arm: it may be in front of the block
_LEAST = 5e-4  # share of the image


@dataclass(frozen=True)
class Block:
    """Centre [3], m; turn about the vertical, rad; loss of the fit (smaller is better)."""

    position: np.ndarray
    yaw: float
    loss: float


def look(
    eye: View, seen: np.ndarray, half: float, height: float, behind: Solids = (), in_front: Solids = ()
) -> Block | None:
    """Find a block with edges of 2 ``half`` m whose centre is at ``height`` m; None when it is hidden.

    ``behind`` and ``in_front`` are blue things that the block covers, or that cover it.
    """
    rows, cols = np.nonzero(seen == RED)
    if rows.size < max(6, _LEAST * seen.size):
        return None
    cube = box((-half, -half, -half), (half, half, half))

    def draw(p: np.ndarray) -> np.ndarray:
        c, s = np.cos(p[2]), np.sin(p[2])
        turned = cube @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return eye.draw([*behind, (turned + [p[0], p[1], height], RED), *in_front])

    model = Model(
        draw, nudge=np.array([0.01, 0.01, 0.2]), pull=np.zeros(3), rest=np.zeros(3),
        low=np.array([-1.0, -1.0, -10.0]), high=np.array([2.0, 1.0, 10.0]),
    )  # fmt: skip
    arm = (seen == ARM) | (seen == GREEN)
    fields = Fields(
        seen,
        np.where(arm, _HIDDEN, 1.0).astype(np.float32),
        (RED, BLUE) if behind or in_front else (RED,),
        _CELLS,
    )
    # the middle of what is visible, brought down to the block's height
    middle = np.array([(cols.mean() - eye.centre[0]) / eye.focal, (rows.mean() - eye.centre[1]) / eye.focal, 1.0])
    ray = middle @ eye.rotation
    at = eye.position + (height - eye.position[2]) / min(ray[2], -1e-3) * ray
    starts = [np.array([at[0], at[1], yaw]) for yaw in (0.0, np.pi / 6, np.pi / 3)]
    start = min(starts, key=lambda p: model.loss(p, fields.error(draw(p))))
    best, loss = model.settle(fields, start, _TURNS)
    return Block(np.array([best[0], best[1], height]), float(best[2]), loss)
