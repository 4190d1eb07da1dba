# SPDX-License-Identifier: Apache-2.0
"""Our kinematics beside pinocchio's, on URDFs of real arms (packages pin and example-robot-data)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from erl_vlm_ros.robot.ik import twist_to_joint_velocity
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.spec import load_robot

pinocchio = pytest.importorskip("pinocchio", reason="the package pin is not installed")
_FOLDERS = [Path(place) / "cmeel.prefix/share/example-robot-data/robots" for place in sys.path]
DATA = next((folder for folder in _FOLDERS if folder.is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="the package example-robot-data is not installed")
#: file: base frame, tool frame
ARMS = {
    "panda_description/urdf/panda.urdf": ("panda_link0", "panda_hand_tcp"),
    "ur_description/urdf/ur3_robot.urdf": ("base_link", "tool0"),
    "ur_description/urdf/ur5_robot.urdf": ("base_link", "tool0"),
    "ur_description/urdf/ur5_joint_limited_robot.urdf": ("base_link", "tool0"),
    "ur_description/urdf/ur10_robot.urdf": ("base_link", "tool0"),
    "xarm_description/urdf/xarm7.urdf": ("link_base", "link_eef"),
    "kinova_description/robots/kinova.urdf": ("j2s6s200_link_base", "j2s6s200_end_effector"),
    "baxter_description/urdf/baxter.urdf": ("base", "left_gripper"),
    "z1_description/urdf/z1.urdf": ("link00", "link06"),
    "so_arm_description/urdf/so100.urdf": ("base", "gripper"),
    "so_arm_description/urdf/so101.urdf": ("base_link", "gripper_frame_link"),
}


@pytest.mark.parametrize("file", ARMS)
def test_position_rotation_and_jacobian_agree(file):
    base, tool = ARMS[file]
    path = DATA / file
    ours = Kinematics.from_file(path, base, tool)
    model = pinocchio.buildModelFromUrdf(str(path))
    data = model.createData()
    ids = [model.getJointId(name) for name in ours.joint_names]
    start, end = (model.getFrameId(name, pinocchio.BODY) for name in (base, tool))
    rng = np.random.default_rng(0)
    for _ in range(10):
        q = rng.uniform(np.maximum(ours.lower, -np.pi), np.minimum(ours.upper, np.pi))
        full = pinocchio.neutral(model)
        for joint, value in zip(ids, q):
            at = model.joints[joint].idx_q
            # A continuous joint is a point on the circle there.
            full[at : at + model.joints[joint].nq] = (
                value if model.joints[joint].nq == 1 else (np.cos(value), np.sin(value))
            )
        pinocchio.framesForwardKinematics(model, data, full)
        root = data.oMf[start]
        wanted = root.actInv(data.oMf[end])
        place, turn = ours.forward(q)
        np.testing.assert_allclose(place, wanted.translation, atol=1e-12)
        np.testing.assert_allclose(turn, wanted.rotation, atol=1e-12)
        jacobian = pinocchio.computeFrameJacobian(model, data, full, end, pinocchio.LOCAL_WORLD_ALIGNED)
        columns = jacobian[:, [model.joints[joint].idx_v for joint in ids]]
        in_base = np.kron(np.eye(2), root.rotation.T) @ columns
        np.testing.assert_allclose(ours.jacobian(q), in_base, atol=1e-12)


def test_so101_goes_where_it_is_told_though_it_cannot_turn_freely():
    robot = load_robot("so101")
    arm = Kinematics.from_file(DATA / "so_arm_description/urdf/so101.urdf", robot.base_frame, robot.tool_frame)
    assert arm.joint_names == robot.joints
    q = np.array([0.1, -0.4, 0.5, 0.6, 0.0])
    for twist in (
        np.array([0.05, 0, 0, 0, 0, 0.0]),
        np.array([0, 0.05, 0, 0, 0, 0.0]),
        np.array([0, 0, 0.05, 0, 0, 0.0]),
    ):
        motion = twist_to_joint_velocity(arm, q, twist, arm.velocity)
        np.testing.assert_allclose(arm.jacobian(q)[:3] @ motion.velocity, twist[:3], atol=1e-6)
        assert motion.scale == 1.0
