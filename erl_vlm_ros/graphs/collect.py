# SPDX-License-Identifier: Apache-2.0
"""What a graph is told that gathers demonstrations: who drives, how many episodes, where they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.plan import COLLECTOR
from erl_vlm_ros.common.tasks import Task, load_task, task_names, task_text
from erl_vlm_ros.control.drivers import PERSON, SCRIPTED
from erl_vlm_ros.control.intervention import JOY, TWIST
from erl_vlm_ros.data.sources import EVERY, SUCCESSFUL
from erl_vlm_ros.data.spaces import STATE
from erl_vlm_ros.graphs.robot import ROBOT_COPY, SIMULATED
from erl_vlm_ros.graphs.spec import DataOptions, Graph, RealOptions, RunArguments
from erl_vlm_ros.params.layers import EVERY_NODE
from erl_vlm_ros.robot.spec import robot_path

DRIVERS = (SCRIPTED, JOY, TWIST)  # who drives: the expert of the simulated tasks, or a person with such a device
EPISODES = 50
FOLDER = "dataset"  # within the run directory
_ENDLESS = 10**9


def driver_of(data: DataOptions, real: RealOptions) -> str:
    """Who drives: as asked for, else the expert in simulation and a person with a joystick at an arm.

    Raises:
        ConfigError: nobody of that name, or the expert on a real arm.
    """
    driver = data.driver or (SCRIPTED if real == RealOptions() or real.use_sim_arm else JOY)
    if driver not in DRIVERS:
        raise ConfigError(f"--driver {driver}: expected {', '.join(DRIVERS)}", parameter="driver")
    if driver == SCRIPTED and real != RealOptions() and not real.use_sim_arm:
        text = "--driver scripted: the expert knows the simulated tasks alone; a real arm is driven by joy or twist"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="driver")
    return driver


def in_lock_step(data: DataOptions, real: RealOptions) -> bool:
    """Whether nothing keeps real time: the expert drives the simulated arm, as fast as the machine allows."""
    return driver_of(data, real) == SCRIPTED and not real.use_sim_arm


def collecting(arguments: RunArguments) -> dict[str, dict[str, Any]]:
    """Parameters that follow from the options: node -> parameter -> value.

    Raises:
        ConfigError: an option that does not go with the driver.
    """
    data, real = arguments.data, arguments.real
    driver = driver_of(data, real)
    if data.noise is not None and driver != SCRIPTED:
        text = f"--noise is of the scripted expert, but {driver} drives: leave it away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="noise")
    simulated = in_lock_step(data, real) or real.use_sim_arm
    controller: dict[str, Any] = {"driver": SCRIPTED if driver == SCRIPTED else PERSON, "max_steps": _ENDLESS}
    if driver == SCRIPTED:
        controller |= {"human.input": "none"} | ({} if data.noise is None else {"demonstrator.noise": data.noise})
    else:
        controller |= {"human.input": driver, "end_on_label": True}
    if simulated:
        controller["success_source"] = "topic"  # the simulation's own word
    task = load_task(arguments.task)
    collector = {
        "dataset": str(arguments.out / FOLDER), "episodes": EPISODES if data.episodes is None else data.episodes,
        "keep": data.keep or EVERY, "task_name": _told(task, arguments.task),
        "robot_file": _robot(arguments, simulated), "made_by": f"collect, {driver}",
    }  # fmt: skip
    if driver == SCRIPTED:
        collector["made_by"] += f", noise {data.noise}, seed {arguments.seed}"
    out: dict[str, dict[str, Any]] = {"policy_controller": controller, COLLECTOR: collector}
    if simulated:  # the object's place is known: the dataset is for policies from states and from images
        out[EVERY_NODE] = {"observe": STATE}
    return out


def check_collecting(graph: Graph) -> None:
    """Refuse what would never come to an end. ConfigError."""
    if graph.node(COLLECTOR).parameters["keep"] != SUCCESSFUL:
        return
    if graph.node("policy_controller").parameters["success_source"] == "none":
        text = "--keep successful: nobody says which episodes are; set policy_controller.success_source"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="policy_controller.success_source")


def check_collect_options(data: DataOptions) -> None:
    """Refuse a number or word that is out of range. ConfigError names it."""
    if data.episodes is not None and data.episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {data.episodes}", parameter="episodes")
    if data.noise is not None and not 0 <= data.noise <= 1:
        raise ConfigError(f"--noise must be from 0 (the expert) to 1, got {data.noise}", parameter="noise")


def _told(task: Task, file: str) -> str:
    """How a later run names the task: a shipped one by its name, another one by the file of this run."""
    shipped = task.name in task_names() and task_text(task.name) == task_text(file)
    return task.name if shipped else str(Path(file).resolve())


def _robot(arguments: RunArguments, simulated: bool) -> str:
    kept = arguments.out / ROBOT_COPY
    if arguments.robot:
        return str(robot_path(arguments.robot))
    return str(kept) if kept.is_file() else str(robot_path(SIMULATED)) if simulated else ""


def as_simulation(arguments: RunArguments) -> RunArguments:
    """The arguments of a graph whose own simulation keeps step with it, where that is so."""
    return replace(arguments, simulated=in_lock_step(arguments.data, arguments.real))
