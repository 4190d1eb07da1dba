# SPDX-License-Identifier: Apache-2.0
"""A scene that a task file brings: its MJCF joined with the arm's, and its ground truth out of expressions."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.scene_rules import SceneRules
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.robot.spec import OUR_ARM
from erl_vlm_ros.sim.attach import read
from erl_vlm_ros.sim.layout import ArmLayout
from erl_vlm_ros.sim.state import SimState
from erl_vlm_ros.sim.tasks import SimTask

_OBJECTS = {
    "joint": mujoco.mjtObj.mjOBJ_JOINT, "speed": mujoco.mjtObj.mjOBJ_JOINT, "site": mujoco.mjtObj.mjOBJ_SITE,
    "body": mujoco.mjtObj.mjOBJ_BODY,
}  # fmt: skip
_CAMERA = "camera"
_PREFIX = "scene/"  # of the scene's names in the joined model: an arm may use the same ones


def join(task: Task) -> mujoco.MjSpec:
    """The task's scene on the table of our arm, with our arm, its drives, time step and lights.

    Raises:
        ConfigError: it cannot be read, or has no camera.
    """
    whole = read(resource(OUR_ARM), "scene")
    scene = read(task.scene, "scene")
    if scene.camera(_CAMERA) is None:
        text = f"scene: {task.scene} has no camera named {_CAMERA}"
        raise ConfigError(text, parameter="scene", file=task.scene, code=Code.DOES_NOT_FIT)
    for element in [*scene.keys, *scene.lights]:
        scene.delete(element)
    whole.attach(scene, frame=whole.worldbody.add_frame(), prefix=_PREFIX)
    if task.use_gripper:  # as in our own scene with a grasp: at 5 ms things slip out of the fingers
        whole.option.timestep = 0.0025
    whole.camera(_PREFIX + _CAMERA).name = _CAMERA
    return whole


class OwnTask(SimTask):
    """Random starts and truth by the rules of a task file."""

    start_width = 0.0

    def __init__(self, task: Task) -> None:
        self._task, self._rules = task, _rules_of(task)
        self.name = task.name
        low, high = self._rules.start or (task.workspace_min, task.workspace_max)
        self.start_min, self.start_max = low, high
        self.start_width = 0.08 if task.use_gripper else 0.0

    @property
    def object_site(self) -> str:
        return self._rules.object and _PREFIX + self._rules.object

    def bind(self, model: mujoco.MjModel, data: mujoco.MjData, layout: ArmLayout) -> None:
        """Look up every name once. ConfigError: the scene has it not."""
        self._model, self._data = model, data
        self._tool = model.site(layout.tool_site).id
        self._driven, self._layout = [model.joint(name).qposadr[0] for name in layout.driven], layout
        self._ids: dict[tuple[str, str], int] = {}
        for key, expression in self._rules.expressions():
            for kind, name in expression.names:
                self._ids[kind, name] = self._find(kind, name, key)
        for body in self._rules.place:
            self._find("body", body, f"simulation.place.{body}")
        if self.object_site:
            self._find("site", self._rules.object, "simulation.object")

    def _find(self, kind: str, name: str, key: str) -> int:
        found = mujoco.mj_name2id(self._model, _OBJECTS[kind], _PREFIX + name)
        if found < 0:
            count, get = {
                "joint": (self._model.njnt, self._model.joint), "speed": (self._model.njnt, self._model.joint),
                "site": (self._model.nsite, self._model.site), "body": (self._model.nbody, self._model.body),
            }[kind]  # fmt: skip
            names = (get(i).name for i in range(count))
            known = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
            what = "joint" if kind == "speed" else kind
            raise ConfigError(
                f"{self._task.path}: {key}: {self._task.scene} has no {what} '{name}'; it has "
                f"{', '.join(known) or 'none'}",
                parameter=key, file=self._task.path, code=Code.UNKNOWN)  # fmt: skip
        if kind in ("joint", "speed") and self._model.jnt_type[found] not in (2, 3):
            text = f"{self._task.path}: {key}: joint '{name}' neither turns nor slides: use site or body"
            raise ConfigError(text, parameter=key, code=Code.DOES_NOT_FIT, file=self._task.path)
        return found

    # What expressions look up.

    def value(self, name: str) -> Any:
        """tool [3] m, width m, time s."""
        if name == "tool":
            return self._data.site_xpos[self._tool]
        return float(self._data.time) if name == "time" else self._layout.width(self._data.qpos[self._driven])

    def look_up(self, kind: str, name: str) -> Any:
        """A joint's position or speed, a site's or body's place."""
        found, data = self._ids[kind, name], self._data
        if kind == "joint":
            return float(data.qpos[self._model.jnt_qposadr[found]])
        if kind == "speed":
            return float(data.qvel[self._model.jnt_dofadr[found]])
        return data.site_xpos[found] if kind == "site" else data.xpos[found]

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        for name, where in self._rules.place.items():
            body = model.body(_PREFIX + name)
            position, yaw = rng.uniform(where.low, where.high), rng.uniform(*where.yaw)
            turn = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
            joint = int(body.jntadr[0])
            if body.jntnum[0] and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
                first = model.jnt_qposadr[joint]
                data.qpos[first : first + 7] = [*position, *turn]
            else:
                body.pos[:], body.quat[:] = position, turn

    def rung(self, state: SimState) -> int:
        return self.truth_class(state, 5)

    def progress(self, state: SimState) -> float:
        value = self._rules.progress(self)
        return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0

    def success(self, state: SimState) -> bool:
        return self._holds(self._rules.success)

    def truth_class(self, state: SimState, n: int) -> int:
        conditions = self._rules.classes.get(n)
        if conditions is None:
            return n - 1 if self.success(state) else min(int(self.progress(state) * (n - 1)), n - 2)
        return max((k for k, condition in enumerate(conditions, 1) if self._holds(condition)), default=0)

    def _holds(self, condition: Any) -> bool:
        value = condition(self)
        return math.isfinite(value) and value != 0.0


def _rules_of(task: Task) -> SceneRules:
    if task.rules is None:
        text = f"{task.path}: scene needs simulation: progress and success"
        raise ConfigError(text, parameter="simulation", code=Code.NOT_GIVEN, file=task.path)
    return task.rules
