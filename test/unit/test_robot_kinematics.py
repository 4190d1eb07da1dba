# SPDX-License-Identifier: Apache-2.0
"""URDF reading and kinematics: against finite differences, and against MuJoCo reading the same URDF."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.robot.ik import IkSettings, manipulability, twist_to_joint_velocity
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.urdf import parse_urdf
from erl_vlm_ros.sim.urdf import arm_urdf

INERTIAL = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
# Seven joints with crooked axes, a continuous and a prismatic one, fixed joints before, between and after.
CROOKED = [
    ("mount", "fixed", "0.1 -0.2 0.3", "0.3 -0.2 0.9", "1 0 0"),
    ("a", "revolute", "0 0 0.2", "0.1 0 0", "0 0 1"),
    ("b", "revolute", "0 0.1 0.1", "1.5707963 0 0", "0 1 0"),
    ("c", "continuous", "0.2 0 0.1", "0 -0.7 0.2", "0.6 0 0.8"),
    ("d", "revolute", "0.05 0 0.3", "0.4 0.5 -3.0", "1 2 -1"),
    ("bracket", "fixed", "0 0.03 0", "0 1.2 0", "1 0 0"),
    ("e", "prismatic", "0 0 0.1", "0 0.3 0", "0 1 1"),
    ("f", "revolute", "0.1 0 0", "0 0 0.5", "0 -1 0"),
    ("g", "revolute", "0 0 0.1", "-1.2 0 0", "0 0 1"),
    ("flange", "fixed", "0 0 0.12", "0 0 1.57", "1 0 0"),
]


def crooked() -> str:
    out, parent = [f'<robot name="crooked"><link name="world_link">{INERTIAL}</link>'], "world_link"
    for name, kind, xyz, rpy, axis in CROOKED:
        limit = "" if kind == "fixed" else '<limit lower="-2.5" upper="2.5" velocity="2" effort="10"/>'
        out.append(
            f'<link name="{name}_link">{INERTIAL}</link><joint name="{name}" type="{kind}">'
            f'<origin xyz="{xyz}" rpy="{rpy}"/><parent link="{parent}"/><child link="{name}_link"/>'
            f'<axis xyz="{axis}"/>{limit}</joint>'
        )
        parent = f"{name}_link"
    # What real files hold besides: ros2_control's joints must not be taken for the robot's.
    out.append('<ros2_control name="x"><joint name="a"><command_interface name="velocity"/></joint></ros2_control>')
    return "".join(out) + "</robot>"


ARMS = {
    "sim": Kinematics.from_text(arm_urdf(), "base_link", "tool0"),
    "crooked": Kinematics.from_text(crooked(), "world_link", "flange_link"),
}
ARM = ARMS["sim"]


def joints(arm: Kinematics, seed: int) -> np.ndarray:
    low, high = np.maximum(arm.lower, -3.0), np.minimum(arm.upper, 3.0)
    return np.random.default_rng(seed).uniform(low, high)


@pytest.mark.parametrize("name, text, tool", [("sim", arm_urdf(), "tool0"), ("crooked", crooked(), "flange_link")])
def test_forward_agrees_with_mujoco_reading_the_same_urdf(name, text, tool):
    import mujoco  # not above: erl_vlm_ros.sim chooses the OpenGL back end before mujoco is first imported

    arm = ARMS[name]
    spec = mujoco.MjSpec.from_string(text)
    spec.compiler.fusestatic = False
    model = spec.compile()
    data = mujoco.MjData(model)
    addresses = [model.joint(n).qposadr[0] for n in arm.joint_names]
    for seed in range(50):
        q = joints(arm, seed)
        data.qpos[addresses] = q
        mujoco.mj_kinematics(model, data)
        position, rotation = arm.forward(q)
        base = data.body(arm.base_frame) if name == "crooked" else data.body("world")
        assert np.allclose(data.body(tool).xpos - base.xpos, position, atol=1e-6)
        assert np.allclose(data.body(tool).xmat.reshape(3, 3), rotation, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(sorted(ARMS)), seed=st.integers(0, 2**31))
def test_jacobian_is_the_derivative_of_forward(name, seed):
    arm = ARMS[name]
    q, h = joints(arm, seed), 1e-6
    jacobian = arm.jacobian(q)
    _, rotation = arm.forward(q)
    for i in range(len(q)):
        step = np.zeros(len(q))
        step[i] = h
        (p1, r1), (p0, r0) = arm.forward(q + step), arm.forward(q - step)
        spin = (r1 - r0) / (2 * h) @ rotation.T  # the skew matrix of the angular velocity
        angular = [spin[2, 1], spin[0, 2], spin[1, 0]]
        assert np.allclose(jacobian[:, i], [*((p1 - p0) / (2 * h)), *angular], atol=1e-7)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(ARMS)),
    seed=st.integers(0, 2**31),
    twist=st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6),
)
def test_the_tool_follows_the_twist_away_from_singularities(name, seed, twist):
    arm, twist = ARMS[name], np.array(twist)
    q = joints(arm, seed)
    motion = twist_to_joint_velocity(arm, q, twist, arm.velocity)
    assert np.all(np.abs(motion.velocity) <= arm.velocity * (1 + 1e-9))
    assert 0.0 <= motion.scale <= 1.0
    assert bool(motion.reason) == (motion.scale < 1.0)
    if manipulability(arm, q) >= IkSettings().slow_below:
        assert np.allclose(arm.jacobian(q) @ motion.velocity, motion.scale * twist, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), direction=st.integers(0, 5), wrist=st.floats(-0.02, 0.02))
def test_joint_speeds_stay_finite_in_a_singularity(seed, direction, wrist):
    q = joints(ARM, seed)
    q[4] = wrist  # forearm roll and wrist roll about one line
    twist = np.zeros(6)
    twist[direction] = 0.3
    motion = twist_to_joint_velocity(ARM, q, twist, ARM.velocity)
    assert np.isfinite(motion.velocity).all() and np.all(np.abs(motion.velocity) <= ARM.velocity * (1 + 1e-9))


def stretched(elbow: float) -> np.ndarray:
    return np.array([0.0, 0.8, elbow, 0.0, 0.8 - elbow, 0.0])


def test_slows_down_into_a_stretched_arm_and_not_out_of_it():
    # Elbow nearly straight: the wrist cannot go further out along the arm.
    q = stretched(0.12)
    outward = np.array([np.sin(0.8), 0.0, np.cos(0.8), 0.0, 0.0, 0.0]) * 0.1
    into = twist_to_joint_velocity(ARM, q, outward, ARM.velocity)
    out = twist_to_joint_velocity(ARM, q, -outward, ARM.velocity)
    assert into.scale < 0.7 and "singularity" in into.reason
    assert "singularity" not in out.reason
    nearer = twist_to_joint_velocity(ARM, stretched(0.055), outward, ARM.velocity)
    assert nearer.scale < into.scale


def test_nothing_moves_for_nothing_and_nonsense_is_refused():
    q = joints(ARM, 0)
    assert not twist_to_joint_velocity(ARM, q, np.zeros(6), ARM.velocity).velocity.any()
    for bad in (np.full(6, np.nan), np.zeros(3), np.array([np.inf, 0, 0, 0, 0, 0])):
        with pytest.raises(ValueError):
            twist_to_joint_velocity(ARM, q, bad, ARM.velocity)
    with refused(DataError, field="positions"):
        ARM.forward(np.zeros(5))


def test_limits_and_order_come_from_the_urdf_by_name():
    arm = ARMS["crooked"]
    assert arm.joint_names == ("a", "b", "c", "d", "e", "f", "g")
    assert np.isinf(arm.upper[2]) and arm.upper[0] == 2.5 and set(arm.velocity) == {2.0}
    q = {name: float(i) for i, name in enumerate(reversed(arm.joint_names))}
    assert arm.vector(q).tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert arm.by_name(arm.vector(q)) == q
    assert arm.missing(["b", "a"]) == ["c", "d", "e", "f", "g"]


def test_the_base_may_be_fixed_beside_the_chain():
    # As UR's frame base: hung on the arm's root, turned half about z.
    text = crooked().replace(
        "</robot>",
        '<link name="base"/><joint name="aside" type="fixed"><origin xyz="0.1 0 0.2" rpy="0 0 3.141592653589793"/>'
        '<parent link="world_link"/><child link="base"/></joint></robot>',
    )
    arm, other = ARMS["crooked"], Kinematics.from_text(text, "base", "flange_link")
    q = joints(arm, 5)
    position, rotation = arm.forward(q)
    turned = np.diag([-1.0, -1.0, 1.0])
    assert np.allclose(other.forward(q)[0], turned @ (position - [0.1, 0, 0.2]))
    assert np.allclose(other.forward(q)[1], turned @ rotation)
    assert np.allclose(other.jacobian(q), np.kron(np.eye(2), turned) @ arm.jacobian(q))
    assert other.joint_names == arm.joint_names


@pytest.mark.parametrize(
    "text, base, tool, fields",
    [
        ("<robot", "a", "b", {"code": Code.UNREADABLE}),
        ("<mujoco/>", "a", "b", {"parameter": "<robot>", "code": Code.UNREADABLE}),
        ('<robot><link name="${prefix}x"/></robot>', "a", "b", {"parameter": "xacro", "code": Code.UNREADABLE}),
        (crooked(), "world_link", "tool0", {"parameter": "tool_frame", "code": Code.UNKNOWN, "shows": "tool0"}),
        (
            crooked(),
            "base_link",
            "flange_link",
            {"parameter": "base_frame", "code": Code.UNKNOWN, "shows": "base_link"},
        ),
        (crooked(), "flange_link", "a_link", {"parameter": "base_frame", "code": Code.DOES_NOT_FIT, "shows": "a_link"}),
        (crooked(), "e_link", "bracket_link", {"parameter": "base_frame", "code": Code.DOES_NOT_FIT}),
        (crooked(), "f_link", "f_link", {"parameter": "tool_frame", "code": Code.DOES_NOT_FIT}),
        (
            crooked().replace('velocity="2"', ""),
            "world_link",
            "flange_link",
            {"parameter": "joint.a", "code": Code.NOT_GIVEN},
        ),
        (
            crooked().replace('lower="-2.5"', 'lower="3"'),
            "world_link",
            "flange_link",
            {"parameter": "joint.a", "code": Code.UNREADABLE},
        ),
        (
            crooked().replace('lower="-2.5"', 'lower="low"'),
            "world_link",
            "flange_link",
            {"parameter": "joint.a", "code": Code.UNREADABLE, "shows": "'low'"},
        ),
        (
            crooked().replace('type="prismatic"', 'type="planar"'),
            "world_link",
            "flange_link",
            {"parameter": "joint.e", "code": Code.DOES_NOT_FIT},
        ),
        (
            crooked().replace('"0 1 1"', '"0 0 0"'),
            "world_link",
            "flange_link",
            {"parameter": "joint.e", "code": Code.UNREADABLE},
        ),
        (
            crooked().replace('<link name="c_link">', '<link name="d_link">'),
            "world_link",
            "flange_link",
            {"parameter": "joint.c", "code": Code.UNREADABLE, "shows": "c_link"},
        ),
        (
            arm_urdf(),
            "base_link",
            "finger_right",
            {"parameter": "tool_frame", "code": Code.DOES_NOT_FIT, "shows": ("finger_right", "finger_left")},
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(text, base, tool, fields):
    with refused(ConfigError, **fields):
        Kinematics.from_text(text, base, tool)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with refused(ConfigError, parameter="urdf_file", code=Code.MISSING_FILE, file=tmp_path / "absent.urdf"):
        Kinematics.from_file(tmp_path / "absent.urdf", "base_link", "tool0")
    (tmp_path / "arm.urdf").write_text(arm_urdf())
    assert Kinematics.from_file(tmp_path / "arm.urdf", "base_link", "tool0").joint_names == ARM.joint_names
    assert parse_urdf(arm_urdf()).name == "erl_vlm_sim_arm"
