# SPDX-License-Identifier: Apache-2.0
"""Keeps joints away from their limits. Radians (metres for a prismatic joint)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError

_DAMPING = 0.05  # of the least-squares inverse: near a singularity joints are not taken to be infinitely fast
_SLOW = 1e-3  # rad/s: a joint that moves less is not moving towards its limit


class JointMargin:
    """No motion goes nearer to a joint limit than ``margin``; over as much again before it, motion gets slower.

    With the arm's Jacobian only motion towards the limit is slowed. Without it the guard remembers in which
    direction the tool went when the joint came near, and lets it go back against that direction only.
    """

    def __init__(self, names: Sequence[str], lower: Sequence[float], upper: Sequence[float], margin: float) -> None:
        """``lower``, ``upper``: limits of ``names``, may be infinite. ConfigError: lengths or order do not fit."""
        if not len(names) == len(lower) == len(upper):
            text = (
                f"controller_joints has {len(names)} entries, joint_lower {len(lower)}, joint_upper {len(upper)}: "
                "give as many limits as joints"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.controller_joints")
        for name, low, high in zip(names, lower, upper):
            if not high - low > 2 * margin:
                text = f"joint '{name}' has no room between {low:g} and {high:g} with joint_margin {margin:g}"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.joint_margin")
        self.names, self.margin = tuple(names), margin
        self._lower, self._upper = tuple(map(float, lower)), tuple(map(float, upper))
        self._entered: dict[str, tuple[float, ...]] = {}  # joint -> tool velocity that led it near its limit

    def limit(
        self, twist: Sequence[float], positions: Mapping[str, float], executed: Sequence[float], kinematics: Any = None
    ) -> tuple[float, str]:
        """Factor 0..1 for the desired ``twist`` [6] (m/s, rad/s), and the reason when it is below 1.

        ``positions``: newest joint positions by name; ``executed`` [6]: the twist sent last. ``kinematics``: has
        joint_names and jacobian(q) -> [6, J].
        """
        missing = [name for name in self.names if name not in positions]
        if missing:
            return 0.0, f"joint_states has not shown {', '.join(missing)} yet"
        near = self._near(positions)
        for name in [name for name in self._entered if name not in near]:
            del self._entered[name]
        if not near or not any(twist):
            return 1.0, ""
        rates = self._rates(twist, positions, kinematics) if kinematics is not None else None
        factor, why = 1.0, ""
        for name, (room, side) in near.items():
            if rates is not None:
                towards = rates.get(name, 0.0) * side > _SLOW
            else:
                towards = self._towards(name, twist, executed)
            allowed = max(0.0, room / self.margin)
            if towards and allowed < factor:
                factor, why = allowed, f"joint '{name}' {'at its margin' if allowed == 0.0 else 'near its limit'}"
        return factor, why

    def problem(self, positions: Mapping[str, float]) -> str:
        """Why the arm must not be brought to ``positions``, rad by name; empty: every joint keeps its margin there."""
        for name, low, high in zip(self.names, self._lower, self._upper):
            q = positions.get(name)
            if q is not None and not low + self.margin <= q <= high - self.margin:
                return (
                    f"joint '{name}' at {q:g} is nearer to its limits {low:g} to {high:g} than joint_margin "
                    f"{self.margin:g}"
                )
        return ""

    def _near(self, positions: Mapping[str, float]) -> dict[str, tuple[float, int]]:
        """Joint -> (room before the margin, side of the limit) of joints that are slowed."""
        out = {}
        for name, low, high in zip(self.names, self._lower, self._upper):
            q = positions[name]
            room, side = min((q - low, -1), (high - q, 1))
            if room < 2 * self.margin:
                out[name] = (room - self.margin, side)
        return out

    @staticmethod
    def _rates(twist: Sequence[float], positions: Mapping[str, float], kinematics: Any) -> dict[str, float]:
        names = kinematics.joint_names
        jacobian = kinematics.jacobian(np.array([positions[name] for name in names]))
        square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
        rates = jacobian.T @ np.linalg.solve(square, np.asarray(twist, np.float64))
        return dict(zip(names, rates.tolist()))

    def _towards(self, name: str, twist: Sequence[float], executed: Sequence[float]) -> bool:
        entered = self._entered.get(name)
        if entered is None:
            if math.hypot(*executed) < _SLOW:
                return True  # unknown which way leads out: nothing is allowed that might lead in
            entered = self._entered[name] = tuple(executed)
        return sum(a * b for a, b in zip(twist, entered)) >= 0.0
