# SPDX-License-Identifier: Apache-2.0
"""Scripted policies that solve the tasks from the simulator's state, as demonstrations."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.sim.state import MAX_WIDTH, SimState

_GAIN = 6.0  # 1/s, from position error to velocity


class Oracle:
    """A policy over SimState. Call it once per control step; make a new one for every episode."""

    def __init__(self, task_name: str, speed: float = 0.5, persistent: bool = False) -> None:
        """``speed``: limit per axis, m/s. ``persistent``: begin anew after slipping off the handle, as a demonstrator
        does whose commands are disturbed. ConfigError for an unknown task."""
        plans = {"drawer_open": self._drawer, "sweep_into": self._sweep, "pick_place": self._pick}
        if task_name not in plans:
            text = f"no scripted policy for task '{task_name}'; known: {', '.join(sorted(plans))}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="task")
        self._plan, self._speed, self._phase, self._wait = plans[task_name], speed, 0, 0
        self._persistent = persistent

    def __call__(self, state: SimState) -> tuple[np.ndarray, float]:
        """Velocity [3] m/s in the base frame and gripper width m."""
        target, width = self._plan(state)
        return np.clip(_GAIN * (target - state.ee_position), -self._speed, self._speed), width

    def action(self, state: SimState, action_dim: int) -> np.ndarray:
        """The same as an environment's action in [-1, 1], [action_dim]."""
        velocity, width = self(state)
        gripper = width / (0.5 * MAX_WIDTH) - 1.0
        return np.array([*(velocity / self._speed), gripper][:action_dim], dtype=np.float32)

    def _drawer(self, state: SimState) -> tuple[np.ndarray, float]:
        handle, ee = state.object_position, state.ee_position
        hook = handle + (0.03, 0.0, 0.0)
        if self._phase == 0:  # above the gap between bar and front, then down
            above = hook + (0.0, 0.0, 0.05)
            if np.linalg.norm((ee - above)[:2]) < 0.015 and ee[2] > handle[2] + 0.025:
                self._phase = 1
            low_and_away = ee[2] < handle[2] + 0.04 and np.linalg.norm((ee - above)[:2]) > 0.03
            return (np.array([*ee[:2], above[2] + 0.02]) if low_and_away else above), 0.0
        if self._phase == 1:
            if ee[2] < handle[2] + 0.006:
                self._phase = 2
            return hook, 0.0
        if self._persistent:
            if ee[2] > handle[2] + 0.025 or np.linalg.norm((ee - hook)[:2]) > 0.06:  # slipped off
                self._phase = 0
            return handle + (-0.15 if state.opening < 0.19 else 0.015, 0.0, 0.0), 0.0
        return handle + (-0.15 if state.opening < 0.175 else 0.015, 0.0, 0.0), 0.0

    def _sweep(self, state: SimState) -> tuple[np.ndarray, float]:
        block, ee = state.object_position, state.ee_position
        away = (block - state.goal)[:2]
        distance = np.linalg.norm(away)
        if distance < 0.025:
            return np.array([*ee[:2], 0.12]), 0.0
        behind = block[:2] + (0.085 / distance) * away
        if self._phase == 0:
            if np.linalg.norm(ee[:2] - behind) < 0.03:
                self._phase = 1
            return np.array([*behind, 0.12 if np.linalg.norm(ee[:2] - behind) > 0.05 else 0.04]), 0.0
        if self._phase == 1:
            if ee[2] < 0.05:
                self._phase = 2
            return np.array([*behind, 0.04]), 0.0
        sideways = abs(np.cross([*(away / distance), 0.0], [*(ee[:2] - block[:2]), 0.0])[2])
        if sideways > 0.035:
            self._phase = 0
        step = min(0.06, 0.015 + 0.45 * distance)  # slower near the end, so that the block does not slide on
        return np.array([*(ee[:2] - away / distance * step), 0.04]), 0.0

    def _pick(self, state: SimState) -> tuple[np.ndarray, float]:
        block, ee, goal = state.object_position, state.ee_position, state.goal
        if self._phase == 0:  # over the block
            if np.linalg.norm((ee - block)[:2]) < 0.008:
                self._phase = 1
            return np.array([*block[:2], 0.11]), 0.08
        if self._phase == 1:  # down around it
            if ee[2] < 0.026:
                self._phase = 2
            return np.array([*block[:2], 0.022]), 0.08
        if self._phase == 2:  # close
            self._wait += 1
            if self._wait >= 4:
                self._phase = 3
            return np.array([*ee[:2], 0.022]), 0.0
        if self._phase == 3:  # lift
            if ee[2] > 0.085:
                self._phase = 4
            return np.array([*ee[:2], 0.1]), 0.0
        if self._phase == 4:  # carry
            if np.linalg.norm((block - goal)[:2]) < 0.012:
                self._phase = 5
            return np.array([*(ee[:2] + (goal - block)[:2]), 0.1]), 0.0
        if self._phase == 5:  # lower
            if block[2] < goal[2] + 0.006:
                self._phase, self._wait = 6, 0
            return ee + (goal - block) - (0.0, 0.0, 0.01), 0.0
        self._wait += 1
        return np.array([*ee[:2], ee[2] if self._wait < 3 else 0.16]), 0.08
