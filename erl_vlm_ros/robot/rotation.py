# SPDX-License-Identifier: Apache-2.0
"""Rotations in the forms that messages and control want. Right-handed, in rad."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.common.errors import DataError


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """[3] axis times angle of a matrix [3, 3]; the angle is below half a turn, at which the axis is lost."""
    axis = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(axis)), 0.5 * (float(np.trace(rotation)) - 1.0)
    return axis if sine < 1e-9 else axis * (np.arctan2(sine, cosine) / sine)


def rotation_by(vector: np.ndarray) -> np.ndarray:
    """[3, 3] rotation about the axis of ``vector`` [3] by its length, rad (Rodrigues); undoes rotation_vector."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector, dtype=np.float64) / angle
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * skew + (1.0 - np.cos(angle)) * (skew @ skew)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """[4] x y z w of a matrix [3, 3], w not negative; well conditioned for every rotation (Shepperd 1978)."""
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    # Four times the square of x, y, z, w: the largest is divided by.
    squares = np.array([1 + 2 * r[0, 0] - trace, 1 + 2 * r[1, 1] - trace, 1 + 2 * r[2, 2] - trace, 1 + trace])
    largest = int(np.argmax(squares))
    x, y, z = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xy, yz, zx = r[0, 1] + r[1, 0], r[1, 2] + r[2, 1], r[2, 0] + r[0, 2]
    rows = ([squares[0], xy, zx, x], [xy, squares[1], yz, y], [zx, yz, squares[2], z], [x, y, z, squares[3]])
    out = np.array(rows[largest]) / (2.0 * np.sqrt(squares[largest]))
    return out if out[3] >= 0.0 else -out


def rotation_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Rotation matrix [3, 3] of a quaternion, which is normalised. ValueError for one without a direction."""
    norm = np.sqrt(x * x + y * y + z * z + w * w)
    if not norm > 1e-6:
        raise DataError("a quaternion of length zero has no orientation (ee_pose without one?)", field="orientation")
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
