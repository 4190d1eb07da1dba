# SPDX-License-Identifier: Apache-2.0
"""Launch files start what the graph describes. Needs the launch packages of a ROS installation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

launch = pytest.importorskip("launch")
launch_ros = pytest.importorskip("launch_ros")

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction  # noqa: E402
from launch_ros.actions import Node  # noqa: E402

from erl_vlm_ros.errors import ConfigError  # noqa: E402
from erl_vlm_ros.graph import RunArguments, train_sim  # noqa: E402
from erl_vlm_ros.paths import resource  # noqa: E402

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
    assert (out / "config" / "sac_learner.yaml").is_file()


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ConfigError, match="seed"):
        start("train_sim.launch.py", out=tmp_path / "run", seed="many")
    with pytest.raises(ConfigError, match="nope"):
        start("train_sim.launch.py", out=tmp_path / "run", task="nope")
    with pytest.raises(ConfigError, match="run"):
        start("evaluate.launch.py")


def test_second_run_into_the_same_directory(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    Path(tmp_path / "checkpoint" / "a.safetensors").write_text("")
    with pytest.raises(ConfigError, match="--resume"):
        start("train_sim.launch.py", out=tmp_path)
