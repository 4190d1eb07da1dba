# SPDX-License-Identifier: Apache-2.0
"""The simulated tasks: random starts, and ground truth (progress, success, classes) for evaluation only.

The classes follow the descriptions in ``config/tasks/NAME.yaml``. Every task defines five rungs by physical
limits; fewer classes merge neighbouring rungs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import mujoco
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.sim.layout import ArmLayout
from erl_vlm_ros.sim.state import SimState


class SimTask(ABC):
    """Base of a task. ``start_min``/``start_max``: box of the tool's random start, metres, base frame."""

    name: str
    start_min: tuple[float, float, float]
    start_max: tuple[float, float, float]
    start_width = 0.0
    #: n -> class of each of the five rungs, worst first
    merge = {2: (0, 0, 0, 0, 1), 3: (0, 0, 1, 1, 2), 4: (0, 1, 2, 2, 3), 5: (0, 1, 2, 3, 4)}

    @property
    def scene(self) -> str:
        """The task's MJCF file, a shipped resource."""
        return f"sim/{self.name}.xml"

    @property
    def object_site(self) -> str:
        """What object_pose tells of; empty: nothing."""
        return "object"

    def bind(self, model: mujoco.MjModel, data: mujoco.MjData, layout: ArmLayout) -> None:  # noqa: B027  by option
        """The compiled scene, before anything else is asked."""

    @abstractmethod
    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Put the task's object somewhere random. ``data`` is at its default state."""

    @abstractmethod
    def rung(self, state: SimState) -> int:
        """0 (worst) .. 4 (done)."""

    @abstractmethod
    def progress(self, state: SimState) -> float:
        """Smooth progress in [0, 1]: reach, then manipulate."""

    def success(self, state: SimState) -> bool:
        """Whether the task is done at this instant."""
        return self.rung(state) == 4

    def truth_class(self, state: SimState, n: int) -> int:
        """True class 0..n-1 among the n classes of the task file. ConfigError unless n is 2..5."""
        if n not in self.merge:
            raise ConfigError(f"n_classes {n}: the simulated tasks know 2 to 5 classes", parameter="n_classes")
        return self.merge[n][self.rung(state)]

    def object_position(self, state: SimState) -> np.ndarray:
        """Drawer: centre of the handle; otherwise the centre of the block. Metres, base frame, [3]."""
        return state.object_position


class DrawerOpen(SimTask):
    """Pull the drawer out by its handle bar."""

    name = "drawer_open"
    start_min, start_max = (0.38, -0.13, 0.14), (0.48, 0.13, 0.25)
    handle_half_length = 0.045
    near, crack, half, done = 0.06, 0.015, 0.08, 0.17  # m

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        cabinet = model.body("cabinet")
        cabinet.pos[:2] = 0.60 + rng.uniform(-0.015, 0.015), rng.uniform(-0.07, 0.07)

    def handle_distance(self, state: SimState) -> float:
        """From the tool point to the nearest point of the handle bar, m."""
        return float(np.linalg.norm(self._offset(state)))

    def _offset(self, state: SimState) -> np.ndarray:
        offset = state.ee_position - state.object_position
        offset[1] -= np.clip(offset[1], -self.handle_half_length, self.handle_half_length)
        return offset

    def rung(self, state: SimState) -> int:
        if state.opening >= self.crack:
            return 2 + (state.opening >= self.half) + (state.opening >= self.done)
        return int(self.handle_distance(state) < self.near)

    def progress(self, state: SimState) -> float:
        behind = self._offset(state) - (0.025, 0.0, 0.0)  # the hooking point, between bar and drawer front
        reach = np.exp(-np.linalg.norm(behind) / 0.12)
        return float(0.3 * reach + 0.7 * np.clip(state.opening / 0.18, 0.0, 1.0))


class SweepInto(SimTask):
    """Push the block into the round zone."""

    name = "sweep_into"
    start_min, start_max = (0.27, -0.14, 0.095), (0.39, 0.14, 0.13)
    half_size = 0.0375
    near = 0.045  # tool point to the block's surface
    approached, edge, done = 0.17, 0.12, 0.065  # block centre to zone centre

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = rng.uniform(-0.3, 0.3)
        position = rng.uniform(0.34, 0.39), rng.uniform(-0.05, 0.05), self.half_size
        data.joint("block").qpos = (*position, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))

    def block_distance(self, state: SimState) -> float:
        """From the tool point to the block's surface, m."""
        local = np.abs(state.object_rotation.T @ (state.ee_position - state.object_position)) - self.half_size
        return float(np.linalg.norm(np.maximum(local, 0.0)))

    def zone_distance(self, state: SimState) -> float:
        """Horizontal distance of the block's centre from the zone's centre, m."""
        return float(np.hypot(*(state.object_position - state.goal)[:2]))

    def rung(self, state: SimState) -> int:
        distance = self.zone_distance(state)
        if distance < self.approached:
            return 2 + (distance < self.edge) + (distance < self.done)
        return int(self.block_distance(state) < self.near)

    def progress(self, state: SimState) -> float:
        away = (state.object_position - state.goal)[:2]
        distance = np.hypot(*away)
        behind = np.array([*(state.object_position[:2] + 0.05 * away / max(distance, 0.05)), 0.04])
        reach = np.exp(-np.linalg.norm(state.ee_position - behind) / 0.12)
        return float(0.25 * reach + 0.75 * np.clip(1.0 - distance / 0.30, 0.0, 1.0))


class PickPlace(SimTask):
    """Grasp the block, lift it, and let it go on the raised plate."""

    name = "pick_place"
    start_min, start_max = (0.32, -0.12, 0.12), (0.46, 0.12, 0.19)
    start_width = 0.08
    half_size, plate_height, plate_radius = 0.0225, 0.025, 0.07
    near, lifted, above = 0.04, 0.02, 0.07
    settled, released = 0.008, 0.052

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        position = rng.uniform(0.34, 0.42), rng.uniform(-0.08, 0.08), self.half_size
        data.joint("block").qpos = (*position, 1.0, 0.0, 0.0, 0.0)

    def block_distance(self, state: SimState) -> float:
        """From the tool point to the block's centre, m."""
        return float(np.linalg.norm(state.ee_position - state.object_position))

    def plate_distance(self, state: SimState) -> float:
        """Horizontal distance of the block's centre from the plate's centre, m."""
        return float(np.hypot(*(state.object_position - state.goal)[:2]))

    def rung(self, state: SimState) -> int:
        height, distance = state.object_position[2] - self.half_size, self.plate_distance(state)
        if distance < self.above and height > self.plate_height - 0.005:
            resting = height < self.plate_height + self.settled
            return 4 if resting and state.gripper_width > self.released else 3
        if height > self.lifted:
            return 2
        return int(self.block_distance(state) < self.near)

    def progress(self, state: SimState) -> float:
        height, distance = state.object_position[2] - self.half_size, self.plate_distance(state)
        if self.rung(state) == 4:
            return 1.0
        reach = np.exp(-self.block_distance(state) / 0.12)
        lift = np.clip(height / 0.06, 0.0, 1.0)
        carry = lift * np.clip(1.0 - distance / 0.25, 0.0, 1.0)
        return float(0.25 * reach + 0.25 * lift + 0.4 * carry)


TASKS: dict[str, type[SimTask]] = {cls.name: cls for cls in (DrawerOpen, SweepInto, PickPlace)}


def make_task(name: str) -> SimTask:
    """The simulated task called ``name``. ConfigError when there is none."""
    if name not in TASKS:
        raise ConfigError(
            f"unknown simulated task '{name}'; known: {', '.join(sorted(TASKS))}", code=Code.UNKNOWN, parameter="task"
        )
    return TASKS[name]()
