# SPDX-License-Identifier: Apache-2.0
"""A graph of ``erl_vlm_ros.graphs.build`` as launch actions, for the files in launch/. Imports launch: only on a ROS
installation."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

from ament_index_python.packages import get_packages_with_prefixes
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
from launch_ros.parameter_descriptions import ParameterValue

from erl_vlm_ros.common import names
from erl_vlm_ros.common.cameras import merged
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.graphs.companions import Companion, companions, needs_urdf
from erl_vlm_ros.graphs.spec import DataOptions, Graph, NodeSpec, RealOptions, Respawns, SideOptions
from erl_vlm_ros.params.layers import settings_of
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.runs.session import Prepared, observing, prepare_evaluation, prepare_training

_VIEWS = (names.MONITOR_IMAGE, names.MONITOR_IMAGE_COMPRESSED, names.MONITOR_MARKERS)
# Saving a checkpoint takes longer than launch's 5 s.
_PATIENCE = {"sigterm_timeout": "45", "sigkill_timeout": "10"}
_TRAIN = (
    (
        "task",
        "",
        "A shipped task or the path of a task YAML; empty: that of dataset, demos or from_run, or drawer_open.",
    ),
    ("robot", "", "A shipped robot or the path of a robot YAML (docs/robots.md); empty: as its URDF says."),
    ("seed", "0", "Seed of everything random."),
    ("out", "", "Run directory to make; empty: runs/TASK-seedSEED below the working directory."),
    ("resume", "", "Run directory to continue; empty: a new run."),
    ("max_steps", "", "Environment steps of the whole run; empty: as configured."),
    ("observe", "", "What the policy sees beside its proprioception: state or images; empty: as configured."),
    ("demos", "", "Demonstrations to begin with: a dataset, or scripted:N[:NOISE] in simulation; empty: none."),
    ("from_run", "", "Online: a run directory; what was learned there is the beginning."),
    ("headless", "true", "false: a window with the dashboard."),
    ("params_file", "", "A ROS parameter file, or the name of one in config/params; set wins over it."),
    ("set", "", "Parameters to replace: 'node.parameter=value node.parameter=value'."),
)
_SCREENS = (
    ("rviz", "false", "true: rviz2 with the layout of config/."),
    ("record", "false", "true: an MCAP bag of the run in its directory."),
)
_SIDES = (
    ("side", "both", "What this machine runs: robot, workstation or both (docs/how_to/two_machines.md)."),
    ("domain", "", "With a side: the ROS domain, the same on both machines; empty: ROS_DOMAIN_ID."),
    ("peer", "", "With a side: addresses of the other machine, where multicast does not reach it."),
)
_REAL = (
    ("camera", "", "realsense, opencv or topic; opencv:DEVICE or URL, realsense:SERIAL; empty: as configured."),
    ("adapter", "", "What the arm's driver takes (docs/robots.md); empty: as configured."),
    ("use_sim_arm", "false", "true: the simulated arm in the driver's place, in real time."),
    ("auto_arm", "false", "true: arm the guard without asking; with use_sim_arm only."),
    ("standin_vlm", "false", "true: the stand-in rates, not a VLM endpoint."),
    ("namespace", "", "Namespace of all nodes of this package."),
    ("robot_namespace", "", "Namespace of the arm's driver."),
    ("camera_namespace", "", "Namespace of the camera's driver."),
    ("reset_service", "", "Service that resets the scene (std_srvs/Trigger); empty: sim_bridge/reset."),
    ("remap", "", "Other names of the driver's topics: 'OURS:=ITS OURS:=ITS' (docs/robots.md)."),
    ("tool_pose", "false", "true: compute ee_pose from joint_states and the URDF."),
)
_OFFLINE = (
    ("dataset", "", "Folder of the recordings (erl-vlm dataset)."),
    ("algorithm", "", "iql, cpl, bc, bc_rated, or package.module:Class."),
    ("feedback", "", "rating, preference or both; empty: what the algorithm needs."),
    ("keep", "", "every or successful: which of the recordings are learned from; empty: every."),
    ("updates", "", "Updates in all; empty: 4000, of cpl 3400."),
    ("evaluate_on", "sim", "sim or real: what evaluate.launch.py runs the learned policy on."),
)
_COLLECT = (
    ("driver", "", "scripted, joy or twist; empty: the expert in simulation, a joystick at an arm."),
    ("episodes", "", "Demonstrations to gather; empty: 50."),
    ("noise", "", "Disturbance of the expert, 0 to 1; empty: drawn for each episode."),
    ("keep", "", "every or successful; empty: every."),
)
_EVALUATE = (
    ("run", "", "Run directory with the policy."),
    ("episodes", "20", "Episodes."),
    ("seed", "1000", "Seed of the first episode."),
    ("params_file", "", "A ROS parameter file, or the name of one in config/params; set wins over it."),
    ("set", "", "Parameters to replace: 'node.parameter=value node.parameter=value'."),
)
_MONITOR = (
    ("task", "drawer_open", "A shipped task or the path of a task YAML."),
    ("robot", "", "The run's robot: a shipped one or the path of a robot YAML; empty: as its URDF says."),
    ("namespace", "", "Namespace of the run's nodes."),
    ("rviz", "false", "true: rviz2 with the layout of config/."),
)


def training(graph: str) -> LaunchDescription:
    """Launch description of a training graph."""
    offline, collect, real = graph == "train_offline", graph == "collect", graph != "train_sim"
    own = _OFFLINE if offline else _COLLECT if collect else _SIDES
    arguments = (*_TRAIN, *_SCREENS, *own, *(_REAL if real else ()))

    def start(context: LaunchContext) -> list[Action]:
        read = _reader(context, arguments)
        screens = _switch(read, "rviz"), _switch(read, "record")  # looked at before anything is made
        prepared = prepare_training(
            graph,
            task=None if read("resume") else read("task") or None,
            robot=read("robot") or None,
            seed=None if read("resume") else _number(read("seed"), "seed"),
            out=read("out") or None,
            resume=read("resume") or None,
            max_steps=_number(read("max_steps"), "max_steps") if read("max_steps") else None,
            headless=_switch(read, "headless"),
            settings=observing(read("observe")) + _settings(read),
            real=_real_options(read) if real else None,
            data=_recordings(read) if offline else _data(read, collect),
            side=SideOptions() if offline or collect else _side(read),
        )
        return _actions(prepared, *screens)

    return _describe(arguments, start)


def _settings(read) -> list[str]:
    file = read("params_file")
    return (settings_of(file) if file else []) + read("set").split()


def _recordings(read) -> DataOptions:
    updates = _number(read("updates"), "updates") if read("updates") else None
    values = {name: read(name) for name in ("dataset", "algorithm", "feedback", "keep", "evaluate_on")}
    return DataOptions(**values, updates=updates, evaluate=0, demos=read("demos"), before=read("from_run"))


def _data(read, collect: bool) -> DataOptions:
    shown = DataOptions(demos=read("demos"), before=read("from_run"))
    if not collect:
        return shown
    episodes = _number(read("episodes"), "episodes") if read("episodes") else None
    try:
        noise = float(read("noise")) if read("noise") else None
    except ValueError:
        raise ConfigError(f"launch argument noise:={read('noise')}: expected a number", parameter="noise") from None
    return replace(shown, driver=read("driver"), episodes=episodes, noise=noise, keep=read("keep"))


def _side(read) -> SideOptions:
    domain = _number(read("domain"), "domain") if read("domain") else None
    return SideOptions(read("side"), domain, tuple(read("peer").split()))


def _real_options(read) -> RealOptions:
    switches = [f.name for f in fields(RealOptions) if isinstance(f.default, bool)]
    values = {name: _switch(read, name) if name in switches else read(name) for name, *_ in _REAL}
    return RealOptions(**values)


def evaluation() -> LaunchDescription:
    """Launch description of the evaluation of a run, on what it was trained on."""
    arguments = (*_EVALUATE, *_SCREENS)

    def start(context: LaunchContext) -> list[Action]:
        read = _reader(context, arguments)
        if not read("run"):
            raise ConfigError(
                "launch argument run is empty: name the run directory, run:=DIR", code=Code.NOT_GIVEN, parameter="run"
            )
        screens = _switch(read, "rviz"), _switch(read, "record")
        episodes, seed = _number(read("episodes"), "episodes"), _number(read("seed"), "seed")
        prepared = prepare_evaluation(read("run"), episodes, seed, _settings(read))
        return _actions(prepared, *screens)

    return _describe(arguments, start)


def watching() -> LaunchDescription:
    """Launch description of a second monitor, which writes nothing, on any machine that sees the graph."""

    def start(context: LaunchContext) -> list[Action]:
        read = _reader(context, _MONITOR)
        task, namespace = load_task(read("task")).path, read("namespace")
        known = {param.name for param in PARAMETERS["monitor"]}
        robot = load_robot(read("robot")) if read("robot") else None
        facts = {} if robot is None else robot.overrides()["/**"]
        cameras = merged(() if robot is None else robot.cameras, load_task(task).cameras)
        facts = facts | ({"cameras": [camera.name for camera in cameras]} if cameras else {})
        facts = {key: value for key, value in facts.items() if key in known and value is not None}
        moved = [(topic, topic.replace("monitor/", "monitor_view/", 1)) for topic in _VIEWS]
        out: list[Action] = [
            Node(
                package="erl_vlm_ros", executable="monitor", name="monitor_view", namespace=namespace,
                parameters=[{**facts, "task": task, "lock_step": False}],  # shows it live
                remappings=moved, output="screen",
            )
        ]  # fmt: skip
        if _switch(read, "rviz"):
            layout = str(resource("config/train_real.rviz"))
            out.append(Node(package="rviz2", executable="rviz2", namespace=namespace, arguments=["-d", layout]))
        return out

    return _describe(_MONITOR, start)


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
        raise ConfigError(f"launch argument {name}:={text}: expected a whole number", parameter=name) from None


def _switch(read, name: str) -> bool:
    text = read(name).lower()
    if text not in ("true", "1", "false", "0"):
        raise ConfigError(f"launch argument {name}:={read(name)}: expected true or false", parameter=name)
    return text in ("true", "1")


def _actions(prepared: Prepared, rviz: bool, record: bool) -> list[Action]:
    if needs_urdf(prepared.graph, rviz):
        prepared.write_urdf()
    wanted = companions(prepared.graph, prepared.path, rviz, record)
    lacking = [c for c in wanted if c.package and c.package not in get_packages_with_prefixes()]
    if rviz and lacking:
        prepared.close()
        raise ConfigError(
            f"rviz:=true needs the package {lacking[0].package}: sudo apt install {_apt(lacking[0])}",
            code=Code.MISSING_PACKAGE,
            parameter="rviz",
            remedy=f"sudo apt install {_apt(lacking[0])}",
        )
    beside = [_companion(c) for c in wanted if c not in lacking]
    beside += [LogInfo(msg=f"no {c.name}: sudo apt install {_apt(c)}") for c in lacking]
    graph = prepared.graph.write_parameters(prepared.path / "config")
    actions = {spec.name: _action(spec) for spec in graph.nodes}
    out: list[Action] = [SetEnvironmentVariable(k, v) for k, v in prepared.environment(None).items()]
    out += [_watch(spec, actions[spec.name], graph, prepared) for spec in graph.nodes]
    for spec in graph.nodes:
        if spec.after:
            needed = graph.node(spec.after)
            out.append(_start_after(actions[needed.name], needed.ready_text, actions[spec.name]))
    out += [actions[spec.name] for spec in graph.nodes if not spec.after]
    return [LogInfo(msg=prepared.announcement), *out, *beside]


def _apt(companion: Companion) -> str:
    return f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{companion.package.replace('_', '-')}"


def _companion(companion: Companion) -> Action:
    if companion.command:
        return ExecuteProcess(cmd=list(companion.command), name=companion.name, output="log", **_PATIENCE)
    return Node(
        package=companion.package,
        executable=companion.executable,
        name=companion.name,
        namespace=companion.namespace,
        # ParameterValue: a URDF must not be read as YAML.
        parameters=[{k: ParameterValue(v, value_type=str) for k, v in companion.parameters.items()}],
        remappings=list(companion.remappings),
        arguments=list(companion.arguments),
        output="log",
    )


def _action(spec: NodeSpec) -> Action:
    if not spec.ros:
        return ExecuteProcess(cmd=[sys.executable, "-u", *spec.command()], name=spec.name, output="both", **_PATIENCE)
    return Node(
        package="erl_vlm_ros",
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[spec.parameters_file],
        remappings=list(spec.remappings),
        ros_arguments=["--enclave", spec.enclave],
        additional_env=dict(spec.environment),
        output="both",
        respawn=spec.respawn,
        respawn_delay=1.0,
        **_PATIENCE,
    )


def _watch(spec: NodeSpec, action: Action, graph: Graph, prepared: Prepared) -> RegisterEventHandler:
    """Shut down when the graph is finished or a required node died that is not to be started again."""
    respawns = Respawns()

    def ended(event, _context) -> list[Action] | None:
        if spec.name == graph.ends_with and event.returncode == 0:
            prepared.close()
            return [
                LogInfo(msg=f"finished: {prepared.path}"),
                EmitEvent(event=Shutdown(reason="the run is finished")),
            ]
        if respawns.allowed(spec, event.returncode, time.monotonic()):
            return [LogInfo(msg=f"{spec.name} died (status {event.returncode}): started again")]
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
