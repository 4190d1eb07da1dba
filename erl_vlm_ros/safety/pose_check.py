# SPDX-License-Identifier: Apache-2.0
"""Whether ee_pose is where forward kinematics of the joints say that the tool is. Pure; times s, lengths m, angles rad.

Either may lie: a tracker that lost its target, a calibration, a frame that is another one than the URDF's. The guard
cannot know which, so it does not move the arm while they contradict each other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.robot.rotation import rotation_vector

_MEMORY_S = 1.5  # of tool poses from the joints, for poses that are long under way
_EVERY_S = 0.005  # joint states that follow each other faster are not all looked at
_SKEW_S = 0.03  # by which the two measurements may be off in time: a moving tool is allowed that much way
_SHARE = 1 / 3  # of contradicting poses that counts as contradiction: two publishers may take turns
_FEWEST = 3
_LEAST_WINDOW = 6  # poses that are looked at together, however slowly they come
_FORGOTTEN_S = 3.0  # without any comparison
_GAP_S = 0.25  # between two joint states: what lies further apart says nothing about the time between


class PoseCheck:
    """Compares poses with forward kinematics at the time of their measurement."""

    def __init__(self, tolerance_m: float, tolerance_rad: float, hold_s: float = 0.15) -> None:
        """A tolerance of 0: not compared. ``hold_s``: how long they must contradict each other."""
        self._tolerance, self._tolerance_rad, self._hold = tolerance_m, tolerance_rad, hold_s
        self._from_joints: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=400)
        self._waiting: deque[tuple[float, np.ndarray, np.ndarray | None]] = deque(maxlen=64)
        self._results: deque[tuple[float, bool]] = deque(maxlen=1000)
        self._text = ""  # of the newest contradiction
        self.error_m = self.error_rad = 0.0  # of the newest pose that was compared

    @property
    def on(self) -> bool:
        """Whether anything is compared."""
        return self._tolerance > 0.0 or self._tolerance_rad > 0.0

    def wants(self, at: float) -> bool:
        """Whether forward kinematics at ``at`` are worth computing."""
        if not self.on or not self._from_joints:
            return self.on
        return not 0.0 <= at - self._from_joints[-1][0] < _EVERY_S

    def joints(self, at: float, position: np.ndarray, rotation: np.ndarray) -> None:
        """The tool as the joints measured at ``at`` have it: [3] and [3, 3]. Calls come in the order of measurement."""
        # One before this that says it is newer was dated late, by a guard that was held up meanwhile.
        while self._from_joints and self._from_joints[-1][0] >= at:
            self._from_joints.pop()
        self._from_joints.append((at, position, rotation))
        while self._from_joints[0][0] < at - _MEMORY_S:
            self._from_joints.popleft()
        while self._waiting and self._waiting[0][0] <= at:
            self._compare(*self._waiting.popleft())

    def pose(self, at: float, position: Sequence[float], quaternion: Sequence[float] | None) -> None:
        """ee_pose as measured at ``at``: [3], and x y z w; anything but a unit quaternion says no orientation."""
        if not self.on:
            return
        entry = (at, np.array(position, np.float64), _matrix(quaternion))
        if self._from_joints and at <= self._from_joints[-1][0]:
            self._compare(*entry)
        else:
            self._waiting.append(entry)

    def problem(self, now: float) -> str:
        """How they contradict each other, once they have for long enough; else empty."""
        if not self._results or now - self._results[-1][0] > _FORGOTTEN_S:
            return ""
        newest = self._results[-1][0]
        while len(self._results) > _LEAST_WINDOW and self._results[0][0] < newest - 1.5 * self._hold:
            self._results.popleft()
        bad = [at for at, wrong in self._results if wrong]
        if len(bad) < _FEWEST or len(bad) < _SHARE * len(self._results):
            return ""
        return self._text if newest - bad[0] >= self._hold - 1e-9 else ""

    def _compare(self, at: float, position: np.ndarray, rotation: np.ndarray | None) -> None:
        found = self._at(at)
        if found is None:
            return
        expected, turned, speed, turn_speed = found
        apart = position - expected
        self.error_m, self.error_rad = float(np.linalg.norm(apart)), 0.0
        wrong = 0.0 < self._tolerance < self.error_m - speed * _SKEW_S
        if rotation is not None:
            self.error_rad = _angle(turned.T @ rotation)
            wrong = wrong or 0.0 < self._tolerance_rad < self.error_rad - turn_speed * _SKEW_S
        if wrong:
            x, y, z = (1e3 * turned.T @ apart).tolist()
            self._text = (
                f"ee_pose is {1e3 * self.error_m:.0f} mm and {self.error_rad:.2f} rad away from where joint_states "
                f"and the URDF have the tool, by [{x:.0f}, {y:.0f}, {z:.0f}] mm along the tool's own axes: if that "
                "is the same wherever the arm stands, ee_pose is of another frame (check tool_frame, base_frame and "
                "the tool that the driver knows of); else a tracker or a calibration is wrong. pose_tolerance_m and "
                "pose_tolerance_rad say how much is allowed"
            )
        self._results.append((at, wrong))

    def _at(self, at: float) -> tuple[np.ndarray, np.ndarray, float, float] | None:
        """Position, rotation, speed and turning speed from the joints at ``at``; None: there are none around it."""
        after = None
        for entry in reversed(self._from_joints):
            if entry[0] > at:
                after = entry
                continue
            if after is None:
                return (entry[1], entry[2], 0.0, 0.0) if entry[0] == at else None
            span = after[0] - entry[0]
            if span > _GAP_S:
                return None
            share = (at - entry[0]) / span
            way = after[1] - entry[1]
            nearest = after if share > 0.5 else entry
            turn = _angle(entry[2].T @ after[2]) / span
            # The nearer of the two rotations may be off by the turn within half the span.
            return entry[1] + share * way, nearest[2], float(np.linalg.norm(way)) / span, turn * (1 + span / _SKEW_S)
        return None


def _matrix(quaternion: Sequence[float] | None) -> np.ndarray | None:
    if quaternion is None:
        return None
    x, y, z, w = quaternion
    if not abs(math.hypot(x, y, z, w) - 1.0) < 0.01:
        return None
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _angle(rotation: np.ndarray) -> float:
    """Of a rotation matrix, 0 to pi."""
    cosine = 0.5 * (float(np.trace(rotation)) - 1.0)
    if cosine < -0.99:
        return math.pi  # where the axis is lost
    return float(np.linalg.norm(rotation_vector(rotation)))
