# SPDX-License-Identifier: Apache-2.0
"""Where an arm begins: joint positions from which it reaches a workspace, and how it holds the tool there."""

from __future__ import annotations

import itertools

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.sim.ik import DifferentialIK, rotation_error
from erl_vlm_ros.sim.layout import TOOL_DOWN

_NEAR, _ALIGNED = 0.01, 0.1  # m, rad: what counts as reached
_STARTS, _STEPS = 12, 120
_MARGIN, _HEIGHT = 0.15, 0.3  # of a joint's range, m: more than that is no better


def turned(quarter: int) -> np.ndarray:
    """Tool down, turned by ``quarter`` right angles about the vertical, [3, 3]."""
    c, s = (1, 0, -1, 0)[quarter % 4], (0, 1, 0, -1)[quarter % 4]
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ TOOL_DOWN


def nearest_down(rotation: np.ndarray) -> np.ndarray:
    """The tool-down orientation, along the base's axes, that is nearest to ``rotation`` [3, 3]."""
    return max((turned(quarter) for quarter in range(4)), key=lambda down: float(np.sum(down * rotation)))


def find_home(
    ik: DifferentialIK, low: np.ndarray, high: np.ndarray, limits: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Joints [J] with the tool in the middle of a workspace (corners [3] m), and the tool's rotation there [3, 3].

    Of those that a few starts lead to, the one with room to the joint limits ([J], [J]) and its links high up. The same
    model always gives the same. ConfigError when none is found.
    """
    rng, middle = np.random.default_rng(0), 0.5 * (low + high)
    least, most = np.maximum(limits[0], -np.pi), np.minimum(limits[1], np.pi)
    starts = rng.uniform(least, most, (_STARTS, len(least)))
    starts[0] = 0.5 * (least + most)
    best, found = -np.inf, None
    for start, quarter in itertools.product(starts, range(4)):
        q = ik.solve(start, middle, _STEPS, 1e-4, turned(quarter))
        place, turn = ik.pose(q)
        if np.linalg.norm(place - middle) > _NEAR or not _points_down(turn, turned(quarter), len(q)):
            continue
        room = float(np.min(np.minimum(q - limits[0], limits[1] - q) / (limits[1] - limits[0])))
        score = min(room, _MARGIN) / _MARGIN + min(ik.lowest_link(), _HEIGHT) / _HEIGHT
        if score > best + 1e-6:
            best, found = score, (q, turned(quarter))
    if found is None:
        raise _unreachable(middle, "the middle")
    return found


def check_reach(ik: DifferentialIK, home: np.ndarray, rotation: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse a workspace of which the arm does not reach a corner. ConfigError names it and the way out."""
    for corner in itertools.product(*zip(low, high)):
        q = ik.solve(home, np.array(corner), 2 * _STEPS, 1e-4, rotation)
        if np.linalg.norm(ik.pose(q)[0] - corner) > _NEAR:
            raise _unreachable(np.array(corner), "a corner")


def _points_down(turn: np.ndarray, wanted: np.ndarray, joints: int) -> bool:
    if joints < 6:  # it turns as it can; along the vertical is enough
        return bool(turn[2, 2] < -0.9)
    return bool(np.linalg.norm(rotation_error(turn, wanted)) < _ALIGNED)


def _unreachable(point: np.ndarray, what: str) -> ConfigError:
    return ConfigError(
        f"simulation.base: the arm does not reach {what} of the task's workspace, {np.round(point, 3).tolist()} "
        "m, with its tool down: set simulation.base, base_turn or home in the robot file, or the task file's workspace",
        parameter="simulation.base",
        code=Code.DOES_NOT_FIT,
    )
