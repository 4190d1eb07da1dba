# SPDX-License-Identifier: Apache-2.0
"""How another arm than ours looks from a camera: its model's shapes, for any supposed place of the tool.

As who built the set-up knows the arm that stands in it; where it is in an image has still to be seen.
"""

from __future__ import annotations

import mujoco
import numpy as np

from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.standin.vision import ARM, GREEN, View

_ITERATIONS = 12
_RING = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))], 1
)


class RobotArm:
    """The robot of a robot file in a task's scene."""

    def __init__(self, robot: str, task: str) -> None:
        """ConfigError: it cannot be simulated."""
        self._sim = SimArm(task, (64, 64), load_robot(robot))
        model, layout = self._sim.model, self._sim.layout
        self._data = mujoco.MjData(model)
        self._gripper = {model.body(name).id for name in layout.tool_bodies}
        self._geoms = [g for g in range(model.ngeom) if _on_robot(model, int(model.geom_bodyid[g]))]
        self._points = [_outline(model, g) for g in self._geoms]
        self._labels = [GREEN if int(model.geom_bodyid[g]) in self._gripper else ARM for g in self._geoms]
        self._qpos = [model.joint(name).qposadr[0] for name in layout.joints]
        self._fingers = [model.joint(name).qposadr[0] for name in layout.driven]

    def solids(self, eye: View, tool: np.ndarray, tilt: float, width: float) -> list[tuple[np.ndarray, int]]:
        """Point sets [N, 3] whose hulls outline the arm with its tool at ``tool`` [3], tilted about y, and their
        labels; far parts first."""
        sim, data, layout = self._sim, self._data, self._sim.layout
        c, s = np.cos(tilt), np.sin(tilt)
        rotation = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ layout.tool_rotation
        data.qpos[self._qpos] = sim.inverse(tool, rotation, _ITERATIONS)
        data.qpos[self._fingers] = layout.finger_target(width)
        mujoco.mj_kinematics(sim.model, data)
        places = data.geom_xpos[self._geoms]
        turns = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        order = np.argsort(-np.linalg.norm(places - eye.position, axis=1))
        return [(places[i] + self._points[i] @ turns[i].T, self._labels[i]) for i in order]


def _on_robot(model: mujoco.MjModel, body: int) -> bool:
    """Whether a body belongs to the attached robot, whose root carries its name."""
    return model.body(int(model.body_rootid[body])).name == "robot_root"


def _outline(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Points [N, 3], in the geom's frame, whose hull is about the geom."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[first : first + count].astype(float)
        around = np.random.default_rng(0).normal(size=(60, 3))
        return vertices[np.unique(np.argmax(vertices @ around.T, axis=0))]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        flat = np.column_stack([_RING, np.zeros(12)]) * size[0]
        return np.concatenate([flat, flat[:, [0, 2, 1]], flat[:, [2, 0, 1]]])
    ends = [np.column_stack([_RING * size[0], np.full(12, z)]) for z in (-size[1], size[1])]  # cylinder, capsule
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ends += [np.array([[0.0, 0.0, -size[1] - size[0]], [0.0, 0.0, size[1] + size[0]]])]
    return np.concatenate(ends)
