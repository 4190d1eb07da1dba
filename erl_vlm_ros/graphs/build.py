# SPDX-License-Identifier: Apache-2.0
"""The node graphs as plain data: the launch files and ``erl-vlm run`` both start what stands here.

A node's parameters are resolved in this order, later ones win: the table of defaults that the node declares,
``config/<graph>.yaml``, the robot file, the task file's ``parameters``, what the run itself fixes (task, seed, run
directory, ...), and the command line's ``--set node.parameter=value``. An unknown node or parameter
anywhere is a ConfigError.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.agents.base import AGENTS
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.plan import COLLECTOR, CONTROLLER, LEARNER, RunPlan
from erl_vlm_ros.common.tasks import Task, load_task, require_scene
from erl_vlm_ros.data.dataset import survey
from erl_vlm_ros.data.sources import LIVE, SOURCES
from erl_vlm_ros.data.spaces import IMAGES
from erl_vlm_ros.graphs.cameras import (
    ORIGIN,
    camera_layer,
    camera_remappings,
    cameras_of,
    check_choices,
    refuse_options_of_one,
    with_camera_nodes,
)
from erl_vlm_ros.graphs.collect import as_simulation, check_collecting, collecting
from erl_vlm_ros.graphs.offline import (
    check_feedback,
    check_recordings,
    demonstrations,
    learning_nodes,
    needs_by,
    offline_values,
)
from erl_vlm_ros.graphs.real import connect, connections
from erl_vlm_ros.graphs.robot import check_rotation, describe, robot_of, simulation_of
from erl_vlm_ros.graphs.safety import GUARD, limit_changes
from erl_vlm_ros.graphs.spec import Graph, NodeSpec, RunArguments
from erl_vlm_ros.graphs.teacher import RATER, asks_standin, check_teacher, refuse_standin
from erl_vlm_ros.graphs.watchdog import WATCHDOG, tell_watchdog, wants_watchdog
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.by_task import check_task
from erl_vlm_ros.params.layers import EVERY_NODE, Overrides, check, flatten, read_parameter_file
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.shared import shared_values
from erl_vlm_ros.params.tables import PARAMETERS, kind_of

ROBOT, WORKSTATION, SIM = "robot", "workstation", "sim"
STANDIN = "standin_vlm"  # a plain process: its parameters become command-line options
STANDIN_MODULE = "erl_vlm_ros.standin.vlm"
OUR_SCENES = "mujoco_arm"  # the backend that needs a scene of the task's name
ACTOR_FILE = "actor.safetensors"

_ROBOT = (("safety_guard", ROBOT), ("policy_controller", ROBOT))
_LEARNING = (("learner", WORKSTATION), ("reward_trainer", WORKSTATION), ("vlm_rater", WORKSTATION))
_MONITOR = (("monitor", WORKSTATION),)
_VIEWER = (("viewer", WORKSTATION),)
_COLLECTING = (("collector", WORKSTATION),)
# Hours at an arm are not given up for one crash; a simulation shows its crash at once.
_KEPT_ALIVE = ("train_real", "collect_real")
_FIXED_IN_A_RUN = (("learner", "segment_length"), ("vlm_rater", "n_classes"), ("reward_trainer", "n_classes"))
_OPTIONAL = ("viewer",)  # the run goes on without them
_DERIVED = (WATCHDOG,)  # nodes whose parameters follow from others: no file of theirs has to be there


def train_sim(arguments: RunArguments) -> Graph:
    """Train in simulation, rated by the stand-in, or by whom --set names: another base_url, another teacher."""
    return _training("train_sim", ("sim_bridge", SIM), replace(arguments, simulated=True), {}, True)


def train_real(arguments: RunArguments) -> Graph:
    """Train on a real arm, or on the simulated one in its driver's place and in real time (``arguments.real``).

    The stand-in rates only when it is asked for.
    """
    options = arguments.real
    _one_rater(arguments)
    fixed = connections(options, arguments.out, robot_of(arguments))
    graph = _training("train_real", _arm(arguments), arguments, fixed, options.standin_vlm)
    return connect(graph, options, robot_of(arguments))


def train_offline(arguments: RunArguments) -> Graph:
    """Learn from recordings alone (``arguments.data``): no robot side, and the end comes with the last update.

    The stand-in rates only when it is asked for.
    """
    _one_rater(arguments)
    needs = needs_by(arguments.data)
    found = survey(arguments.data.dataset)
    fixed = offline_values(arguments, needs, found)
    nodes = tuple((node, WORKSTATION) for node in learning_nodes(needs)) + _MONITOR
    graph = _learning("train_offline", nodes, arguments, fixed, arguments.real.standin_vlm)
    check_recordings(graph, found)
    if graph.plan.max_updates < 1:
        raise ConfigError("learner.offline_updates is 0: nothing would be learned", parameter="learner.offline_updates")
    return graph


def _one_rater(arguments: RunArguments) -> None:
    if arguments.real.standin_vlm and "base_url" in arguments.overrides.get(RATER, {}):
        text = "the stand-in VLM and --set vlm_rater.base_url: only one of them can rate"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.base_url")


def _arm(arguments: RunArguments) -> tuple[str, str]:
    if arguments.real.use_sim_arm and load_task(arguments.task).world:
        text = f"{arguments.task}: this world has no arm that plays a real one: use the graph train_sim"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task")
    return ("sim_bridge", SIM) if arguments.real.use_sim_arm else ("camera", ROBOT)


def _pose(arguments: RunArguments) -> tuple[tuple[str, str], ...]:
    robot = robot_of(arguments)
    simulated = arguments.simulated or arguments.real.use_sim_arm  # it tells the pose itself
    driver_is_mute = robot is not None and robot.tool_pose and not simulated
    return (("tool_pose", ROBOT),) if arguments.real.tool_pose or driver_is_mute else ()


def _training(
    name: str, first: tuple[str, str], arguments: RunArguments, fixed: dict[str, dict[str, Any]], standin: bool
) -> Graph:
    shown = None if not arguments.data.demos else survey(arguments.data.demos)
    for node, values in ({} if shown is None else demonstrations(arguments.data.demos, shown)).items():
        fixed[node] = fixed.get(node, {}) | values
    nodes = (first, *_pose(arguments), *_ROBOT, *_LEARNING, *_MONITOR)
    graph = _learning(name, nodes, arguments, fixed, standin)
    if shown is not None:
        check_recordings(graph, shown)
    return graph


def _learning(
    name: str,
    nodes: tuple[tuple[str, str], ...],
    arguments: RunArguments,
    fixed: dict[str, dict[str, Any]],
    standin: bool,
) -> Graph:
    """A graph with a learner, and the stand-in where it is to rate."""
    asks = RATER in [node for node, _ in nodes]
    if asks:
        fixed.setdefault(RATER, {})["ledger"] = str(arguments.out / "ledger.sqlite")
    layers = [layer for _, layer in _stored(name, arguments, load_task(arguments.task))]
    if asks and standin and asks_standin(layers, arguments.overrides):
        refuse_standin(load_task(arguments.task))
        port = arguments.vlm_port or free_port()
        fixed[STANDIN] = {"port": port, "task": ""}
        fixed["vlm_rater"]["base_url"] = f"http://127.0.0.1:{port}/v1"
        nodes = ((STANDIN, SIM), *nodes)
    if not arguments.headless and has_display():
        nodes = (*nodes, *_VIEWER)
    return _build(name, nodes, arguments, fixed)


def collect(arguments: RunArguments) -> Graph:
    """Gather demonstrations as a dataset (``arguments.data``): the scripted expert drives the simulated arm, in
    lock-step, or a person a real arm or the simulated one in its driver's place."""
    arguments = as_simulation(arguments)
    robot, options = robot_of(arguments), arguments.real
    fixed = {} if arguments.simulated else connections(options, arguments.out, robot)
    for node, values in collecting(arguments).items():
        fixed[node] = fixed.get(node, {}) | values
    first = ("sim_bridge", SIM) if arguments.simulated else _arm(arguments)
    nodes = (first, *_pose(arguments), *_ROBOT, *_COLLECTING, *_MONITOR)
    if not arguments.headless and has_display():
        nodes = (*nodes, *_VIEWER)
    graph = _build("collect_sim" if arguments.simulated else "collect_real", nodes, arguments, fixed)
    check_collecting(graph)
    graph = replace(graph, name="collect")
    return graph if arguments.simulated else connect(graph, options, robot)


def evaluate_sim(arguments: RunArguments) -> Graph:
    """Run the policy that was trained in ``arguments.source``, in simulation and without learning.

    ``arguments.seed`` is the seed of the first evaluation episode.
    """
    arguments = replace(arguments, simulated=True)
    return _build("evaluate_sim", (("sim_bridge", SIM), *_ROBOT, *_MONITOR), arguments, _evaluating(arguments))


def evaluate_real(arguments: RunArguments) -> Graph:
    """The same on a real arm, or on the simulated one in its driver's place."""
    fixed = connections(arguments.real, arguments.source or arguments.out, robot_of(arguments))
    for node, values in _evaluating(arguments).items():
        fixed[node] = fixed.get(node, {}) | values
    nodes = (_arm(arguments), *_pose(arguments), *_ROBOT, *_MONITOR)
    graph = _build("evaluate_real", nodes, arguments, fixed)
    return connect(graph, arguments.real, robot_of(arguments))


def _evaluating(arguments: RunArguments) -> dict[str, dict[str, Any]]:
    return {
        "policy_controller": {
            "mode": "evaluate",
            "actor_file": str(arguments.out / ACTOR_FILE),
            "final_eval_episodes": arguments.episodes,
            "eval_seed": arguments.seed,
            "checkpoint_dir": "",
        },
        "monitor": {"mode": "evaluate", "max_updates": None, "recorded_episodes": 0},
    }


GRAPHS = {
    "train_sim": train_sim, "evaluate_sim": evaluate_sim, "train_real": train_real, "evaluate_real": evaluate_real,
    "train_offline": train_offline, "collect": collect,
}  # fmt: skip
TRAINING = ("train_sim", "train_real", "train_offline", "collect")  # what `erl-vlm run` starts


def _build(name: str, nodes: tuple[tuple[str, str], ...], arguments: RunArguments, fixed: Overrides) -> Graph:
    task = load_task(arguments.task)
    stored = _stored(name, arguments, task)
    if arguments.source is None and shared_values([*stored, ("--set", arguments.overrides)]).get("observe") == IMAGES:
        data = arguments.data
        begun = "images" if data.demos or data.before else "images_alone"
        which = "images_offline" if name == "train_offline" else begun
        stored.insert(1, _file(f"config/params/{which}.yaml"))  # after the graph's own
    simulated = any(role == SIM and node != STANDIN for node, role in nodes) or not any(r == ROBOT for _, r in nodes)
    asked = shared_values([*stored, ("--set", arguments.overrides)]).get("cameras")
    cameras = cameras_of(robot_of(arguments), task, asked, simulated)
    refuse_options_of_one(arguments.real, cameras)
    nodes = with_camera_nodes(nodes, cameras)
    names = [node for node, _ in nodes]
    if GUARD in names and wants_watchdog([*stored, ("this graph", fixed), ("--set", arguments.overrides)]):
        nodes, names = ((WATCHDOG, ROBOT), *nodes), [WATCHDOG, *names]
    absent = [node for node in arguments.overrides if node not in names and node != EVERY_NODE]
    if absent:
        text = f"--set {absent[0]}...: {name} has no node {absent[0]}; it has {', '.join(names)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter=absent[0])
    if arguments.source is not None:
        _require_files(arguments.source / "config", stored, [n for n in names if n not in (*_OPTIONAL, *_DERIVED)])
    for origin, layer in (*stored, ("--set", arguments.overrides)):
        check(layer, origin)
    run = {
        "task": task.path,
        "seed": arguments.seed,
        "run_id": arguments.run_id,
        "run_dir": str(arguments.out),
        "checkpoint_dir": str(arguments.out / "checkpoint"),
        "resume": arguments.source is not None and arguments.source == arguments.out and not arguments.anew,
    }
    if arguments.max_steps is not None:
        run["max_steps"] = arguments.max_steps
    if task.world and "sim_bridge" in names:
        fixed = {**fixed, "sim_bridge": {"backend": task.world, **fixed.get("sim_bridge", {})}}
    ours = "sim_bridge" in names and not task.world
    attached = simulation_of(arguments, task, lock_step=arguments.simulated) if ours else {}
    layers = [
        *stored, ("this run", {EVERY_NODE: run}), ("this graph", fixed), ("the simulated robot", attached),
        (ORIGIN, camera_layer(cameras, simulated)),
        ("--set", arguments.overrides),
    ]  # fmt: skip
    shared = describe(shared_values(layers))
    if cameras:
        shared["cameras"] = [camera.name for camera in cameras]
    specs: list[NodeSpec] = []
    for node, role in nodes:
        table = PARAMETERS[kind_of(node)]
        known = {param.name for param in table}
        values: dict[str, Any] = {}
        for _, layer in layers:
            values |= {k: v for k, v in layer.get(EVERY_NODE, {}).items() if k in known}
            values |= layer.get(kind_of(node), {}) | layer.get(node, {})
        values |= {key: value for key, value in shared.items() if key in known}
        if node == "monitor":
            values["nodes"] = [other for other in names if other not in ("monitor", STANDIN, *_OPTIONAL)]
            values["finished_by"] = next(name for name in (COLLECTOR, CONTROLLER, LEARNER) if name in names)
            if COLLECTOR in names:
                values["max_episodes"] = next(s.parameters["episodes"] for s in specs if s.name == COLLECTOR)
            if CONTROLLER not in names:  # counted in updates; the learner stands before the monitor
                values["max_updates"] = next(s.parameters["offline_updates"] for s in specs if s.name == LEARNER)
        if node == LEARNER:
            values["live"] = CONTROLLER in names
        plain = node == STANDIN
        built_in = {k: v for k, v in values.items() if k not in known}
        module = STANDIN_MODULE if plain else f"erl_vlm_ros.nodes.{kind_of(node)}"
        resolved = {**built_in, **resolve(node, table, values)}
        after = STANDIN if node == "vlm_rater" and STANDIN in names else ""
        specs.append(
            NodeSpec(
                node, module, role, resolved, required=node not in _OPTIONAL, ros=not plain,
                ready_text="base_url" if plain else "", after=after, respawn=name in _KEPT_ALIVE and not plain,
            )
        )  # fmt: skip
    specs = [replace(spec, remappings=tuple(camera_remappings(spec, cameras))) for spec in specs]
    nodes_values = {spec.name: spec.parameters for spec in specs}
    check_choices(nodes_values, cameras, STANDIN in names)
    check_teacher(name, nodes_values)
    check_feedback(nodes_values)
    if LEARNER in nodes_values:
        AGENTS.check(nodes_values[LEARNER]["algorithm"], "learner.algorithm")
        if nodes_values[LEARNER]["episode_source"] != LIVE:
            SOURCES.check(nodes_values[LEARNER]["episode_source"], "learner.episode_source")
    _check_classes(nodes_values, task)
    if run["resume"]:
        _check_unchanged(nodes_values, stored, task)
    if OUR_SCENES in [spec.parameters["backend"] for spec in specs if spec.name == "sim_bridge"]:
        require_scene(task)
    check_rotation(task, specs, simulated=any(role == SIM for _, role in nodes))
    graph = Graph(name, tuple(specs), "monitor", _limit_changes(name, specs, fixed), RunPlan.of(nodes_values))
    tell_watchdog(graph)
    return graph


def _check_classes(nodes: dict[str, dict[str, Any]], task: Task) -> None:
    """Who rates and who learns from it must mean the same classes: another number is refused message by message."""
    counts = {n: nodes[n]["n_classes"] or task.n_classes for n in ("vlm_rater", "reward_trainer") if n in nodes}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{node}.n_classes is {count}" for node, count in counts.items())
        raise ConfigError(
            f"{text}: set both, or leave both out", code=Code.DOES_NOT_FIT, parameter="vlm_rater.n_classes"
        )


def _check_unchanged(nodes: dict[str, dict[str, Any]], stored: list[tuple[str, Overrides]], task: Task) -> None:
    """What a run's data is made of stays as it is when the run is continued."""
    before = {node: values for _, layer in stored for node, values in layer.items()}
    not_set = {"n_classes": task.n_classes}
    for node, key in _FIXED_IN_A_RUN:
        if node not in nodes or node not in before:
            continue
        old, new = (values[node].get(key) or not_set.get(key) for values in (before, nodes))
        if old is not None and new != old:
            text = f"{node}.{key} is {new}, but this run began with {old}: it stays so"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"{node}.{key}")


def _stored(name: str, arguments: RunArguments, task: Task) -> list[tuple[str, Overrides]]:
    """Parameters of the shipped file, robot and task, or those of the run that is continued or evaluated."""
    robot = robot_of(arguments)
    by_robot = [] if robot is None else [(f"robot {robot.name}", robot.overrides())]
    if arguments.source is not None:
        files = {file.stem: file for file in sorted((arguments.source / "config").glob("*.yaml"))}
        # A run of an older version was continued: the file under the node's old name is what it was begun with.
        old = [name for name, new in renamed.NODES.items() if new in files]
        known = [name for name in files if kind_of(renamed.NODES.get(name, name)) in PARAMETERS and name not in old]
        return [*by_robot, *((str(files[name]), read_parameter_file(files[name])) for name in known)]
    origin = [(f"{arguments.data.before}: config", arguments.inherited)] if arguments.inherited else []
    by_task = renamed.layer({node: flatten(values) for node, values in task.parameters.items()})
    check(by_task, f"{task.path}: parameters")
    check_task(by_task, f"{task.path}: parameters")
    return [*_shipped(name), *by_robot, (f"{task.path}: parameters", by_task), *origin]


def _shipped(name: str) -> list[tuple[str, Overrides]]:
    """The graph's own file; one that gathers demonstrations is made like that which learns, but for a few values."""
    kind, _, where = name.partition("_")
    names = (f"train_{where}", kind) if kind == "collect" else (name,)
    return [_file(f"config/{name}.yaml") for name in names]


def _file(name: str) -> tuple[str, Overrides]:
    source = resource(name)
    return str(source), read_parameter_file(source)


def _limit_changes(name: str, nodes: list[NodeSpec], fixed: Overrides) -> tuple[str, ...]:
    """Lines about the guard's limits that are not as this graph ships them."""
    table, values = PARAMETERS[GUARD], {}
    for layer in (*(layer for _, layer in _shipped(name)), fixed):
        values |= {**layer.get(EVERY_NODE, {}), **layer.get(GUARD, {})}
    known = {param.name for param in table}
    shipped = resolve(GUARD, table, {key: value for key, value in values.items() if key in known})
    return tuple(line for spec in nodes if spec.name == GUARD for line in limit_changes(spec.parameters, shipped))


def _require_files(folder: Path, stored: list[tuple[str, Overrides]], names: list[str]) -> None:
    """A run goes on with the parameters it had: defaults must not step in for a lost file. ConfigError."""
    found = {node for origin, layer in stored for node, values in layer.items() if values and origin.endswith(".yaml")}
    lost = [str(folder / f"{name}.yaml") for name in names if name not in found]
    if lost:
        text = f"{lost[0]} is missing or empty: restore this run's parameters, or start a new run"
        raise ConfigError(text, code=Code.MISSING_FILE, file=str(lost[0]))


def has_display() -> bool:
    """Whether a window can be opened here."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def free_port() -> int:
    """A free TCP port on localhost."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
