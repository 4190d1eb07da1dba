# SPDX-License-Identifier: Apache-2.0
"""Where the gripper is: draw the whole arm for a supposed tool position and compare it with what is seen.

One camera sees depth badly on a small gripper; but the arm stands at a known place and its tool points down,
so the tool's position fixes where elbow, forearm and wrist appear, and these tell the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from erl_vlm_ros.standin import scene as scene
from erl_vlm_ros.standin.fit import Fields, Model
from erl_vlm_ros.standin.vision import ARM, GREEN, TABLE, View, box, cylinder

if TYPE_CHECKING:  # it loads MuJoCo, which our own arm does not need
    from erl_vlm_ros.standin.robot_arm import RobotArm

_ANGLES = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)
# a 12-gon as wide as the circle on average
_RING = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1) / np.cos(np.pi / 12) ** 0.5
_BASE = cylinder((0.0, 0.0, 0.0), (0.0, 0.0, 0.2), scene.ARM.base_radii[0])
_LINK_RADII = np.array(
    [
        scene.ARM.base_radii[1],
        scene.ARM.upper_radius,
        *scene.ARM.forearm_radii,
        scene.ARM.wrist_radius,
        scene.ARM.flange_radius,
    ]
)
# left finger, right finger, palm; the fingers' x depends on their gap
_HALVES = (scene.ARM.finger_half, scene.ARM.finger_half, scene.ARM.palm_half)
_HEIGHTS = (scene.ARM.finger_z, scene.ARM.finger_z, scene.ARM.palm_z)
_HAND_LOW = np.array([(-x, -y, z[0]) for (x, y), z in zip(_HALVES, _HEIGHTS)])
_HAND_HIGH = np.array([(x, y, z[1]) for (x, y), z in zip(_HALVES, _HEIGHTS)])
_COARSE, _FINE = 16, 32  # fields across the image
_GRID = 0.035  # m
_STARTS, _TURNS = 4, 3
_NUDGE = np.array([0.015, 0.015, 0.03, 0.08, 0.012])  # -, -, m, rad, m
_UPRIGHT = 10.0
_HIDDEN = 0.05  # weight of pixels that show an object: it may be in front of the arm


@dataclass(frozen=True)
class Gripper:
    """Tool point [3], base frame, m; tilt, rad; gap between the fingers, m; share of wrong pixels."""

    position: np.ndarray
    tilt: float
    width: float
    misfit: float


def arm_solids(tool: np.ndarray, tilt: float, width: float, across: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Point sets whose hulls outline the arm, far parts first. ``across``: [2, 3], the image's axes."""
    k = scene.ARM
    # an arm that presses on something gives way: the gripper turns about the tool point, around y
    c, s = np.cos(tilt), np.sin(tilt)
    turn = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    up, shoulder = turn[2], np.array(k.shoulder)
    wrist = tool + k.wrist_z * up
    reach, height = np.hypot(wrist[0], wrist[1]), wrist[2] - shoulder[2]
    distance = min(np.hypot(reach, height), k.upper_arm + k.forearm - 1e-6)
    inner = (k.upper_arm**2 + distance**2 - k.forearm**2) / (2 * k.upper_arm * distance)
    lift = np.arctan2(height, reach) + np.arccos(min(max(inner, -1.0), 1.0))
    along = np.cos(lift) / max(reach, 1e-6)
    elbow = shoulder + k.upper_arm * np.array([along * wrist[0], along * wrist[1], np.sin(lift)])
    middle = elbow + k.forearm_split * (wrist - elbow)
    ends = np.array(
        [
            [shoulder - [0.0, 0.0, 0.08], shoulder], [shoulder, elbow], [elbow, middle], [middle, wrist],
            [wrist, tool + k.wrist_end_z * up], [tool + k.flange_z[0] * up, tool + k.flange_z[1] * up],
        ]
    )  # fmt: skip
    ring = _RING @ across
    links = (ends[:, :, None] + _LINK_RADII[:, None, None, None] * ring).reshape(6, -1, 3)
    gap, outer = width / 2, width / 2 + 2 * k.finger_half[0]
    low, high = _HAND_LOW.copy(), _HAND_HIGH.copy()
    low[:2, 0], high[:2, 0] = (gap, -outer), (outer, -gap)
    corners = tool + box(low[:, None], high[:, None]) @ turn
    return [(_BASE, ARM), *((link, ARM) for link in links), (corners[0], GREEN), (corners[1], GREEN), (corners[2], ARM)]


def draw(eye: View, p: np.ndarray, arm: RobotArm | None = None) -> np.ndarray:
    """Labels uint8 [h, w] of the arm alone; ``arm``: another than ours.

    Parameters [5]: where the tool point appears (right and down, over depth), its depth in m, tilt, width. In
    these the depth, which is seen worst, does not mix with the rest.
    """
    if arm is not None:
        return eye.draw(arm.solids(eye, eye.out(p[:3]), p[3], p[4]))
    return eye.draw(arm_solids(eye.out(p[:3]), p[3], p[4], eye.rotation[:2]))


class _Bank:
    """A coarse grid of arms to start from: their fields, and on demand the slopes there."""

    def __init__(self, eye: View, task: str, arm: RobotArm | None) -> None:
        reach = scene.REACH[task]
        can_open = reach.opens
        axes = [np.linspace(a, b, 2 + int((b - a) / _GRID)) for a, b in zip(reach.low, reach.high)]
        axes += [np.array([-0.25, 0.0, 0.25]), np.array([0.0, 0.04, 0.08]) if can_open else np.zeros(1)]
        self.parameters = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 5)
        self.places = self.parameters[:, :3].copy()
        self.parameters[:, :3] = [eye.into(place) for place in self.places]
        self.model = Model(
            lambda p: draw(eye, p, arm),
            nudge=_NUDGE * [1, 1, 1, 1, can_open], pull=_UPRIGHT * np.eye(5)[3], rest=np.zeros(5),
            low=np.array([-2.0, -2.0, 0.2, -0.5, 0.0]), high=np.array([2.0, 2.0, 2.0, 0.5, 0.08]),
        )  # fmt: skip
        blank = np.zeros((eye.height, eye.width), np.uint8)
        self._fields = Fields(blank, np.ones(blank.shape, np.float32), (GREEN, ARM), _COARSE)
        self._drawn = np.array([self._fields.of(self.model.draw(p)) for p in self.parameters], np.float32)
        self._squares = np.einsum("kf,kf->k", self._drawn, self._drawn)
        self._slopes: dict[int, np.ndarray] = {}

    def nearest(self, arm: np.ndarray, count: int) -> list[int]:
        """The grid's best matches that stand at least 5 cm apart."""
        seen = self._fields.of(arm)
        order = np.argsort(self._squares - 2 * np.einsum("kf,f->k", self._drawn, seen))
        chosen: list[int] = []
        for i in order[:300]:
            if all(np.linalg.norm(self.places[i] - self.places[j]) > 0.05 for j in chosen):
                chosen.append(int(i))
                if len(chosen) == count:
                    break
        return chosen

    def slope(self, i: int) -> np.ndarray:
        """The slope at a grid point where everything is visible."""
        if i not in self._slopes:
            self._slopes[i] = self.model.slope(self._fields, self.parameters[i], self._drawn[i])
        return self._slopes[i]


@lru_cache(maxsize=4)
def _bank(eye: View, task: str, arm: RobotArm | None) -> _Bank:
    return _Bank(eye, task, arm)


def look(eye: View, seen: np.ndarray, task: str, robot: RobotArm | None = None) -> Gripper | None:
    """Find the gripper in a label image. None when no finger is visible. ``robot``: the arm, where it is not ours."""
    if np.count_nonzero(seen == GREEN) < max(4, 3e-4 * seen.size):
        return None
    arm = np.where((seen == GREEN) | (seen == ARM), seen, TABLE).astype(np.uint8)
    other = (seen != GREEN) & (seen != ARM) & (seen != TABLE)
    weight = np.where(other, _HIDDEN, 1.0).astype(np.float32)
    bank = _bank(eye, task, robot)
    model, coarse = bank.model, Fields(arm, weight, (GREEN, ARM), _COARSE)
    tried = []
    for i in bank.nearest(arm, _STARTS):
        p = bank.parameters[i]
        now = coarse.error(model.draw(p))
        p, now = model.step(coarse, p, now, bank.slope(i)) or (p, now)
        tried.append((model.loss(p, now), p))
    best = min(tried, key=lambda t: t[0])[1]
    best, _ = model.settle(Fields(arm, weight, (GREEN, ARM), _FINE), best, _TURNS)
    wrong = (model.draw(best) != arm) & ~other
    return Gripper(
        eye.out(best[:3]),
        float(best[3]),
        float(best[4]),
        np.count_nonzero(wrong) / max(1, np.count_nonzero(arm)),
    )
