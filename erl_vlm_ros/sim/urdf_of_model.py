# SPDX-License-Identifier: Apache-2.0
"""A URDF of whatever arm stands in a compiled scene: its joints, limits, tool and camera, without shapes.

Links are named after the bodies of the model that move; fixed ones are folded into the joints' origins.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np

from erl_vlm_ros.sim.attach import PREFIX
from erl_vlm_ros.sim.layout import ArmLayout
from erl_vlm_ros.sim.urdf import add_frame, add_inertia, origin, text_of, with_camera

Pose = tuple[np.ndarray, np.ndarray]
_FINGER_SPEED = 0.2  # m/s (rad/s): URDF asks for one


def link_poses(model: mujoco.MjModel, data: mujoco.MjData, layout: ArmLayout) -> dict[str, Pose]:
    """Link of the URDF -> position [3] m and rotation [3, 3] in the base frame, for every joint that moves."""
    owners = _owners(model, layout)
    return {model.body(body).name.removeprefix(PREFIX): _frame(model, data, body, owners) for body in owners}


def attached_urdf(model: mujoco.MjModel, layout: ArmLayout, base_frame: str, tool_frame: str) -> str:
    """URDF text; ``base_frame`` is the scene's frame, in which the arm may stand elsewhere than at the origin."""
    data = mujoco.MjData(model)
    for name in _moving(layout):
        data.qpos[model.joint(name).qposadr[0]] = 0.0  # also where the model's own reference is another
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    robot = ElementTree.Element("robot", name="attached_arm")
    ElementTree.SubElement(robot, "link", name=base_frame)
    owners = _owners(model, layout)
    for body, name in sorted(owners.items()):
        parent = _above(model, body, owners)
        where, turn = _frame(model, data, parent, owners)
        joint, link = model.joint(name), model.body(body).name.removeprefix(PREFIX)
        element = ElementTree.SubElement(robot, "link", name=link)
        add_inertia(element, model, body, joint.pos)
        element = ElementTree.SubElement(robot, "joint", name=name, type=_kind(model, joint.id))
        parent_link = base_frame if parent is None else model.body(parent).name.removeprefix(PREFIX)
        ElementTree.SubElement(element, "parent", link=parent_link)
        ElementTree.SubElement(element, "child", link=link)
        at, rotation = _frame(model, data, body, owners)
        origin(element, turn.T @ (at - where), turn.T @ rotation)
        ElementTree.SubElement(element, "axis", xyz=" ".join(text_of(v) for v in joint.axis))
        finger = name not in layout.joints
        limit = {"effort": "87", "velocity": text_of(_FINGER_SPEED if finger else layout.max_joint_speed or 1.0)}
        if model.jnt_limited[joint.id]:
            limit |= {"lower": text_of(joint.range[0]), "upper": text_of(joint.range[1])}
        ElementTree.SubElement(element, "limit", limit)
    site = model.site(layout.tool_site)
    owner = _above(model, int(site.bodyid[0]), owners, itself=True)
    where, turn = _frame(model, data, owner, owners)
    tool, rotation = data.site(layout.tool_site).xpos, data.site(layout.tool_site).xmat.reshape(3, 3)
    owner_link = base_frame if owner is None else model.body(owner).name.removeprefix(PREFIX)
    add_frame(robot, tool_frame, owner_link, turn.T @ (tool - where), turn.T @ rotation)
    return with_camera(robot, base_frame, data, np.zeros(3), np.eye(3))


def _moving(layout: ArmLayout) -> tuple[str, ...]:
    return (*layout.joints, *layout.driven)


def _above(model: mujoco.MjModel, body: int, owners: dict[int, str], itself: bool = False) -> int | None:
    """The nearest moving body above, or None for the base."""
    body = body if itself else int(model.body_parentid[body])
    while body and body not in owners:
        body = int(model.body_parentid[body])
    return body or None


def _owners(model: mujoco.MjModel, layout: ArmLayout) -> dict[int, str]:
    """Moving body -> its joint."""
    return {int(model.joint(name).bodyid[0]): name for name in _moving(layout)}


def _frame(model: mujoco.MjModel, data: mujoco.MjData, body: int | None, owners: dict[int, str]) -> Pose:
    """A link's frame: turned as its body, on its joint's axis, as URDF has it; the base frame for None."""
    if body is None:
        return np.zeros(3), np.eye(3)
    return data.xanchor[model.joint(owners[body]).id], data.xmat[body].reshape(3, 3)


def _kind(model: mujoco.MjModel, joint: int) -> str:
    if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
        return "prismatic"
    return "revolute" if model.jnt_limited[joint] else "continuous"
