# SPDX-License-Identifier: Apache-2.0
"""The simulated arm's URDF, written from the MJCF so that the two cannot differ.

``python -m erl_vlm_ros.sim.urdf --task drawer_open > arm.urdf``. Frames as in REP 103 and 105: base_link (x forward,
z up), tool0 (the tool point, z out of the gripper), camera_link (x into the image, z up) and
camera_color_optical_frame (z into the image, y down).
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np

from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import Task, load_task
from erl_vlm_ros.sim.quaternion import matrix_of

BASE_FRAME, TOOL_FRAME = "base_link", "tool0"
CAMERA_LINK, CAMERA_FRAME = "camera_link", "camera_color_optical_frame"
#: rad/s (fingers m/s). MuJoCo has no velocity limits; these are those of a middling arm of this size.
VELOCITY_LIMITS = {f"joint{i}": 3.0 if i < 4 else 4.0 for i in range(1, 7)} | {
    "finger_left": 0.2,
    "finger_right": 0.2,
}
_ROOT = "base"
OPTICAL_IN_CAMERA_LINK = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_MIMICS = {"finger_right": "finger_left"}


def arm_urdf(task: Task | str = "drawer_open", base_frame: str = BASE_FRAME, tool_frame: str = TOOL_FRAME) -> str:
    """URDF text of the arm with the camera of ``task``'s scene (a task file or a shipped name)."""
    name = (load_task(task) if isinstance(task, str) else task).name
    model = mujoco.MjModel.from_xml_path(str(resource(f"sim/{name}.xml")))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    robot = ElementTree.Element("robot", name="erl_vlm_sim_arm")
    _add_link(robot, model, model.body(_ROOT).id, base_frame, inertia=False)  # KDL wants none on the root
    for body in _below(model, model.body(_ROOT).id):
        _add_link(robot, model, body, model.body(body).name)
        _add_joint(robot, model, body, base_frame)
    site = model.site("ee")
    parent = model.body(int(site.bodyid[0])).name
    add_frame(robot, tool_frame, parent, site.pos, matrix_of(site.quat))
    base = data.body(_ROOT)
    return with_camera(robot, base_frame, data, base.xpos, base.xmat.reshape(3, 3).T)


def _below(model: mujoco.MjModel, root: int) -> list[int]:
    """Bodies that hang below ``root``, parents first."""
    inside, found = {root}, []
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in inside:
            inside.add(body)
            found.append(body)
    return found


def _add_link(robot: ElementTree.Element, model: mujoco.MjModel, body: int, name: str, inertia: bool = True) -> None:
    link = ElementTree.SubElement(robot, "link", name=name)
    if inertia:
        add_inertia(link, model, body, np.zeros(3))
    first = int(model.body_geomadr[body])
    for geom in range(first, first + int(model.body_geomnum[body])):
        for shape in _shapes(model, geom):
            _add_shape(link, model, geom, *shape)


def _shapes(model: mujoco.MjModel, geom: int) -> list[tuple[str, dict[str, str], float]]:
    """(element, its attributes, shift along the geom's z): URDF has no capsule, so one is a cylinder with two balls."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return [("box", {"size": " ".join(text_of(2.0 * s) for s in size)}, 0.0)]
    rod = ("cylinder", {"radius": text_of(size[0]), "length": text_of(2.0 * size[1])}, 0.0)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return [rod]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ball = {"radius": text_of(size[0])}
        return [rod, ("sphere", ball, float(size[1])), ("sphere", ball, -float(size[1]))]
    raise ValueError(f"no URDF shape for a geom of type {kind}")


def _add_shape(
    link: ElementTree.Element,
    model: mujoco.MjModel,
    geom: int,
    shape: str,
    attributes: dict[str, str],
    shift: float,
) -> None:
    rotation = matrix_of(model.geom_quat[geom])
    position = model.geom_pos[geom] + rotation[:, 2] * shift
    for kind in ("visual", "collision"):
        element = ElementTree.SubElement(link, kind)
        origin(element, position, rotation)
        ElementTree.SubElement(ElementTree.SubElement(element, "geometry"), shape, attributes)
        if kind == "visual":
            rgba = " ".join(f"{v:.3g}" for v in model.geom_rgba[geom])
            material = ElementTree.SubElement(element, "material", name="rgba " + rgba)
            ElementTree.SubElement(material, "color", rgba=rgba)


def _add_joint(robot: ElementTree.Element, model: mujoco.MjModel, body: int, base_frame: str) -> None:
    joint = int(model.body_jntadr[body])
    name = model.joint(joint).name
    hinge = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
    element = ElementTree.SubElement(robot, "joint", name=name, type="revolute" if hinge else "prismatic")
    parent = model.body(int(model.body_parentid[body])).name
    ElementTree.SubElement(element, "parent", link=base_frame if parent == _ROOT else parent)
    ElementTree.SubElement(element, "child", link=model.body(body).name)
    origin(element, model.body_pos[body], matrix_of(model.body_quat[body]))
    ElementTree.SubElement(element, "axis", xyz=" ".join(text_of(v) for v in model.jnt_axis[joint]))
    low, high = model.jnt_range[joint]
    force = model.actuator(name).forcerange[1]
    ElementTree.SubElement(
        element,
        "limit",
        lower=text_of(low),
        upper=text_of(high),
        effort=text_of(force),
        velocity=text_of(VELOCITY_LIMITS[name]),
    )
    if name in _MIMICS:
        ElementTree.SubElement(element, "mimic", joint=_MIMICS[name])


def add_inertia(link: ElementTree.Element, model: mujoco.MjModel, body: int, frame: np.ndarray) -> None:
    """A body's mass and inertia; ``frame`` [3] m: where the link's origin is in the body."""
    element = ElementTree.SubElement(link, "inertial")
    origin(element, model.body_ipos[body] - frame, matrix_of(model.body_iquat[body]))
    ElementTree.SubElement(element, "mass", value=text_of(model.body_mass[body]))
    x, y, z = (text_of(v) for v in model.body_inertia[body])
    ElementTree.SubElement(element, "inertia", ixx=x, iyy=y, izz=z, ixy="0", ixz="0", iyz="0")


def with_camera(
    robot: ElementTree.Element, base_frame: str, data: mujoco.MjData, base: np.ndarray, turn: np.ndarray
) -> str:
    """The URDF's text, with the scene's camera; ``base`` [3] m, ``turn`` [3, 3]: from the world to the base frame."""
    camera = data.camera("camera")
    optical = turn @ camera.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])  # MuJoCo looks along -z, y up
    place = turn @ (camera.xpos - base)
    add_frame(robot, CAMERA_LINK, base_frame, place, optical @ OPTICAL_IN_CAMERA_LINK.T, _camera_box)
    add_frame(robot, CAMERA_FRAME, CAMERA_LINK, np.zeros(3), OPTICAL_IN_CAMERA_LINK)
    ElementTree.indent(robot)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def add_frame(robot, name, parent, position, rotation, decorate=None) -> None:
    """A link that is only a frame, fixed to ``parent``."""
    link = ElementTree.SubElement(robot, "link", name=name)
    if decorate is not None:
        decorate(link)
    joint = ElementTree.SubElement(robot, "joint", name=f"{name}_joint", type="fixed")
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=name)
    origin(joint, position, rotation)


def _camera_box(link: ElementTree.Element) -> None:
    visual = ElementTree.SubElement(link, "visual")
    ElementTree.SubElement(ElementTree.SubElement(visual, "geometry"), "box", size="0.025 0.09 0.025")
    material = ElementTree.SubElement(visual, "material", name="camera")
    ElementTree.SubElement(material, "color", rgba="0.6 0.6 0.62 1")


def origin(element: ElementTree.Element, position: np.ndarray, rotation: np.ndarray) -> None:
    xyz = " ".join(text_of(v) for v in position)
    ElementTree.SubElement(element, "origin", xyz=xyz, rpy=" ".join(text_of(v) for v in _rpy(rotation)))


def _rpy(rotation: np.ndarray) -> tuple[float, float, float]:
    """Roll, pitch, yaw about the fixed axes; at pitch +-90 degrees the yaw is put to 0."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if abs(np.cos(pitch)) > 1e-6:
        roll, yaw = np.arctan2(rotation[2, 1], rotation[2, 2]), np.arctan2(rotation[1, 0], rotation[0, 0])
        return float(roll), float(pitch), float(yaw)
    return float(np.arctan2(-rotation[1, 2], rotation[1, 1])), float(pitch), 0.0


def text_of(value: float) -> str:
    return f"{float(value) + 0.0:.9g}"


def main(args: list[str] | None = None) -> int:
    """Print the URDF."""
    parser = argparse.ArgumentParser(description="Print the URDF of the simulated arm.")
    parser.add_argument("--task", default="drawer_open", help="whose scene's camera stands in it")
    sys.stdout.write(arm_urdf(parser.parse_args(args).task))
    return 0


if __name__ == "__main__":
    sys.exit(main())
