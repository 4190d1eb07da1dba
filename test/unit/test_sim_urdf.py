# SPDX-License-Identifier: Apache-2.0
"""The URDF of the simulated arm agrees with the simulation."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.urdf import parse_urdf
from erl_vlm_ros.sim import urdf
from erl_vlm_ros.sim.arm import FINGER_NAMES, JOINT_NAMES, SimArm
from erl_vlm_ros.sim.urdf import arm_urdf


def test_forward_kinematics_agree_to_a_millimetre():
    import mujoco  # not above: erl_vlm_ros.sim chooses the OpenGL back end before mujoco is first imported

    arm, chain = SimArm("pick_place"), Kinematics.from_text(arm_urdf("pick_place"), "base_link", "tool0")
    assert chain.joint_names == JOINT_NAMES
    rng = np.random.default_rng(0)
    for _ in range(200):
        q = rng.uniform(chain.lower, chain.upper)
        arm.data.qpos[arm._qpos] = q
        mujoco.mj_kinematics(arm.model, arm.data)
        position, rotation = chain.forward(q)
        assert np.linalg.norm(position - arm.ee_position) < 1e-3
        assert np.abs(rotation - arm.data.site_xmat[arm._ee].reshape(3, 3)).max() < 1e-3
    for i, name in enumerate(JOINT_NAMES):
        assert [chain.lower[i], chain.upper[i]] == pytest.approx(arm.model.joint(name).range.tolist())


def test_fingers_move_as_in_the_simulation():
    import mujoco

    arm, robot = SimArm("pick_place"), parse_urdf(arm_urdf("pick_place"))
    arm.data.qpos[arm._qpos], arm.data.qpos[arm._fingers] = 0.3, 0.025
    mujoco.mj_kinematics(arm.model, arm.data)
    for name in FINGER_NAMES:
        pose = np.eye(4)
        for joint in robot.chain("base_link", name)[1]:
            pose = pose @ joint.origin
            if joint.kind == "prismatic":
                assert joint.mimics == ("" if name == "finger_left" else "finger_left")
                pose[:3, 3] += pose[:3, :3] @ joint.axis * 0.025
            else:
                turn = np.zeros(9)
                quaternion = np.zeros(4)
                mujoco.mju_axisAngle2Quat(quaternion, joint.axis, 0.3)
                mujoco.mju_quat2Mat(turn, quaternion)
                pose[:3, :3] = pose[:3, :3] @ turn.reshape(3, 3)
        assert np.allclose(pose[:3, 3], arm.data.body(name).xpos, atol=1e-3)


@pytest.mark.parametrize("task", ["drawer_open", "sweep_into", "pick_place"])
def test_camera_frames_follow_rep_103(task):
    robot, arm = parse_urdf(arm_urdf(task)), SimArm(task)

    def pose(frame):
        out = np.eye(4)
        for joint in robot.chain("base_link", frame)[1]:
            assert joint.kind == "fixed"
            out = out @ joint.origin
        return out

    assert np.allclose(pose("camera_color_optical_frame"), arm.camera_pose(), atol=1e-6)
    body, optical = pose("camera_link")[:3, :3], pose("camera_color_optical_frame")[:3, :3]
    assert np.allclose(body[:, 0], optical[:, 2], atol=1e-6)  # x of the body looks where z of the optical frame does
    assert np.allclose(body[:, 2], -optical[:, 1], atol=1e-6)
    assert body[2, 2] > 0  # up is up


def test_every_link_that_moves_can_be_seen_and_weighed():
    root = ElementTree.fromstring(arm_urdf())
    links = {link.get("name"): link for link in root.findall("link")}
    children = [joint.find("child").get("link") for joint in root.findall("joint")]
    assert len(children) == len(set(children)) == len(links) - 1 and "base_link" not in children
    for joint in root.findall("joint"):
        if joint.get("type") != "fixed":
            link = links[joint.find("child").get("link")]
            assert link.find("visual/geometry")[0].tag in ("box", "cylinder", "sphere")
            assert link.find("collision") is not None and float(link.find("inertial/mass").get("value")) > 0
            assert len(link.find("visual/material/color").get("rgba").split()) == 4
            assert float(joint.find("limit").get("effort")) > 0 and float(joint.find("limit").get("velocity")) > 0
    assert links["base_link"].find("visual") is not None and links["base_link"].find("inertial") is None


def test_the_command_line_prints_it(capsys):
    assert urdf.main(["--task", "sweep_into"]) == 0
    assert capsys.readouterr().out == arm_urdf("sweep_into")
