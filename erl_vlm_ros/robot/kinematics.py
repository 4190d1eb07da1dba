# SPDX-License-Identifier: Apache-2.0
"""Where the tool is and how it moves when the joints move: a serial chain out of a URDF, in numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.robot.urdf import MOVING, Urdf, UrdfJoint, parse_urdf, read_urdf


class Kinematics:
    """The chain from ``base_frame`` to ``tool_frame``.

    joint_names: J names from the base outwards; every array [J] is in that order. lower, upper [J] rad (m for a
    prismatic joint; infinite for a continuous one); velocity [J] rad/s, the URDF's limits.
    """

    def __init__(self, urdf: Urdf, base_frame: str, tool_frame: str) -> None:
        """ConfigError: unknown frames, no moving joint between them, a joint of a kind that cannot be commanded
        alone, or one without a velocity limit."""
        start, joints = urdf.chain(base_frame, tool_frame)
        moving = [joint for joint in joints if joint.kind != "fixed"]
        _check(urdf, moving, base_frame, tool_frame)
        self.base_frame, self.tool_frame = base_frame, tool_frame
        self.joint_names = tuple(joint.name for joint in moving)
        self.lower = np.array([joint.lower for joint in moving])
        self.upper = np.array([joint.upper for joint in moving])
        self.velocity = np.array([joint.velocity for joint in moving])
        self._prismatic = [joint.kind == "prismatic" for joint in moving]
        self._axes = np.array([joint.axis for joint in moving])
        self._skew = [_skew(axis) for axis in self._axes]
        self._skew_squared = [skew @ skew for skew in self._skew]
        # Fixed joints are folded into the origin of the next moving one; what is left behind the last is the tool's.
        self._origins: list[np.ndarray] = []
        pending = start
        for joint in joints:
            pending = pending @ joint.origin
            if joint.kind != "fixed":
                self._origins.append(pending)
                pending = np.eye(4)
        self._tool = pending

    def same_as(self, other: Kinematics) -> bool:
        """Whether another description says the same of this chain; meshes, colours and other joints do not matter."""
        if self.joint_names != other.joint_names or self._prismatic != other._prismatic:
            return False
        mine = (self.lower, self.upper, self.velocity, self._axes, *self._origins, self._tool)
        theirs = (other.lower, other.upper, other.velocity, other._axes, *other._origins, other._tool)
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    @classmethod
    def from_text(cls, text: str, base_frame: str, tool_frame: str, source: str = "robot_description") -> Kinematics:
        """From URDF text; ``source`` names it in messages."""
        return cls(parse_urdf(text, source), base_frame, tool_frame)

    @classmethod
    def from_file(cls, path: str | Path, base_frame: str, tool_frame: str) -> Kinematics:
        """From a URDF file."""
        return cls(read_urdf(path), base_frame, tool_frame)

    def vector(self, values: Mapping[str, float]) -> np.ndarray:
        """[J] from values by name. KeyError names the first joint that is missing."""
        return np.array([values[name] for name in self.joint_names], dtype=np.float64)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Our joints that ``names`` lacks."""
        names = set(names)
        return [name for name in self.joint_names if name not in names]

    def by_name(self, values: np.ndarray) -> dict[str, float]:
        """Values [J] by joint name."""
        return dict(zip(self.joint_names, np.asarray(values).tolist()))

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tool position [3] m and rotation [3, 3] in the base frame at joint positions ``q`` [J]."""
        tool = self._frames(q)[-1]
        return tool[:3, 3].copy(), tool[:3, :3].copy()

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """[6, J]: tool velocity (m/s over rad/s, base frame, of the tool point) per joint velocity at ``q`` [J]."""
        frames = self._frames(q)
        tool = frames[-1][:3, 3]
        out = np.zeros((6, len(self.joint_names)))
        for i, frame in enumerate(frames[:-1]):
            axis = frame[:3, :3] @ self._axes[i]
            if self._prismatic[i]:
                out[:3, i] = axis
            else:
                out[:3, i] = _cross(axis, tool - frame[:3, 3])
                out[3:, i] = axis
        return out

    def _frames(self, q: np.ndarray) -> list[np.ndarray]:
        """[4, 4] of each moving joint's child frame, then of the tool."""
        q = np.asarray(q, dtype=np.float64)
        if q.shape != (len(self.joint_names),):
            raise DataError(f"expected {len(self.joint_names)} joint positions, got shape {q.shape}", field="positions")
        frames, frame = [], np.eye(4)
        for i, position in enumerate(q):
            frame = frame @ self._origins[i]
            if self._prismatic[i]:
                frame[:3, 3] += frame[:3, :3] @ self._axes[i] * position
            else:  # Rodrigues' formula
                turn = np.sin(position) * self._skew[i] + (1.0 - np.cos(position)) * self._skew_squared[i]
                frame[:3, :3] = frame[:3, :3] + frame[:3, :3] @ turn
            frames.append(frame)
        frames.append(frame @ self._tool)
        return frames


def _check(urdf: Urdf, moving: list[UrdfJoint], base: str, tool: str) -> None:
    if not moving:
        text = (
            f"no joint moves between '{base}' and '{tool}' in the URDF of '{urdf.name}': "
            "check the parameters 'base_frame' and 'tool_frame'"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="tool_frame")
    for joint in moving:
        where = f"joint '{joint.name}' between '{base}' and '{tool}' in the URDF of '{urdf.name}'"
        if joint.kind not in MOVING:
            text = f"{where} is {joint.kind}; only {', '.join(MOVING)} joints can be commanded"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"joint.{joint.name}")
        if joint.mimics:
            text = f"{where} mimics '{joint.mimics}': choose a 'tool_frame' before it"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="tool_frame")
        if joint.velocity <= 0.0:
            text = f'{where} has no velocity limit: add <limit velocity="..."/> to it'
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter=f"joint.{joint.name}")


def _skew(axis: np.ndarray) -> np.ndarray:
    x, y, z = axis
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # numpy's cross is ten times slower for single vectors.
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
