# SPDX-License-Identifier: Apache-2.0
"""Where the gripper is: draw the whole arm for a supposed tool position and compare it with what is seen.

One camera sees depth badly on a small gripper; but the arm stands at a known place and its tool points down,
so the tool's position fixes where elbow, forearm and wrist appear, and these tell the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from erl_vlm_ros.sim import standin_scene as scene
from erl_vlm_ros.sim.standin_fit import Fields, Model
from erl_vlm_ros.sim.standin_vision import ARM, GREEN, TABLE, View, box, cylinder

_ANGLES = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)
_ROUND = 1.0 / np.cos(np.pi / 12) ** 0.5  # a 12-gon as wide as the circle on average
_BASE = cylinder((0.0, 0.0, 0.0), (0.0, 0.0, 0.2), scene.ARM.base_radii[0])
_COARSE, _FINE = 16, 32  # fields across the picture
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


def arm_solids(
    tool: np.ndarray, tilt: float, width: float, across: np.ndarray
) -> list[tuple[np.ndarray, int]]:
    """Point sets whose hulls outline the arm, far parts first. ``across``: [2, 3], the image's axes."""
    x, y, _ = tool
    ring = _ROUND * (np.cos(_ANGLES)[:, None] * across[0] + np.sin(_ANGLES)[:, None] * across[1])

    def capsule(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
        return np.concatenate([a + radius * ring, b + radius * ring])

    # an arm that presses on something gives way: the hand turns about the tool point, around y
    c, s = np.cos(tilt), np.sin(tilt)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]).T

    def hand(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
        return tool + box(low, high) @ turn

    up = turn[2]
    wrist, wrist_end = tool + scene.ARM.wrist_z * up, tool + scene.ARM.wrist_end_z * up
    flange = tool + scene.ARM.flange_z[0] * up, tool + scene.ARM.flange_z[1] * up
    shoulder = np.array(scene.ARM.shoulder)
    upper, fore = scene.ARM.upper_arm, scene.ARM.forearm
    reach, height = np.hypot(wrist[0], wrist[1]), wrist[2] - shoulder[2]
    distance = min(np.hypot(reach, height), upper + fore - 1e-6)
    inner = (upper**2 + distance**2 - fore**2) / (2 * upper * distance)
    lift = np.arctan2(height, reach) + np.arccos(np.clip(inner, -1.0, 1.0))
    out = np.array([wrist[0], wrist[1], 0.0]) / max(reach, 1e-6)
    elbow = shoulder + upper * (np.cos(lift) * out + [0.0, 0.0, np.sin(lift)])
    middle = elbow + scene.ARM.forearm_split * (wrist - elbow)
    (fx, fy), (low, high) = scene.ARM.finger_half, scene.ARM.finger_z
    gap, outer = width / 2, width / 2 + 2 * fx
    (px, py), (bottom, top) = scene.ARM.palm_half, scene.ARM.palm_z
    return [
        (_BASE, ARM),
        (capsule(shoulder - [0.0, 0.0, 0.08], shoulder, scene.ARM.base_radii[1]), ARM),
        (capsule(shoulder, elbow, scene.ARM.upper_radius), ARM),
        (capsule(elbow, middle, scene.ARM.forearm_radii[0]), ARM),
        (capsule(middle, wrist, scene.ARM.forearm_radii[1]), ARM),
        (capsule(wrist, wrist_end, scene.ARM.wrist_radius), ARM),
        (capsule(*flange, scene.ARM.flange_radius), ARM),
        (hand((gap, -fy, low), (outer, fy, high)), GREEN),
        (hand((-outer, -fy, low), (-gap, fy, high)), GREEN),
        (hand((-px, -py, bottom), (px, py, top)), ARM),
    ]


def draw(eye: View, p: np.ndarray) -> np.ndarray:
    """Labels uint8 [h, w] of the arm alone.

    Parameters [5]: where the tool point appears (right and down, over depth), its depth in m, tilt, width. In
    these the depth, which is seen worst, does not mix with the rest.
    """
    return eye.draw(arm_solids(eye.out(p[:3]), p[3], p[4], eye.rotation[:2]))


class _Bank:
    """A coarse grid of arms to start from: their fields, and on demand the slopes there."""

    def __init__(self, eye: View, task: str) -> None:
        reach = scene.REACH[task]
        can_open = reach.opens
        axes = [np.linspace(a, b, 2 + int((b - a) / _GRID)) for a, b in zip(reach.low, reach.high)]
        axes += [np.array([-0.25, 0.0, 0.25]), np.array([0.0, 0.04, 0.08]) if can_open else np.zeros(1)]
        self.parameters = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 5)
        self.places = self.parameters[:, :3].copy()
        self.parameters[:, :3] = [eye.into(place) for place in self.places]
        self.model = Model(
            lambda p: draw(eye, p),
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
def _bank(eye: View, task: str) -> _Bank:
    return _Bank(eye, task)


def look(eye: View, seen: np.ndarray, task: str) -> Gripper | None:
    """Find the gripper in a label picture. None when no finger is visible."""
    if np.count_nonzero(seen == GREEN) < max(4, 3e-4 * seen.size):
        return None
    arm = np.where((seen == GREEN) | (seen == ARM), seen, TABLE).astype(np.uint8)
    other = (seen != GREEN) & (seen != ARM) & (seen != TABLE)
    weight = np.where(other, _HIDDEN, 1.0).astype(np.float32)
    bank = _bank(eye, task)
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
