# SPDX-License-Identifier: Apache-2.0
"""Robot files: those that are shipped, what is refused, and what becomes of them in a graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.params.layers import check
from erl_vlm_ros.params.shared import shared_values
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.params.tables._shared import SHARED
from erl_vlm_ros.robot.drivers import ADAPTERS
from erl_vlm_ros.robot.spec import RobotSpec, load_robot, robot_names

OURS = {value for key, value in vars(names).items() if key.isupper()}
GOOD = {"name": "mine", "base_frame": "base", "tool_frame": "tip", "joints": ["a", "b"]}


def written(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def graph(tmp_path, robot="", overrides=None, **options):
    arguments = RunArguments(
        "drawer_open", tmp_path, headless=True, robot=str(robot), overrides=overrides or {}, real=RealOptions(**options)
    )
    return train_real(arguments)


@pytest.mark.parametrize("name", robot_names())
def test_shipped_robots_make_graphs(name, tmp_path):
    robot = load_robot(name)
    assert robot.name == name and set(robot.remap) <= OURS
    check(robot.overrides(), name)
    found = graph(tmp_path, name)
    for spec in found.nodes:
        for key in ("joint_names", "base_frame", "tool_frame", "gripper_joints", "adapter", "gripper_max"):
            if key in spec.parameters:
                assert spec.parameters[key] == robot.overrides()["/**"][key], (spec.name, key)
    assert ("tool_pose" in [spec.name for spec in found.nodes]) == robot.tool_pose
    assert set(robot.remap.items()) <= set(found.node("safety_guard").remappings)
    assert found.node("safety_guard").parameters["gripper"] == robot.gripper.interface


def test_a_robot_file_survives_its_copy(tmp_path):
    for name in robot_names():
        robot = load_robot(name)
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(robot.model_dump(mode="json")))
        assert load_robot(path) == robot


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"joint": ["a"]}, "joint"),
        ({"joints": "a b"}, "joints"),
        ({"joints": ["a", "a"]}, ""),
        ({"joints": ["a", ""]}, "joints.1"),
        ({"base_frame": ""}, "base_frame"),
        ({"adapter": "telepathy"}, ""),
        ({"controller_joints": ["a", "c"]}, ""),
        ({"home": [0.0]}, ""),
        ({"home": [0.0, "x"]}, "home.1"),
        ({"rate_hz": 5.0}, "rate_hz"),
        ({"gripper": {"interface": "teeth"}}, "gripper"),
        ({"gripper": {"interface": "parallel_gripper_command"}}, "gripper"),
        ({"gripper": {"widest": 1.0}}, "gripper.widest"),
        ({"gripper": {"max_width": -1.0}}, "gripper.max_width"),
        ({"gripper": {"joints": ["a"]}}, ""),
        ({"remap": {"ee_pose": "/a b"}}, "remap.ee_pose"),
        ({"joint_states": []}, "joint_states"),
        ({"tool_pose": 1}, "tool_pose"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_key(changes, key, tmp_path):
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        load_robot(path)
    assert error.value.file == str(path) and error.value.parameter == key and str(path) in str(error.value)


@given(
    st.dictionaries(st.sampled_from([*RobotSpec.model_fields, "x"]), st.none() | st.integers() | st.text(max_size=5))
)
def test_any_mapping_is_a_robot_or_is_refused(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("robot") / "any.yaml"
    path.write_text(yaml.safe_dump(raw))
    try:
        load_robot(path)
    except ConfigError as error:
        assert str(path) in str(error)


def test_unknown_robots_are_refused(tmp_path):
    for name in ("no_such_arm", str(tmp_path / "none.yaml")):
        with pytest.raises(ConfigError):
            load_robot(name)
    with pytest.raises(ConfigError):
        graph(tmp_path, written(tmp_path, parameters={"safety_guard": {"max_sped": 1.0}}))


def test_options_win_over_the_robots_and_the_simulated_arm_knows_none(tmp_path):
    found = graph(tmp_path, "ur5e", remap="ee_pose:=/mine")
    assert ("ee_pose", "/mine") in found.node("policy_controller").remappings
    assert ("wrench", "/force_torque_sensor_broadcaster/ft_data") in found.node("safety_guard").remappings
    assert (
        graph(tmp_path, "ur5e", adapter="joint_velocity").node("safety_guard").parameters["adapter"] == "joint_velocity"
    )
    assert not graph(tmp_path, use_sim_arm=True).node("safety_guard").remappings


def test_without_a_robot_file_the_joints_are_those_of_the_urdf(tmp_path):
    from erl_vlm_ros.sim.urdf import arm_urdf

    assert graph(tmp_path).node("learner").parameters["joint_names"] is None  # known when the arm describes itself
    urdf = tmp_path / "arm.urdf"
    urdf.write_text(arm_urdf())
    found = graph(tmp_path, overrides={"safety_guard": {"urdf_file": str(urdf)}})
    for name in ("policy_controller", "learner", "reward_trainer", "monitor"):
        assert found.node(name).parameters["joint_names"] == [f"joint{i}" for i in range(1, 7)]


def test_what_is_given_for_one_node_holds_for_all_and_contradictions_are_refused(tmp_path):
    found = graph(tmp_path, "fr3", {"safety_guard": {"base_frame": "table"}})
    assert {spec.parameters["base_frame"] for spec in found.nodes if "base_frame" in spec.parameters} == {"table"}
    with pytest.raises(ConfigError) as error:
        graph(tmp_path, "fr3", {"safety_guard": {"base_frame": "table"}, "policy_controller": {"base_frame": "base"}})
    assert "base_frame" in error.value.parameter


def test_shared_parameters_are_one_object_in_every_table():
    for param in SHARED:
        tables = [table for table in PARAMETERS.values() if any(p.name == param.name for p in table)]
        assert len(tables) > 1, param.name
        assert all(p is param for table in tables for p in table if p.name == param.name), param.name


@given(st.lists(st.tuples(st.sampled_from(sorted(ADAPTERS)), st.sampled_from(["safety_guard", "sim_bridge", "/**"]))))
def test_the_last_layer_wins(said):
    layers = [(str(i), {node: {"adapter": value}}) for i, (value, node) in enumerate(said)]
    assert shared_values(layers).get("adapter") == (said[-1][0] if said else None)


def test_a_task_that_turns_the_tool_needs_a_guard_that_lets_it(tmp_path):
    text = Path(load_task("drawer_open").path).read_text() + "\naction: {rotation: full, angular_speed: 0.5}\n"
    (tmp_path / "task.yaml").write_text(text)
    arguments = RunArguments(str(tmp_path / "task.yaml"), tmp_path, headless=True)
    guard = train_sim(arguments).node("safety_guard").parameters
    assert guard["max_angular_speed"] == pytest.approx(0.5 * 3**0.5)
    with pytest.raises(ConfigError) as error:
        train_real(arguments)
    assert error.value.parameter == "safety_guard.max_angular_speed"
