# SPDX-License-Identifier: Apache-2.0
"""Where the gripper is: draw the whole arm for a supposed tool position and compare it with what is seen.

One camera sees depth badly on a small gripper; but the arm stands at a known place and its tool points down, so the
tool's position fixes where elbow, forearm and wrist appear, and these tell the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from erl_vlm_ros.sim import standin_scene as scene
from erl_vlm_ros.sim.standin_vision import ARM, GREEN, TABLE, View, box

_ANGLES = np.linspace(0.0, 2 * np.pi, 10, endpoint=False)
_COARSE, _FINE = 16, 32  # fields across the picture
_STARTS = 3
_NUDGE = np.array([0.012, 0.012, 0.012, 0.08, 0.012])  # m, rad, m
_UPRIGHT = 10.0
_HIDDEN = 0.05  # weight of pixels that show an object: it may be in front of the arm


@dataclass(frozen=True)
class Gripper:
    """Tool point [3] in the base frame, m; tilt in the arm's plane, rad; gap between the fingers, m; misfit: share of
    wrong pixels.
    """

    position: np.ndarray
    tilt: float
    width: float
    misfit: float


def arm_solids(tool: np.ndarray, tilt: float, width: float, across: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Point sets whose hulls outline the arm, far parts first. ``across``: [2, 3], the image plane's directions."""
    x, y, _ = tool
    ring = np.cos(_ANGLES)[:, None] * across[0] + np.sin(_ANGLES)[:, None] * across[1]

    def capsule(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
        return np.concatenate([a + radius * ring, b + radius * ring])

    # an arm that presses on something gives way: the hand turns about the tool point, around y (it keeps facing x)
    c, s = np.cos(tilt), np.sin(tilt)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]).T

    def hand(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
        return tool + box(low, high) @ turn

    wrist = tool + scene.WRIST_Z[1] * turn[2]
    flange = tool + scene.WRIST_Z[0] * turn[2]
    reach, height = np.hypot(wrist[0], wrist[1]), wrist[2] - scene.SHOULDER[2]
    distance = min(np.hypot(reach, height), scene.UPPER_ARM + scene.FOREARM - 1e-6)
    inner = (scene.UPPER_ARM**2 + distance**2 - scene.FOREARM**2) / (2 * scene.UPPER_ARM * distance)
    lift = np.arctan2(height, reach) + np.arccos(np.clip(inner, -1.0, 1.0))
    out = np.array([wrist[0], wrist[1], 0.0]) / max(reach, 1e-6)
    shoulder = np.array(scene.SHOULDER)
    elbow = shoulder + scene.UPPER_ARM * (np.cos(lift) * out + [0.0, 0.0, np.sin(lift)])
    middle = elbow + scene.FOREARM_SPLIT * (wrist - elbow)
    (fx, fy), (low, high) = scene.FINGER_HALF, scene.FINGER_Z
    gap, outer = width / 2, width / 2 + 2 * fx
    px, py = scene.PALM_HALF
    return [
        (capsule(shoulder, elbow, scene.UPPER_RADIUS), ARM),
        (capsule(elbow, middle, scene.FOREARM_RADII[0]), ARM),
        (capsule(middle, wrist, scene.FOREARM_RADII[1]), ARM),
        (capsule(wrist, flange, scene.WRIST_RADIUS), ARM),
        (hand((gap, -fy, low), (outer, fy, high)), GREEN),
        (hand((-outer, -fy, low), (-gap, fy, high)), GREEN),
        (hand((-px, -py, scene.PALM_Z[0]), (px, py, scene.PALM_Z[1])), ARM),
    ]


def draw(view: View, p: np.ndarray) -> np.ndarray:
    """Labels uint8 [h, w] of the arm alone, for parameters x, y, z, tilt, width."""
    return view.draw(arm_solids(p[:3], p[3], p[4], view.rotation[:2]))


class _Fields:
    """Shares of green and of arm in coarse fields of a picture: smooth in the arm's position, unlike single pixels."""

    def __init__(self, arm: np.ndarray, weight: np.ndarray, cells: int) -> None:
        self._weight, self._cells = weight, cells
        self._target = self.of(arm)

    def of(self, picture: np.ndarray) -> np.ndarray:
        parts = [(picture == label) * self._weight for label in (GREEN, ARM)]
        return np.concatenate([cv2.resize(p, (self._cells,) * 2, interpolation=cv2.INTER_AREA).ravel() for p in parts])

    def error(self, view: View, p: np.ndarray) -> np.ndarray:
        return self.of(draw(view, p)) - self._target


@lru_cache(maxsize=4)
def _bank(view: View, task: str) -> tuple[np.ndarray, ...]:
    """Coarse grid of arms: parameters [K, 5], their fields [K, 2 * cells^2], the fields' squared lengths [K]."""
    low, high, can_open = scene.REACH[task]
    axes = [np.linspace(a, b, 2 + int((b - a) / 0.035)) for a, b in zip(low, high)]
    axes += [np.array([-0.25, 0.0, 0.25]), np.array([0.0, 0.04, 0.08]) if can_open else np.zeros(1)]
    parameters = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 5)
    blank = np.zeros((view.height, view.width), np.uint8)
    fields = _Fields(blank, np.ones(blank.shape, np.float32), _COARSE)
    drawn = np.array([fields.of(draw(view, p)) for p in parameters], np.float32)
    return parameters, drawn, np.einsum("kf,kf->k", drawn, drawn)


def look(view: View, seen: np.ndarray, task: str) -> Gripper | None:
    """Find the gripper in a label picture. None when no finger is visible."""
    if np.count_nonzero(seen == GREEN) < max(4, 3e-4 * seen.size):
        return None
    arm = np.where((seen == GREEN) | (seen == ARM), seen, TABLE).astype(np.uint8)
    other = (seen != GREEN) & (seen != ARM) & (seen != TABLE)
    low, high, can_open = scene.REACH[task]
    free = np.arange(5 if can_open else 4)
    bounds = np.array([*(v - 0.03 for v in low), -0.5, 0.0]), np.array([*(v + 0.03 for v in high), 0.5, 0.08])
    parameters, drawn, lengths = _bank(view, task)
    plain = _Fields(arm, np.ones(arm.shape, np.float32), _COARSE).of(arm)
    distance = lengths - 2 * (drawn @ plain)
    starts: list[np.ndarray] = []
    for i in np.argsort(distance)[:200]:
        if all(np.linalg.norm(parameters[i, :3] - s[:3]) > 0.05 for s in starts):
            starts.append(parameters[i])
            if len(starts) == _STARTS:
                break
    weight = np.where(other, _HIDDEN, 1.0).astype(np.float32)
    coarse, fine = _Fields(arm, weight, _COARSE), _Fields(arm, weight, _FINE)
    settled = [_settle(view, s, coarse, free, 2, *bounds) for s in starts]
    best = min(settled, key=lambda r: r[1])[0]
    best, _ = _settle(view, best, fine, free, 4, *bounds)
    wrong = (draw(view, best) != arm) & ~other
    return Gripper(best[:3], float(best[3]), float(best[4]), np.count_nonzero(wrong) / max(1, np.count_nonzero(arm)))


def _settle(
    view: View, best: np.ndarray, fields: _Fields, free: np.ndarray, turns: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, float]:
    """Gauss-Newton on the fields: (parameters, squared error)."""
    now = fields.error(view, best)
    for _ in range(turns):
        columns = []
        for i in free:
            p = best.copy()
            p[i] += _NUDGE[i]
            columns.append((fields.error(view, p) - now) / _NUDGE[i])
        jacobian = np.stack(columns, axis=1)
        gram, pull = jacobian.T @ jacobian, jacobian.T @ now
        gram[np.diag_indices_from(gram)] += 1.0
        gram[3, 3] += _UPRIGHT
        pull[3] += _UPRIGHT * best[3]  # the tool points down unless it is seen not to
        change = np.zeros(5)
        change[free] = -np.linalg.solve(gram, pull)
        for _ in range(3):
            p = np.minimum(np.maximum(best + change, low), high)
            then = fields.error(view, p)
            if then @ then < now @ now:
                best, now = p, then
                break
            change *= 0.35
        else:
            break
    return best, float(now @ now)
