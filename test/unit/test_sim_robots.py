# SPDX-License-Identifier: Apache-2.0
"""Real arms' MuJoCo models in our scenes: one that the test writes, and robosuite's where that is installed."""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pytest
import yaml
from mjcf_arm import FINGERS, JOINTS, write_arm
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import rotation_of
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.sim import models
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.backend import make_backend
from erl_vlm_ros.sim.meshes import clustered
from erl_vlm_ros.sim.oracle import Oracle

needs_robosuite = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
SHIPPED = ("fr3", "ur5e", "xarm7", "gen3", "sawyer")


def played(arm: SimArm, task: str, seed: int = 3) -> dict[str, float]:
    """What is true after the scripted expert has played an episode."""
    arm.reset(seed)
    expert = Oracle(task, arm.config.linear_speed, persistent=True)
    for _ in range(arm.config.episode_steps):
        arm.apply(*expert(arm.state()))
    return arm.truth()


def check_urdf(arm: SimArm) -> None:
    """The URDF tells where the tool is, wherever the arm stands."""
    kinematics = Kinematics.from_text(arm.urdf("plate", "tip"), "plate", "tip")
    assert kinematics.joint_names == tuple(arm.joint_names)
    for seed in range(3):
        arm.reset(seed)
        arm.apply(np.array([0.1, 0.1, -0.1]), 0.0)
        place, turn = kinematics.forward(arm.joint_positions)
        np.testing.assert_allclose(place, arm.ee_position, atol=1e-8)
        np.testing.assert_allclose(turn, rotation_of(*arm.ee_quaternion), atol=1e-8)


def test_an_arm_from_outside_does_the_tasks(tmp_path):
    robot = load_robot(write_arm(tmp_path))
    arm = SimArm("drawer_open", (64, 64), robot)
    assert arm.joint_names == tuple(JOINTS) and arm.finger_names == tuple(FINGERS)
    assert played(arm, "drawer_open")["success"] == 1.0
    check_urdf(arm)
    images = []
    for _ in range(2):
        arm.reset(5)
        arm.apply(np.array([0.2, -0.1, -0.3]), 0.0)
        images.append((arm.render().tobytes(), arm.data.qpos.tobytes()))
    assert images[0] == images[1]  # the same seed, the same bytes
    lifted = SimArm("pick_place", (64, 64), robot)
    assert played(lifted, "pick_place")["success"] == 1.0
    assert lifted.layout.max_width == 0.06


def test_a_gripper_tells_what_the_robots_driver_would(tmp_path):
    gripper = {"interface": "gripper_command", "joints": ["knuckle"], "measured_scale": -0.1, "measured_offset": 0.08}
    path = write_arm(tmp_path, gripper=gripper, simulation={"joints": [f"j{i}" for i in range(1, 8)], "tool": "tip"})
    arm = SimArm("pick_place", (64, 64), load_robot(path))
    for width in (0.06, 0.02):
        for _ in range(8):
            arm.apply(np.zeros(3), width)
        state = arm.observe()
        assert arm.gripper_width == pytest.approx(width, abs=2e-3)
        assert arm.finger_names == ("knuckle",)
        assert 0.08 - 0.1 * state.fingers.sum() == pytest.approx(arm.gripper_width, abs=1e-9)


def test_fingers_that_turn_and_are_linked_follow_the_opening(tmp_path):
    gripper = {"interface": "gripper_command", "joints": ["knuckle"], "measured_scale": -0.1, "measured_offset": 0.08}
    simulation = {"joints": [f"j{i}" for i in range(1, 8)], "gripper_joints": ["fl"], "tool": "tip"}
    path = write_arm(tmp_path, gripper=gripper, simulation=simulation)
    text = (
        (tmp_path / "arm.xml")
        .read_text()
        .replace('"slide" axis="1 0 0" range="0 0.03"', '"hinge" axis="0 1 0" range="0 0.8"')
    )
    text = text.replace('"slide" axis="1 0 0" range="-0.03 0"', '"hinge" axis="0 -1 0" range="0 0.8"')
    link = '<equality><joint joint1="fr" joint2="fl" solref="0.01 1"/></equality><actuator>'
    (tmp_path / "arm.xml").write_text(text.replace("<actuator>", link))
    arm = SimArm("pick_place", (64, 64), load_robot(path))
    for width in (0.06, 0.02, 0.05):
        for _ in range(10):
            arm.apply(np.zeros(3), width)
        assert arm.gripper_width == pytest.approx(width, abs=5e-3)
        follower = arm.data.joint("robot/fr").qpos[0]
        assert follower == pytest.approx(arm.data.joint("knuckle").qpos[0], abs=0.03)
    shut = SimArm(
        "drawer_open", (64, 64), load_robot(path)
    )  # a task without the gripper: it is driven shut, not locked
    shut.apply(np.zeros(3), 0.0)
    assert shut.gripper_width == pytest.approx(0.0, abs=5e-3)


def test_a_moved_base_stays_in_the_scenes_frame(tmp_path):
    simulation = yaml.safe_load(write_arm(tmp_path).read_text())["simulation"]
    moved = load_robot(write_arm(tmp_path, simulation={**simulation, "base": [0.1, -0.05, 0.02], "base_turn": 0.5}))
    arm = SimArm("drawer_open", (64, 64), moved)
    check_urdf(arm)
    assert arm.layout.home.shape == (7,) and np.all(np.abs(arm.layout.home) < 2.8)


def test_five_joints_take_the_position_first(tmp_path):
    simulation = {"joints": [f"j{i}" for i in range(1, 6)], "gripper_joints": ["fl", "-fr"], "tool": "tip"}
    text = (write_arm(tmp_path, joints=5, simulation=simulation).parent / "arm.xml").read_text()
    bends = text.replace('name="j3" axis="0 0 1"', 'name="j3" axis="0 1 0"')  # yaw, three bends, roll: as SO-101
    bends = bends.replace('"link4" pos="0 0 0.05"', '"link4" pos="0 0 0.35"')
    (tmp_path / "arm.xml").write_text(bends.replace('"link5" pos="0 0 0.35"', '"link5" pos="0 0 0.05"'))
    arm = SimArm("drawer_open", (64, 64), load_robot(tmp_path / "robot.yaml"))
    arm.reset(1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        arm.apply(rng.uniform(-0.3, 0.3, 3), 0.0)
        assert np.linalg.norm(arm.ee_position - arm._reference) < 0.01
    assert rotation_of(*arm.ee_quaternion)[2, 2] < -0.95  # it points down all the same


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": "none.xml"}, "model"),
        ({"model": "robot.yaml"}, "model"),
        ({"model": "robosuite:no_such_arm"}, "model"),
        ({"simulation": {"tool": "tip"}}, "joints"),  # names that the model does not have
        ({"simulation": {"joints": ["j1", "j2", "j3", "j4", "j5", "j6", "j9"]}}, "simulation.joints"),
        ({"simulation": {"gripper_joints": ["fl", "fx"]}}, "simulation.gripper_joints"),
        ({"simulation": {"tool": "elbow"}}, "simulation.tool"),
        ({"simulation": {"tool": "link3"}}, "simulation.tool"),
        ({"simulation": {"gripper": "sim/gripper.xml", "mount": "flange"}}, "simulation.mount"),
        ({"simulation": {"gripper": "none.xml", "mount": "hand"}}, "simulation.gripper"),
        ({"simulation": {"base": [3.0, 0.0, 0.0]}}, "simulation.base"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_key(changes, key, tmp_path):
    simulation = yaml.safe_load(write_arm(tmp_path).read_text())["simulation"]
    whole = changes.get("simulation") == {"tool": "tip"}
    if "simulation" in changes and not whole:
        changes = {"simulation": {**simulation, **changes["simulation"]}}
    with pytest.raises(ConfigError) as error:
        SimArm("drawer_open", (64, 64), load_robot(write_arm(tmp_path, **changes)))
    assert error.value.parameter == key


@pytest.mark.parametrize(
    "simulation",
    [{"joints": ["j1"]}, {"gripper_joints": ["fl"]}, {"home": [0.0] * 6}, {"gripper": "sim/gripper.xml"}, {"tol": ""}],
)
def test_counts_that_differ_are_refused_when_the_file_is_read(simulation, tmp_path):
    path = write_arm(tmp_path, simulation=simulation)
    with pytest.raises(ConfigError) as error:
        load_robot(path)
    assert error.value.file == str(path)


def test_a_task_with_a_gripper_needs_one(tmp_path):
    path = write_arm(tmp_path, gripper={"interface": "none"}, simulation={"joints": [f"j{i}" for i in range(1, 8)]})
    text = (tmp_path / "arm.xml").read_text().replace('<joint name="fl"', "<!-- ").replace('0 0.03"/>', " -->")
    (tmp_path / "arm.xml").write_text(text.replace('<joint name="fr"', "<!-- ").replace('-0.03 0"/>', " -->"))
    with pytest.raises(ConfigError) as error:
        SimArm("pick_place", (64, 64), load_robot(path))
    assert error.value.parameter == "simulation.gripper"


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refused(ConfigError, parameter="model", code=Code.MISSING_PACKAGE, remedy="pip install --no-deps robosuite"):
        models.model_path("robosuite:panda")
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with refused(ConfigError, parameter="model", code=Code.MISSING_PACKAGE, remedy="pip install mujoco-menagerie"):
        models.model_path("menagerie:franka_fr3")


def test_menagerie_is_asked_for_the_file_and_its_errors_are_passed_on(monkeypatch, tmp_path):
    class Failed(Exception):
        pass

    class Robot:
        default_model = "arm"

        def xml(self, entry):
            if entry == "offline":
                raise OSError("no network")
            return tmp_path / f"{entry}.xml"

    def get(name):
        if name != "lab_arm":
            raise Failed(f"Unknown robot {name}")
        return Robot()

    fake = types.SimpleNamespace(get=get, MenagerieError=Failed)
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", fake)
    assert models.model_path("menagerie:lab_arm") == tmp_path / "arm.xml"
    assert models.model_path("menagerie:lab_arm/other") == tmp_path / "other.xml"
    for name in ("menagerie:nobody", "menagerie:lab_arm/offline"):
        with pytest.raises(ConfigError) as error:
            models.model_path(name)
        assert name in str(error.value) and error.value.parameter == "model"


def test_fewer_triangles_fill_the_same_space():
    turn = np.linspace(0.0, 2 * np.pi, 60, endpoint=False)
    rings = np.stack([np.concatenate([0.05 * np.cos(turn)] * 2), np.concatenate([0.05 * np.sin(turn)] * 2),
                      np.repeat([0.0, 0.2], 60)], axis=1)  # fmt: skip
    near, far = np.arange(60), np.arange(60) + 60
    following = np.roll(near, -1)
    faces = np.concatenate([np.stack([near, following, far], 1), np.stack([following, following + 60, far], 1)])
    vertices, simple = clustered(rings, faces, 0.012)
    assert len(simple) < 0.7 * len(faces) and simple.max() == len(vertices) - 1
    np.testing.assert_allclose(vertices.min(0), rings.min(0), atol=0.012)
    np.testing.assert_allclose(vertices.max(0), rings.max(0), atol=0.012)


def test_the_graph_simulates_the_robot_it_is_asked_for(tmp_path):
    path = write_arm(tmp_path)
    lock_step = train_sim(RunArguments("drawer_open", tmp_path, headless=True, robot=str(path)))
    sim, guard = lock_step.node("sim_bridge").parameters, lock_step.node("safety_guard").parameters
    assert sim["robot_file"] == str(path) and sim["joint_names"] == JOINTS
    assert lock_step.node("standin_vlm").parameters["robot"] == str(path)
    assert sim["adapter"] == guard["adapter"] == "servo_twist" and guard["gripper"] == "position"
    real = RealOptions(use_sim_arm=True)
    live = train_real(RunArguments("drawer_open", tmp_path, headless=True, robot=str(path), real=real))
    sim, guard = live.node("sim_bridge").parameters, live.node("safety_guard").parameters
    assert sim["adapter"] == guard["adapter"] == "joint_trajectory" and sim["robot_file"] == str(path)
    assert {
        spec.parameters["joint_state_topics"][0] for spec in live.nodes if "joint_state_topics" in spec.parameters
    } == {"joint_states"}
    own = train_sim(RunArguments("drawer_open", tmp_path, headless=True))
    assert own.node("sim_bridge").parameters["robot_file"] == ""


def test_limits_that_the_robot_file_names_hold_in_simulation(tmp_path):
    path = write_arm(tmp_path, parameters={"safety_guard": {"max_speed": 0.2}}, rate_hz=80.0, remap={"ee_pose": "/tcp"})
    real = RealOptions(use_sim_arm=True)
    graph = train_real(RunArguments("drawer_open", tmp_path, headless=True, robot=str(path), real=real))
    guard = graph.node("safety_guard").parameters
    assert (guard["max_speed"], guard["rate_hz"], guard["max_jerk"]) == (0.2, 80.0, 0.0)
    for name in ("safety_guard", "sim_bridge", "policy_controller"):
        assert ("ee_pose", "/tcp") in graph.node(name).remappings


def test_a_backend_that_brings_its_own_arm_is_not_told(tmp_path):
    from erl_vlm_ros.common.tasks import load_task

    made = make_backend("toy_backend:Rail", load_task("drawer_open"), (32, 32), str(write_arm(tmp_path)))
    assert made.joint_names == ("rail",)


@needs_robosuite
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_robots_open_the_drawer(name):
    robot = load_robot(name)
    arm = SimArm("drawer_open", (128, 128), robot)
    assert arm.joint_names == robot.joints
    assert played(arm, "drawer_open")["success"] == 1.0
    check_urdf(arm)
    arm.reset(0)
    image = arm.render().astype(int)
    green = (image[..., 1] - np.maximum(image[..., 0], image[..., 2])) > 65
    assert green.sum() > 100  # the gripper is seen
    arm.close()


@needs_robosuite
@pytest.mark.parametrize("name", ["fr3", "gen3"])
def test_shipped_robots_pick_and_place(name):
    assert played(SimArm("pick_place", (64, 64), load_robot(name)), "pick_place")["success"] == 1.0
