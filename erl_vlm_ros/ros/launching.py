# SPDX-License-Identifier: Apache-2.0
"""A graph of ``erl_vlm_ros.graph`` as launch actions, for the files in launch/. Imports launch: only on a ROS
installation."""

from __future__ import annotations

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessIO
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.node_graph import Graph, NodeSpec
from erl_vlm_ros.session import Prepared, prepare_evaluation, prepare_training

# Saving a checkpoint takes longer than launch's 5 s.
_PATIENCE = {"sigterm_timeout": "45", "sigkill_timeout": "10"}
_TRAIN = (
    ("task", "drawer_open", "A shipped task or the path of a task YAML."),
    ("seed", "0", "Seed of everything random."),
    ("out", "", "Run directory to make; empty: runs/TASK-seedSEED below the working directory."),
    ("resume", "", "Run directory to continue; empty: a new run."),
    ("max_steps", "", "Environment steps of the whole run; empty: as configured."),
    ("headless", "true", "false: a window with the dashboard."),
    ("set", "", "Parameters to replace: 'node.parameter=value node.parameter=value'."),
)
_EVALUATE = (
    ("run", "", "Run directory with the policy."),
    ("episodes", "20", "Episodes."),
    ("seed", "1000", "Seed of the first episode."),
    ("set", "", "Parameters to replace: 'node.parameter=value node.parameter=value'."),
)


def training(graph: str) -> LaunchDescription:
    """Launch description of a training graph."""

    def start(context: LaunchContext) -> list[Action]:
        read = _reader(context, _TRAIN)
        prepared = prepare_training(
            graph,
            task=None if read("resume") else read("task"),
            seed=None if read("resume") else _number(read("seed"), "seed"),
            out=read("out") or None,
            resume=read("resume") or None,
            max_steps=_number(read("max_steps"), "max_steps") if read("max_steps") else None,
            headless=read("headless").lower() in ("true", "1"),
            settings=read("set").split(),
        )
        return _actions(prepared)

    return _describe(_TRAIN, start)


def evaluation() -> LaunchDescription:
    """Launch description of the evaluation of a run."""

    def start(context: LaunchContext) -> list[Action]:
        read = _reader(context, _EVALUATE)
        if not read("run"):
            raise ConfigError("launch argument run is empty: name the run directory, run:=DIR")
        episodes, seed = _number(read("episodes"), "episodes"), _number(read("seed"), "seed")
        return _actions(prepare_evaluation(read("run"), episodes, seed, read("set").split()))

    return _describe(_EVALUATE, start)


def _describe(arguments: tuple[tuple[str, str, str], ...], start) -> LaunchDescription:
    declared = [DeclareLaunchArgument(n, default_value=d, description=text) for n, d, text in arguments]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _reader(context: LaunchContext, arguments: tuple[tuple[str, str, str], ...]):
    values = {name: LaunchConfiguration(name).perform(context).strip() for name, _, _ in arguments}
    return values.__getitem__


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"launch argument {name}:={text}: expected a whole number") from None


def _actions(prepared: Prepared) -> list[Action]:
    graph = prepared.graph.write_parameters(prepared.path / "config")
    actions = {spec.name: _action(spec) for spec in graph.nodes}
    out: list[Action] = [SetEnvironmentVariable(k, v) for k, v in prepared.environment(None).items()]
    out += [_watch(spec, actions[spec.name], graph, prepared) for spec in graph.nodes]
    for spec in graph.nodes:
        if spec.after:
            needed = graph.node(spec.after)
            out.append(_start_after(actions[needed.name], needed.ready_text, actions[spec.name]))
    out += [actions[spec.name] for spec in graph.nodes if not spec.after]
    return [LogInfo(msg=prepared.announcement), *out]


def _action(spec: NodeSpec) -> Action:
    if not spec.ros:
        return ExecuteProcess(
            cmd=[sys.executable, "-u", *spec.command()], name=spec.name, output="both", **_PATIENCE
        )
    return Node(
        package="erl_vlm_ros",
        executable=spec.executable,
        name=spec.name,
        parameters=[spec.parameters_file],
        remappings=list(spec.remappings),
        output="both",
        **_PATIENCE,
    )


def _watch(spec: NodeSpec, action: Action, graph: Graph, prepared: Prepared) -> RegisterEventHandler:
    """Shut down when the graph is finished or a required node died."""

    def ended(event, _context) -> list[Action] | None:
        if spec.name == graph.ends_with and event.returncode == 0:
            prepared.close()
            return [
                LogInfo(msg=f"finished: {prepared.path}"),
                EmitEvent(event=Shutdown(reason="the run is finished")),
            ]
        if spec.required and event.returncode:
            prepared.close()
            reason = f"{spec.name} ended with status {event.returncode}"
            return [EmitEvent(event=Shutdown(reason=reason))]
        return None

    return RegisterEventHandler(OnProcessExit(target_action=action, on_exit=ended))


def _start_after(needed: Action, text: str, action: Action) -> RegisterEventHandler:
    """Start ``action`` once ``needed`` has printed ``text``."""
    started: list[Path | bool] = []

    def heard(event: ProcessIO) -> list[Action] | None:
        if started or text not in event.text.decode(errors="replace"):
            return None
        started.append(True)
        return [action]

    return RegisterEventHandler(OnProcessIO(target_action=needed, on_stdout=heard))
