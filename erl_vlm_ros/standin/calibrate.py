# SPDX-License-Identifier: Apache-2.0
"""Measure the simulated set-up once and write it down for the stand-in VLM: ``config/standin_scene.json``.

    python -m erl_vlm_ros.standin.calibrate

To be run after the scenes in sim/*.xml or the tasks' limits have changed, as a camera is calibrated after it
was moved. Only fixed dimensions are written: where things are in an episode, the stand-in has to see.
"""

from __future__ import annotations

import json
from typing import Any

import mujoco
import numpy as np

from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.sim.tasks import TASKS, make_task


def measure() -> dict[str, Any]:
    """All that the stand-in may know beforehand: lengths and limits of the classes in m, base frame."""
    scenes = {name: _Scene(name) for name in TASKS}
    drawer, sweep, pick = (scenes[name] for name in ("drawer_open", "sweep_into", "pick_place"))
    return _rounded(
        {
            "cameras": {name: s.camera() for name, s in scenes.items()},
            "reach": {name: _reach(name) for name in TASKS},
            "arm": drawer.arm(),
            "drawer_open": {
                **drawer.drawer(),
                **_limits("drawer_open", "near", "crack", "half", "done", "handle_half_length"),
            },
            "sweep_into": {
                "zone": sweep.model.geom("zone").pos[:2],
                "zone_radius": sweep.model.geom("zone").size[0],
                "block_half": sweep.model.geom("block").size[0],
                **_limits("sweep_into", "near", "approached", "edge", "done"),
            },
            "pick_place": {
                "plate": pick.model.geom("plate").pos[:2],
                "plate_radius": pick.model.geom("plate").size[0],
                "plate_height": pick.span("plate")[1][2],
                "block_half": pick.model.geom("block").size[0],
                **_limits("pick_place", "near", "lifted", "above", "settled", "released"),
            },
        }
    )


class _Scene:
    def __init__(self, name: str) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(resource(f"sim/{name}.xml")))
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)

    def camera(self) -> dict[str, Any]:
        look_at = self.data.body("look_at").xpos
        return {
            "position": self.data.camera("camera").xpos,
            "target": look_at,
            "fovy": self.model.camera("camera").fovy[0],
        }

    def span(self, geom: str) -> tuple[np.ndarray, np.ndarray]:
        """Low and high corner of a geom whose axes are the base frame's."""
        half = self.model.geom(geom).size.copy()
        if self.model.geom(geom).type[0] == mujoco.mjtGeom.mjGEOM_CYLINDER:
            half = np.array([half[0], half[0], half[1]])
        return self.data.geom(geom).xpos - half, self.data.geom(geom).xpos + half

    def arm(self) -> dict[str, Any]:
        """The arm's links, and the gripper relative to the tool point, z up when the tool points down."""
        model, tool = self.model, self.model.site("ee").pos[2]
        joints = {f"link{i}": model.body(f"link{i}").pos[2] for i in range(1, 7)}
        finger, palm = model.geom("finger_left"), model.geom("palm")
        finger_z = model.body("finger_left").pos[2] + finger.pos[2]
        forearm = joints["link4"] + joints["link5"]
        return {
            "shoulder": [0.0, 0.0, joints["link1"] + joints["link2"]],
            "upper_arm": joints["link3"],
            "forearm": forearm,
            "forearm_split": joints["link4"] / forearm,
            "upper_radius": self._radius("link2"),
            "forearm_radii": [self._radius("link3"), self._radius("link4")],
            "base_radii": [self._radius("base"), self._radius("link1")],
            "wrist_z": tool + joints["link6"],
            "wrist_radius": self._radius("link5"),
            "wrist_end_z": tool + joints["link6"] - self._far_end("link5"),
            "flange_z": [tool - self._far_end("link6"), tool - self._near_end("link6")],
            "flange_radius": self._radius("link6"),
            "finger_half": finger.size[:2],
            "finger_z": [tool - finger_z - finger.size[2], tool - finger_z + finger.size[2]],
            "palm_half": palm.size[:2],
            "palm_z": [tool - palm.pos[2] - palm.size[2], tool - palm.pos[2] + palm.size[2]],
        }

    def drawer(self) -> dict[str, Any]:
        """The cabinet, and its drawer when closed; x from the front plane, y from the middle."""
        (x, _, _), (back, side, top) = self.span("cabinet_top")
        front, post, bar = self.span("drawer_front")[1], self.span("handle_post_l"), self.span("handle")
        floor, wall = self.span("drawer_floor"), self.span("drawer_side_l")
        middle, half = (bar[0] + bar[1]) / 2, (bar[1] - bar[0]) / 2
        return {
            "cabinet_x": x,
            "cabinet_half_width": side,
            "cabinet_depth": back - x,
            "cabinet_top": top,
            "panel": top - self.span("cabinet_top")[0][2],
            "front_half_width": front[1],
            "front_top": front[2],
            "front_bottom": self.span("drawer_front")[0][2],
            "front_depth": front[0] - self.span("drawer_front")[0][0],
            "box_depth": floor[1][0] - x,
            "box_half_width": wall[1][1],
            "box_wall": wall[1][1] - wall[0][1],
            "floor_z": [floor[0][2], floor[1][2]],
            "wall_z": [wall[0][2], wall[1][2]],
            "handle_x": middle[0] - x,
            "handle_z": middle[2],
            "handle_half": half,
            "post_y": (post[0] + post[1])[1] / 2,
            "post_half": (post[1] - post[0])[1] / 2,
        }

    def _geoms(self, body: str) -> np.ndarray:
        start, count = self.model.body(body).geomadr[0], self.model.body(body).geomnum[0]
        return np.arange(start, start + count)

    def _far_end(self, body: str) -> float:
        geom = self._geoms(body)[0]
        return float(self.model.geom_pos[geom, 2] + self.model.geom_size[geom, 1])

    def _near_end(self, body: str) -> float:
        geom = self._geoms(body)[0]
        return float(self.model.geom_pos[geom, 2] - self.model.geom_size[geom, 1])

    def _radius(self, body: str) -> float:
        return float(self.model.geom_size[self._geoms(body)[0], 0])


def _limits(task: str, *names: str) -> dict[str, Any]:
    return {"limits": {name: getattr(make_task(task), name) for name in names}}


def _reach(name: str) -> dict[str, Any]:
    task = load_task(name)
    return {"low": task.workspace_min, "high": task.workspace_max, "opens": task.use_gripper}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(v) for v in value]
    return value if isinstance(value, bool) else round(float(value), 5)


def main() -> int:
    """Measure and write."""
    path = resource("config") / "standin_scene.json"
    path.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
