# SPDX-License-Identifier: Apache-2.0
"""Runs on recordings: which task and robot they are of, and the evaluation of what was learned from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write, read_json
from erl_vlm_ros.data.dataset import read_info, robot_file
from erl_vlm_ros.data.sources import EVERY, SUCCESSFUL
from erl_vlm_ros.graphs.build import GRAPHS
from erl_vlm_ros.graphs.collect import check_collect_options
from erl_vlm_ros.graphs.offline import EPISODES, REAL, SIM, split_sides
from erl_vlm_ros.graphs.spec import DataOptions, Graph, RealOptions, RunArguments
from erl_vlm_ros.monitoring.files import RECORD, SUMMARY
from erl_vlm_ros.runs.arm_urdf import write_arm_urdf
from erl_vlm_ros.runs.demos import Scripted

GRAPH, COLLECT = "train_offline", "collect"
#: graphs -> the options that they alone know
_KNOWN_BY = {
    (GRAPH,): ("dataset", "algorithm", "feedback", "updates", "evaluate", "evaluate_on"),
    ("train_sim", "train_real"): ("demos", "before"),
    (COLLECT,): ("driver", "episodes", "noise"),
    (COLLECT, GRAPH): ("keep",),
}
SEED = 1000  # of the first episode of the evaluation
_COPIED = ("success_rate", "eval_episodes", "success_source")


def check_options(graph: str, data: DataOptions, real: RealOptions, max_steps: int | None) -> None:
    """Refuse options that the graph does not know. ConfigError names them."""
    for graphs, names in _KNOWN_BY.items():
        wrong = [name for name in names if getattr(data, name) != getattr(DataOptions(), name)]
        if wrong and graph not in graphs:
            where = f"{' and '.join(graphs)} know{'s' * (len(graphs) == 1)}"
            name = {"before": "from"}.get(wrong[0], wrong[0].replace("_", "-"))
            raise ConfigError(f"--{name}: only {where} this", code=Code.DOES_NOT_FIT, parameter=name)
    if data.demos and data.before:
        text = "--from and --demos: the buffer begins with the one or the other; leave one away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="demos")
    if data.keep not in ("", EVERY, SUCCESSFUL):
        raise ConfigError(f"--keep {data.keep}: expected {EVERY} or {SUCCESSFUL}", parameter="keep")
    if graph == COLLECT:
        check_collect_options(data)
        if max_steps is not None:
            text = "--max-steps: collect counts episodes; --episodes N says how many"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="max_steps")
    if graph != GRAPH:
        return
    if max_steps is not None:
        text = f"--max-steps: {GRAPH} makes no steps; --updates N says how much is learned"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="max_steps")
    if data.evaluate_on not in (SIM, REAL):
        raise ConfigError(f"--evaluate-on must be sim or real, got {data.evaluate_on}", parameter="evaluate_on")
    for name, least in (("updates", 1), ("evaluate", 0)):
        value = getattr(data, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be at least {least}, got {value}", parameter=name)
    if data.evaluate_on == SIM and replace(real, standin_vlm=False) != RealOptions():
        text = "options of a real arm need --evaluate-on real: the simulated arm knows none of them"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="evaluate_on")


def absolute(data: DataOptions) -> DataOptions:
    """The options with paths that hold wherever the run is continued from."""
    paths = {name: getattr(data, name) for name in ("dataset", "demos", "before")}
    paths = {name: path for name, path in paths.items() if path and Scripted.read(path) is None}
    return replace(data, **{name: str(Path(path).expanduser().resolve()) for name, path in paths.items()})


def recorded(data: DataOptions, task: str | None, robot: str | None) -> tuple[str | None, str | None]:
    """Task and robot of a new run: those that are asked for, else those of its dataset."""
    path = data.dataset or data.demos
    if not path:
        return task, robot
    return task or str(read_info(path).get("task", "")) or None, robot or robot_file(path) or None


def episodes_after(data: DataOptions) -> int:
    """How many episodes the learned policy is evaluated for at the end of the run."""
    if data.evaluate is None:
        return EPISODES if data.evaluate_on == SIM else 0
    return data.evaluate


def evaluation_graph(run: Mapping[str, Any]) -> str:
    """The graph that evaluates a run's policy, by what is kept of the run's arguments."""
    real = (
        run.get("data", {}).get("evaluate_on") == REAL
        if run.get("graph") == GRAPH
        else run.get("graph") == "train_real"
    )
    return "evaluate_real" if real else "evaluate_sim"


def write_robot_side(graph: Graph, arguments: RunArguments) -> str:
    """Write the parameters that an evaluation needs and the offline graph does not have; returns why there are none.

    Raises:
        ConfigError: the policy is to be evaluated at the end, and cannot be.
    """
    name = evaluation_graph({"graph": GRAPH, "data": vars(arguments.data)})
    _, there = split_sides(arguments.overrides)
    try:
        side = GRAPHS[name](replace(arguments, overrides=there, real=replace(arguments.real, standin_vlm=False)))
    except ConfigError as error:
        if episodes_after(arguments.data) > 0:
            text = f"the policy could not be evaluated: {error}; --evaluate 0 learns without it"
            raise ConfigError(text, code=error.code, parameter=error.parameter, file=error.file) from error
        return str(error)
    if arguments.real.use_sim_arm:
        write_arm_urdf(arguments.out, side.node("sim_bridge").parameters)
    side.without(spec.name for spec in graph.nodes).write_parameters(arguments.out / "config")
    return ""


def keep_evaluation(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Enter the result of ``evaluate`` into the run's summary and record; returns the summary."""
    summary, record = read_json(path / SUMMARY), read_json(path / RECORD)
    judged = read_json(Path(result["files"]) / RECORD)["evaluations"]
    steps = result["env_steps"]
    record["evaluations"] += [{**entry, "env_steps": steps, "wall_s": summary["wall_s"]} for entry in judged[-1:]]
    summary["evaluations"].append({
        "env_steps": steps, "wall_s": summary["wall_s"], "episodes": result["eval_episodes"],
        "success_rate": result["success_rate"], "mean_progress": result["mean_progress"], "files": result["files"],
    })  # fmt: skip
    summary |= {key: result[key] for key in _COPIED}
    atomic_write(path / RECORD, json.dumps(record))
    atomic_write(path / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary
