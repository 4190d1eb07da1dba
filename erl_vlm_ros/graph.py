# SPDX-License-Identifier: Apache-2.0
"""The node graphs as plain data: the launch files and ``erl-vlm run`` both start what stands here.

A node's parameters are resolved in this order, later ones win: the table of defaults that the node declares,
``config/<graph>.yaml``, the task file's ``parameters``, what the run itself fixes (task, seed, run
directory, ...), and the command line's ``--set node.parameter=value``. An unknown node or parameter
anywhere is a ConfigError.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.graph_real import connect, connections
from erl_vlm_ros.graph_teacher import asks_standin, check_teacher
from erl_vlm_ros.node_graph import Graph, NodeSpec, RunArguments
from erl_vlm_ros.overlay import EVERY_NODE, Overrides, check, read_parameter_file
from erl_vlm_ros.paths import resource
from erl_vlm_ros.ros.parameters import PARAMETERS
from erl_vlm_ros.ros.params import resolve
from erl_vlm_ros.tasks import Task, load_task, require_scene

# Parameters of the monitor that are those of another node.
_TOLD = {
    "max_steps": "policy_controller", "max_ratings": "sac_learner", "joint_names": "policy_controller",
    "gripper_joints": "policy_controller", "base_frame": "policy_controller", "image_size": "policy_controller",
    "success_source": "policy_controller", "forbidden_boxes": "safety_guard",
}  # fmt: skip
ROBOT, WORKSTATION, SIM = "robot", "workstation", "sim"
STANDIN = "standin_vlm"  # a plain process: its parameters become command-line options
ACTOR_FILE = "actor.safetensors"

_ROBOT = (("safety_guard", ROBOT), ("policy_controller", ROBOT))
_LEARNING = (("sac_learner", WORKSTATION), ("reward_trainer", WORKSTATION), ("vlm_rater", WORKSTATION))
_MONITOR = (("monitor", WORKSTATION),)
_VIEWER = (("viewer", WORKSTATION),)
_KEPT_ALIVE = ("train_real",)  # hours at an arm are not given up for one crash; a simulation shows its crash at once
_OPTIONAL = ("viewer",)  # the run goes on without them


def train_sim(arguments: RunArguments) -> Graph:
    """Train in simulation, rated by the stand-in, or by whom --set names: another base_url, another teacher."""
    return _training("train_sim", ("sim_bridge", SIM), arguments, {}, True)


def train_real(arguments: RunArguments) -> Graph:
    """Train on a real arm, or on the simulated one in its driver's place and in real time (``arguments.real``).

    The stand-in rates only when it is asked for.
    """
    options = arguments.real
    if options.standin_vlm and "base_url" in arguments.overrides.get("vlm_rater", {}):
        raise ConfigError("the stand-in VLM and --set vlm_rater.base_url: only one of them can rate")
    fixed = connections(options, arguments.out)
    graph = _training("train_real", _arm(arguments), arguments, fixed, options.standin_vlm)
    return connect(graph, options)


def _arm(arguments: RunArguments) -> tuple[str, str]:
    return ("sim_bridge", SIM) if arguments.real.use_sim_arm else ("camera", ROBOT)


def _pose(arguments: RunArguments) -> tuple[tuple[str, str], ...]:
    return (("tool_pose", ROBOT),) if arguments.real.tool_pose else ()


def _training(
    name: str, first: tuple[str, str], arguments: RunArguments, fixed: dict[str, dict[str, Any]], standin: bool
) -> Graph:
    fixed["vlm_rater"] = {"ledger": str(arguments.out / "ledger.sqlite")}
    nodes = (first, *_pose(arguments), *_ROBOT, *_LEARNING, *_MONITOR)
    layers = [layer for _, layer in _stored(name, arguments, load_task(arguments.task))]
    if standin and asks_standin(layers, arguments.overrides):
        port = arguments.vlm_port or free_port()
        fixed[STANDIN] = {"port": port, "task": ""}
        fixed["vlm_rater"]["base_url"] = f"http://127.0.0.1:{port}/v1"
        nodes = ((STANDIN, SIM), *nodes)
    if not arguments.headless and has_display():
        nodes = (*nodes, *_VIEWER)
    return _build(name, nodes, arguments, fixed)


def evaluate_sim(arguments: RunArguments) -> Graph:
    """Run the policy that was trained in ``arguments.source``, in simulation and without learning.

    ``arguments.seed`` is the seed of the first evaluation episode.
    """
    return _build("evaluate_sim", (("sim_bridge", SIM), *_ROBOT, *_MONITOR), arguments, _evaluating(arguments))


def evaluate_real(arguments: RunArguments) -> Graph:
    """The same on a real arm, or on the simulated one in its driver's place."""
    fixed = connections(arguments.real, arguments.source or arguments.out)
    for node, values in _evaluating(arguments).items():
        fixed[node] = fixed.get(node, {}) | values
    nodes = (_arm(arguments), *_pose(arguments), *_ROBOT, *_MONITOR)
    graph = _build("evaluate_real", nodes, arguments, fixed)
    return connect(graph, arguments.real)


def _evaluating(arguments: RunArguments) -> dict[str, dict[str, Any]]:
    return {
        "policy_controller": {
            "mode": "evaluate",
            "actor_file": str(arguments.out / ACTOR_FILE),
            "final_eval_episodes": arguments.episodes,
            "eval_seed": arguments.seed,
            "checkpoint_dir": "",
        },
        "monitor": {"mode": "evaluate"},
    }


GRAPHS = {
    "train_sim": train_sim, "evaluate_sim": evaluate_sim, "train_real": train_real, "evaluate_real": evaluate_real,
}  # fmt: skip
TRAINING = ("train_sim", "train_real")  # what `erl-vlm run` starts


def _build(name: str, nodes: tuple[tuple[str, str], ...], arguments: RunArguments, fixed: Overrides) -> Graph:
    task = load_task(arguments.task)
    if any(role == SIM for _, role in nodes):
        require_scene(task)
    names = [node for node, _ in nodes]
    absent = [node for node in arguments.overrides if node not in names and node != EVERY_NODE]
    if absent:
        raise ConfigError(f"--set {absent[0]}...: {name} has no node {absent[0]}; it has {', '.join(names)}")
    stored = _stored(name, arguments, task)
    if arguments.source is not None:
        _require_files(arguments.source / "config", stored, [n for n in names if n not in _OPTIONAL])
    for origin, layer in (*stored, ("--set", arguments.overrides)):
        check(layer, origin)
    layers = [layer for _, layer in stored]
    run = {
        "task": task.path,
        "seed": arguments.seed,
        "run_dir": str(arguments.out),
        "checkpoint_dir": str(arguments.out / "checkpoint"),
        "resume": arguments.source is not None and arguments.source == arguments.out and not arguments.anew,
    }
    if arguments.max_steps is not None:
        run["max_steps"] = arguments.max_steps
    specs: list[NodeSpec] = []
    for node, role in nodes:
        table = PARAMETERS[node]
        known = {param.name for param in table}
        values: dict[str, Any] = {}
        for layer in (*layers, {EVERY_NODE: run}, fixed, arguments.overrides):
            values |= {k: v for k, v in layer.get(EVERY_NODE, {}).items() if k in known}
            values |= layer.get(node, {})
        plain = node == STANDIN
        built_in = {k: v for k, v in values.items() if k not in known}
        module = f"erl_vlm_ros.{'sim' if plain else 'nodes'}.{node}"
        resolved = {**built_in, **resolve(node, table, values)}
        after = STANDIN if node == "vlm_rater" and STANDIN in names else ""
        specs.append(
            NodeSpec(
                node, module, role, resolved, required=node not in _OPTIONAL, ros=not plain,
                ready_text="base_url" if plain else "", after=after, respawn=name in _KEPT_ALIVE and not plain,
            )
        )  # fmt: skip
    check_teacher(name, {spec.name: spec.parameters for spec in specs})
    return _with_told(Graph(name, tuple(specs), ends_with="monitor"))


def _with_told(graph: Graph) -> Graph:
    """Tell the monitor what the others know: how far the run goes, what the arm is like, which nodes there are."""
    values = {spec.name: spec.parameters for spec in graph.nodes}
    told = {key: values[node][key] for key, node in _TOLD.items() if key in values.get(node, {})}
    told["nodes"] = [spec.name for spec in graph.nodes if spec.ros and spec.name not in ("monitor", *_OPTIONAL)]
    for spec in graph.nodes:
        if spec.name == "monitor":
            spec.parameters.update(told)
    return graph


def _stored(name: str, arguments: RunArguments, task: Task) -> list[tuple[str, Overrides]]:
    """Parameters of the shipped file and the task, or those of the run that is continued or evaluated."""
    if arguments.source is not None:
        files = sorted((arguments.source / "config").glob("*.yaml"))
        return [(str(f), read_parameter_file(f)) for f in files if f.stem in PARAMETERS]
    source = resource(f"config/{name}.yaml")
    return [(str(source), read_parameter_file(source)), (f"{task.path}: parameters", task.parameters)]


def _require_files(folder: Path, stored: list[tuple[str, Overrides]], names: list[str]) -> None:
    """A run goes on with the parameters it had: defaults must not step in for a lost file. ConfigError."""
    found = {node for _, layer in stored for node, values in layer.items() if values}
    lost = [str(folder / f"{name}.yaml") for name in names if name not in found]
    if lost:
        raise ConfigError(f"{lost[0]} is missing or empty: restore this run's parameters, or start a new run")


def has_display() -> bool:
    """Whether a window can be opened here."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def free_port() -> int:
    """A TCP port on localhost that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
