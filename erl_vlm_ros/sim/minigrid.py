# SPDX-License-Identifier: Apache-2.0
"""MiniGrid and BabyAI as a world of discrete actions: ``minigrid/SCENE``, a stand-in for the papers' ALFRED.

Steps, missions and success are MiniGrid's own. Ours: the scene and mission follow from the episode's seed; where
MiniGrid ends an episode, the world stands still until the task's steps are over (``ended`` of the observation);
progress is the agent's nearness, in steps, to where the mission is done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.common.worlds import scene_of
from erl_vlm_ros.data.choices import CHOICE, choice_spec
from erl_vlm_ros.data.spaces import ObservationSpec, Part, Spaces
from erl_vlm_ros.sim.grid_plan import STEPS, Pose, distances, ends_before
from erl_vlm_ros.sim.minigrid_scenes import (
    ACTIONS,
    COLORS,
    DROP,
    FORWARD,
    KINDS,
    LEFT,
    RIGHT,
    SCENES,
    WORDS,
    Level,
    classes_of_step,
)

_INSTALL = "pip install minigrid"
_REACH = 8.0  # cells that a distance of 1 in the observation stands for
_TILE = 8  # px of a cell at least as it is drawn, before the image is scaled
_SLOTS = [(color, kind) for color in COLORS for kind in KINDS]
_FRONT = (*COLORS, *KINDS, "wall", "open")


def _part(name: str, *labels: str) -> Part:
    return Part(name, len(labels), "", "minigrid", labels, proprioception=True)


#: sides: cells to the next thing in front, right, behind and left; objects: of the nearest of each color and kind
#: whether it is there, and how far ahead and to the right; last_action: what was done before, none at first
PARTS = (
    WORDS.part, _part("ended", "ended"), _part("facing", "right", "down", "left", "up"),
    _part("carried", *COLORS, *KINDS), _part("front", *_FRONT), _part("sides", "front", "right", "behind", "left"),
    _part("objects", *(f"{c} {k} {what}" for c, k in _SLOTS for what in ("there", "ahead", "to the right"))),
    _part("last_action", *ACTIONS),
)  # fmt: skip


def _environment(level: Level) -> Any:
    try:
        import gymnasium
        import minigrid  # registers its environments
    except ImportError as error:
        text = f"tasks of MiniGrid need the package minigrid ({error}): {_INSTALL}"
        raise ConfigError(text, code=Code.MISSING_PACKAGE, parameter="task", remedy=_INSTALL) from error
    logging.getLogger("minigrid").debug("version %s", getattr(minigrid, "__version__", "?"))
    return gymnasium.make(level.environment, disable_env_checker=True).unwrapped


class MiniGrid:
    """One scene, or several in turn. No arm: ``choose`` in place of ``apply`` (sim/backend.py, DiscreteBackend)."""

    def __init__(self, task: Task, image_size: tuple[int, int] = (128, 128)) -> None:
        """``image_size`` is (width, height) in pixels. ConfigError: no such scene, or no package."""
        scene = scene_of(task.name)[0]
        if task.world != "minigrid" or scene not in SCENES:
            text = f"{task.path}: task '{task.name}' is none of MiniGrid's: minigrid/SCENE, of {', '.join(SCENES)}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="name", file=task.path)
        self.levels = SCENES[scene]
        self.control_period = 1.0 / task.control_hz
        self.spaces = Spaces(ObservationSpec(PARTS), choice_spec(ACTIONS))
        self._size = (int(image_size[0]), int(image_size[1]))
        self._envs = [_environment(level) for level in self.levels]
        self.reset(0)

    @property
    def missions(self) -> int:
        """Kinds of mission: of seed s it is that of number s modulo their count."""
        return len(self.levels)

    def reset(self, seed: int) -> None:
        """Start an episode; scene and mission are drawn from ``seed`` alone."""
        which = int(seed) % len(self.levels)
        self.level, self.env = self.levels[which], self._envs[which]
        self.env.reset(seed=int(seed) % 2**31)
        while self.level.target not in (None, self._wanted()):
            self.env.reset()  # goes on with the same random numbers
        self.instruction = str(self.env.mission)
        self.ended = self.success = False
        self._last: int | None = None
        self._seen: dict[str, Any] = {}
        self._plan()
        self._before = self._left()

    def _plan(self) -> None:
        """Steps from every pose to where the mission is done, on the grid as it is now."""
        grid = self.env.grid

        def free(x: int, y: int) -> bool:
            inside = 0 <= x < grid.width and 0 <= y < grid.height
            cell = grid.get(x, y) if inside else None
            return inside and (cell is None or cell.can_overlap())

        ends = [end for target in self._targets() for end in ends_before(target, self.level.facing)]
        self._steps = distances(ends, free)

    def _targets(self) -> list[tuple[int, int]]:
        """Cells of what the mission names."""
        env = self.env
        if hasattr(env, "target_pos"):
            return [tuple(int(v) for v in env.target_pos)]
        wanted = self._wanted()
        return [(x, y) for x, y, cell in self._things() if (cell.color, cell.type) == wanted]

    def _wanted(self) -> tuple[str, str]:
        """Color and kind of what the mission names."""
        env = self.env
        if hasattr(env, "instrs"):
            return env.instrs.desc.color, env.instrs.desc.type
        return (env.target_color, "door") if hasattr(env, "target_color") else (env.targetColor, env.targetType)

    def _things(self) -> list[tuple[int, int, Any]]:
        grid = self.env.grid
        cells = [(i % grid.width, i // grid.width, cell) for i, cell in enumerate(grid.grid) if cell is not None]
        return [(x, y, cell) for x, y, cell in cells if cell.type in KINDS]

    @property
    def pose(self) -> Pose:
        """Cell and direction of the agent."""
        x, y = self.env.agent_pos
        return int(x), int(y), int(self.env.agent_dir)

    def choose(self, choices: Mapping[str, int]) -> None:
        """Do one of the actions. DataError: another part than ``choice``, or no such action."""
        action = choices.get(CHOICE, -1)
        if set(choices) != {CHOICE} or not 0 <= action < len(ACTIONS):
            raise DataError(f"MiniGrid takes one of {len(ACTIONS)} actions, got {dict(choices)}", field=CHOICE)
        self._before = self._left()
        if self.ended:
            return
        _, reward, terminated, _, _ = self.env.step(action)
        self.success, self.ended, self._seen, self._last = bool(reward > 0), bool(terminated), {}, action
        if action > FORWARD:
            self._plan()

    def advice(self) -> int:
        """The next action of a shortest way to the mission's end: the demonstrator's, from the ground truth."""
        left = self._steps.get(self.pose)
        if left is None:
            return DROP if self.env.carrying is not None else RIGHT
        if left == 0:
            return FORWARD if self.level.last is None else self.level.last
        x, y, d = self.pose
        dx, dy = STEPS[d]
        after = {FORWARD: (x + dx, y + dy, d), LEFT: (x, y, (d - 1) % 4), RIGHT: (x, y, (d + 1) % 4)}
        return min(after, key=lambda action: self._steps.get(after[action], 1000))

    state = advice  # what a demonstrator looks at; the learner never sees it

    def _once(self, name: str, make: Any) -> Any:
        """What ``make`` gives, made once for each state: a world that stands still is looked at often."""
        if name not in self._seen:
            self._seen[name] = make()
        return self._seen[name]

    def observation(self) -> np.ndarray:
        """The numbers that ``spaces.observation`` names, float32 [O]."""
        return self._once("observation", self._observe).copy()

    def _observe(self) -> np.ndarray:
        env, (x, y, d) = self.env, self.pose
        (dx, dy), carried = STEPS[d], env.carrying
        slots: dict[tuple[str, str], tuple[float, float]] = {}
        for tx, ty, cell in self._things():
            ahead = (tx - x) * dx + (ty - y) * dy
            right = (ty - y) * dx - (tx - x) * dy
            before = slots.get((cell.color, cell.type))
            if before is None or abs(ahead) + abs(right) < abs(before[0]) + abs(before[1]):
                slots[cell.color, cell.type] = (ahead, right)
        told = {slot: (1.0, ahead / _REACH, right / _REACH) for slot, (ahead, right) in slots.items()}
        objects = [number for slot in _SLOTS for number in told.get(slot, (0.0, 0.0, 0.0))]
        front = env.grid.get(x + dx, y + dy)
        seen = (front.color, front.type, "open" if getattr(front, "is_open", False) else "") if front else ()
        held = (carried.color, carried.type) if carried else ()
        return np.concatenate([
            WORDS(self.instruction), [float(self.ended)], np.eye(4)[d],
            [float(name in held) for name in (*COLORS, *KINDS)],
            [float(name in seen[1:] if front and front.type == "wall" else name in seen) for name in _FRONT],
            [self._clear(STEPS[(d + turn) % 4]) / _REACH for turn in range(4)], objects,
            [float(action == self._last) for action in range(len(ACTIONS))],
        ]).astype(np.float32)  # fmt: skip

    def _clear(self, step: tuple[int, int]) -> int:
        """Cells from the agent to the next thing or wall."""
        x, y, _ = self.pose
        count, grid = 0, self.env.grid
        while True:
            x, y, count = x + step[0], y + step[1], count + 1
            if not (0 <= x < grid.width and 0 <= y < grid.height) or grid.get(x, y) is not None:
                return count

    @property
    def _most(self) -> float:
        """Steps that count as the farthest."""
        return 2.0 * (self.env.width - 2) + 2.0

    def _left(self) -> float:
        """Steps to the mission's end."""
        return self._steps.get(self.pose, self._most) + (self.level.last is not None)

    def truth(self) -> dict[str, float]:
        """progress, success and class_n as of SimBackend; progress is 0 once the mission can not be done any more."""
        left, over = self._left(), self.ended and not self.success
        near = 0.0 if self.ended else float(np.clip(1.0 - left / self._most, 0.0, 0.999))
        classes = classes_of_step(int(self._before - left), self.success, over)
        return {"progress": 1.0 if self.success else near, "success": float(self.success)} | classes

    def render(self) -> np.ndarray:
        """The whole grid from above, uint8 [height, width, 3] RGB."""
        return self._once("image", self._draw).copy()

    def _draw(self) -> np.ndarray:
        grid, (x, y, d) = self.env.grid, self.pose
        tile = max(_TILE, -(-max(self._size) // max(grid.width, grid.height)))
        image = np.zeros((grid.height * tile, grid.width * tile, 3), np.uint8)
        for i, cell in enumerate(grid.grid):  # MiniGrid's own render compares arrays at each cell
            at, row = i % grid.width, i // grid.width
            drawn = type(grid).render_tile(cell, agent_dir=d if (at, row) == (x, y) else None, tile_size=tile)
            image[row * tile : (row + 1) * tile, at * tile : (at + 1) * tile] = drawn
        if image.shape[1::-1] == self._size:
            return image
        return cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)

    def close(self) -> None:
        """Free the environments."""
        for env in self._envs:
            env.close()
