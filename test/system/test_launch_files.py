# SPDX-License-Identifier: Apache-2.0
"""Launch files start what the graph describes. Needs the launch packages of a ROS installation."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

launch = pytest.importorskip("launch", reason="needs the launch package of a ROS installation")
launch_ros = pytest.importorskip("launch_ros", reason="needs the launch_ros package of a ROS installation")

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction  # noqa: E402
from launch_ros.actions import Node  # noqa: E402
from refusals import refused  # noqa: E402

from erl_vlm_ros.common.errors import Code, ConfigError  # noqa: E402
from erl_vlm_ros.common.paths import resource  # noqa: E402
from erl_vlm_ros.graphs.build import train_real, train_sim  # noqa: E402
from erl_vlm_ros.graphs.real import URDF_FILE  # noqa: E402
from erl_vlm_ros.graphs.sides import part_of  # noqa: E402
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments  # noqa: E402

FILES = sorted(p.name for p in resource("launch").glob("*.launch.py"))


def describe(name):
    spec = importlib.util.spec_from_file_location("launch_file", resource(f"launch/{name}"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def start(name, **arguments):
    """What the launch file would start with these arguments: executables of nodes, and other commands."""
    description, context = describe(name), launch.LaunchContext()
    actions = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            default = "".join(s.perform(context) for s in entity.default_value)
            context.launch_configurations[entity.name] = str(arguments.get(entity.name, default))
        elif isinstance(entity, OpaqueFunction):
            actions += entity.execute(context)
        else:
            actions.append(entity)
    found = []
    for action in actions:
        handler = getattr(action, "event_handler", None)
        target = handler and getattr(handler, "_OnActionEventBase__action_matcher", None)
        found += [a for a in (action, target) if isinstance(a, ExecuteProcess) and a not in found]
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_argument_is_described(name):
    declared = [e for e in describe(name).entities if isinstance(e, DeclareLaunchArgument)]
    assert declared and all(d.description for d in declared)


def test_train_sim_starts_the_graph(tmp_path):
    out = tmp_path / "run"
    found = start("train_sim.launch.py", out=out, max_steps=100)
    nodes = {a._Node__node_executable for a in found if isinstance(a, Node)}
    described = train_sim(RunArguments("drawer_open", tmp_path / "other", headless=True))
    assert nodes == {spec.executable for spec in described.nodes if spec.ros}
    assert len(found) == len(described.nodes)
    assert (out / "config" / "learner.yaml").is_file()


@pytest.mark.parametrize("side", ["robot", "workstation"])
def test_a_side_starts_its_part(tmp_path, side, monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    found = start("train_sim.launch.py", out=tmp_path / "run", max_steps=100, side=side, domain=7)
    whole = train_sim(RunArguments("drawer_open", tmp_path / "other", headless=True))
    part = part_of(whole, side, "")
    assert executables(found) == sorted(spec.executable for spec in part.nodes if spec.ros)
    assert "run_side" in executables(found)
    with refused(ConfigError, parameter="domain", code=Code.NOT_GIVEN):
        start("train_sim.launch.py", out=tmp_path / "b", side=side)


@pytest.fixture
def installed(monkeypatch):
    """rviz2 and robot_state_publisher as if their packages were installed."""
    from erl_vlm_ros.runs import launch_actions as launching

    packages = dict.fromkeys(("rviz2", "robot_state_publisher"), "/opt/ros")
    monkeypatch.setattr(launching, "get_packages_with_prefixes", lambda: packages)
    return packages


def executables(found):
    return sorted(a._Node__node_executable for a in found if isinstance(a, Node))


def test_train_real_starts_the_graph(tmp_path):
    found = start("train_real.launch.py", out=tmp_path / "run", camera="opencv:0", adapter="joint_velocity")
    options = RealOptions(adapter="joint_velocity")  # which brings the watchdog
    described = train_real(RunArguments("drawer_open", tmp_path / "other", headless=True, real=options))
    assert executables(found) == sorted(spec.executable for spec in described.nodes)
    assert len(found) == len(described.nodes)  # a real arm's driver describes the arm itself
    text = (tmp_path / "run" / "config" / "safety_guard.yaml").read_text()
    assert "adapter: joint_velocity" in text


def test_train_real_with_the_simulated_arm_its_recorder_and_namespaces(tmp_path, installed):
    out = tmp_path / "run"
    found = start(
        "train_real.launch.py", out=out, use_sim_arm="true", standin_vlm="true", auto_arm="true", record="true",
        namespace="lab", adapter="joint_velocity",
    )  # fmt: skip
    options = RealOptions(use_sim_arm=True, standin_vlm=True, adapter="joint_velocity")
    described = train_real(RunArguments("drawer_open", tmp_path / "other", headless=True, real=options))
    nodes = [spec.executable for spec in described.nodes if spec.ros]
    assert executables(found) == sorted([*nodes, "robot_state_publisher"])
    assert len(found) == len(described.nodes) + 2  # and the recorder
    assert "<robot" in (out / URDF_FILE).read_text()
    assert (out / "config" / "learner.yaml").read_text().startswith("/lab/learner:")
    recorder = [a for a in found if not isinstance(a, Node) and "bag" in str(words(a))]
    assert len(recorder) == 1 and "mcap" in words(recorder[0])


def words(action):
    """The command of an action that is not a node."""
    context = launch.LaunchContext()
    return [launch.utilities.perform_substitutions(context, part) for part in action.cmd]


def test_evaluation_is_of_the_same_arm(tmp_path, monkeypatch, installed):
    out = tmp_path / "run"
    start("train_real.launch.py", out=out, use_sim_arm="true")
    monkeypatch.setattr("erl_vlm_ros.runs.export.export_actor", lambda run, path: 500)
    found = start("evaluate.launch.py", run=out, episodes=2)
    assert executables(found) == sorted(
        ["sim_bridge", "safety_guard", "policy_controller", "monitor", "robot_state_publisher"]
    )


def test_rviz_comes_with_its_layout_or_says_what_is_missing(tmp_path, installed):
    for file, arguments in (("train_sim.launch.py", {"out": tmp_path / "a"}), ("monitor.launch.py", {})):
        found = executables(start(file, rviz="true", **arguments))
        assert "rviz2" in found and "monitor" in found
        assert "rviz2" not in executables(start(file, **{**arguments, "out": tmp_path / f"b-{file}"}))
    installed.clear()
    with refused(ConfigError, parameter="rviz", code=Code.MISSING_PACKAGE) as caught:
        start("train_sim.launch.py", rviz="true", out=tmp_path / "c")
    assert re.fullmatch(r"sudo apt install ros-\w+-robot-state-publisher", caught.value.remedy)
    assert "robot_state_publisher" not in executables(
        start("train_real.launch.py", use_sim_arm="true", out=tmp_path / "d")
    )  # nobody looks: the run goes on without


def test_every_option_of_a_real_arm_is_an_argument():
    declared = {e.name for e in describe("train_real.launch.py").entities if isinstance(e, DeclareLaunchArgument)}
    assert {f.name for f in fields(RealOptions)} <= declared


def test_bad_arguments_are_named(tmp_path):
    with refused(ConfigError, parameter="rviz"):
        start("train_real.launch.py", out=tmp_path / "run", rviz="perhaps")
    with refused(ConfigError, parameter="safety_guard.adapter"):
        start("train_real.launch.py", out=tmp_path / "run", adapter="telepathy")
    with refused(ConfigError, parameter="auto_arm", code=Code.DOES_NOT_FIT):
        start("train_real.launch.py", out=tmp_path / "run", auto_arm="true")
    with refused(ConfigError, parameter="seed"):
        start("train_sim.launch.py", out=tmp_path / "run", seed="many")
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="nope"):
        start("train_sim.launch.py", out=tmp_path / "run", task="nope")
    with refused(ConfigError, parameter="run", code=Code.NOT_GIVEN):
        start("evaluate.launch.py")


def test_second_run_into_the_same_directory(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    Path(tmp_path / "checkpoint" / "a.safetensors").write_text("")
    with refused(ConfigError, parameter="out", code=Code.EXISTS, file=tmp_path, shows="--resume"):
        start("train_sim.launch.py", out=tmp_path)


def test_a_parameter_file_and_set_reach_the_nodes(tmp_path):
    out = tmp_path / "run"
    start("train_sim.launch.py", out=out, params_file="systematic_errors", set="learner.first_ratings=55")
    files = {name: (out / "config" / f"{name}.yaml").read_text() for name in ("reward_trainer", "learner")}
    assert "heads.object_weight: 30.0" in files["reward_trainer"] and "first_ratings: 55" in files["learner"]
    with refused(ConfigError, parameter="params_file", code=Code.MISSING_FILE, file="absent"):
        start("train_sim.launch.py", out=tmp_path / "b", params_file="absent")
