# SPDX-License-Identifier: Apache-2.0
"""Which robot a graph is for, and what follows from it for all nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import NONE, Task, load_task
from erl_vlm_ros.common.worlds import robot_of_world
from erl_vlm_ros.graphs.spec import NodeSpec, RunArguments
from erl_vlm_ros.params.tables._shared import BASE_FRAME, TOOL_FRAME, URDF_FILE
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.spec import OUR_ARM, RobotSpec, load_robot, robot_path

ROBOT_COPY = "config/robot.yaml"  # within the run directory
SIMULATED = "sim_arm"


def robot_of(arguments: RunArguments) -> RobotSpec | None:
    """The robot that was asked for, that of the run which goes on, or the simulated arm of the task's world.

    None on a real arm without a robot file: its joints are those of its URDF. ConfigError for a bad file.
    """
    kept = None if arguments.source is None else arguments.source / ROBOT_COPY
    if arguments.robot:
        return load_robot(arguments.robot)
    if kept is not None and kept.is_file():
        return load_robot(kept)
    if not (arguments.simulated or arguments.real.use_sim_arm):
        return None
    world = load_task(arguments.task).world
    return load_robot(robot_of_world(world) if world else SIMULATED)


def simulation_of(arguments: RunArguments, task: Task, lock_step: bool) -> dict[str, dict[str, Any]]:
    """Parameters of a graph that simulates the robot it was asked for: node -> parameter -> value.

    The simulated driver tells everything on joint_states and takes a gripper's opening in m; in lock-step it takes tool
    velocities, whatever the robot's own driver takes.
    """
    robot = robot_of(arguments)
    if robot is None or robot.model in ("", OUR_ARM):
        return {}
    kept = None if arguments.source is None else arguments.source / ROBOT_COPY
    file = robot_path(arguments.robot) if arguments.robot or kept is None else kept
    shared: dict[str, Any] = {"joint_state_topics": ["joint_states"]}
    shared |= {"adapter": "servo_twist", "urdf_file": ""} if lock_step else {}
    guard: dict[str, Any] = {"servo_command_type": False}
    if task.use_gripper or robot.gripper.interface != "none":
        guard |= {"gripper": "position", "gripper_scale": 1.0, "gripper_offset": 0.0}
    where = str(Path(file).resolve())
    return {
        "/**": shared, "safety_guard": guard, "sim_bridge": {"robot_file": where}, "standin_vlm": {"robot": where},
    }  # fmt: skip


def describe(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Shared facts with the joint names of the URDF, where it is a file that is there now and they are not given.

    So nodes on another machine, without that file, know them too. ConfigError when it does not fit the frames.
    """
    out = dict(shared)
    file, base, tool = (out.get(param.name, param.default) for param in (URDF_FILE, BASE_FRAME, TOOL_FRAME))
    if out.get("joint_names") is None and file and Path(file).is_file():
        out["joint_names"] = list(Kinematics.from_file(file, base, tool).joint_names)
    return out


def check_rotation(task: Task, nodes: Sequence[NodeSpec], simulated: bool) -> None:
    """A task that turns the tool needs a guard that lets it: in simulation as fast as the task says.

    Raises:
        ConfigError: on a real arm the guard's limit is not set: a person decides it.
    """
    guard = next((spec.parameters for spec in nodes if spec.name == "safety_guard"), None)
    if guard is None:  # nothing moves
        return
    if task.rotation == NONE or guard["max_angular_speed"] > 0.0:
        return
    if not simulated:
        text = (
            f"{task.path}: action.rotation is {task.rotation}, but safety_guard.max_angular_speed is 0, so that every "
            f"turn is rejected: set it (the task turns at up to {task.top_angular_speed:g} rad/s), or set "
            "action.rotation to none"
        )
        raise ConfigError(text, parameter="safety_guard.max_angular_speed", code=Code.DOES_NOT_FIT, file=task.path)
    guard["max_angular_speed"] = task.top_angular_speed
