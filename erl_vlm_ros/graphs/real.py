# SPDX-License-Identifier: Apache-2.0
"""What a real arm's graph is connected to: camera, driver, namespaces, or the simulated arm in the driver's place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.spec import Graph, NodeSpec, RealOptions
from erl_vlm_ros.params.tables import PARAMETERS, kind_of
from erl_vlm_ros.robot.spec import RobotSpec, remap_pairs

URDF_FILE = "config/arm.urdf"  # of the simulated arm, within the run directory
SERVO_TIMEOUT_S = 0.06  # what docs/robots.md tells people to give MoveIt Servo: three periods of the guard
# A simulated arm endangers no one: it may move as fast as in train_sim. Its drives follow within 0.015 s.
_AS_IN_TRAIN_SIM = {"max_speed": 0.9, "max_acceleration": 0.0, "max_jerk": 0.0, "rate_hz": 50.0, "arm_lag_s": 0.015}
_SOURCES = ("realsense", "opencv", "topic")
_CAMERA_TOPICS = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
_POLICY_TOPICS = ("camera/policy/image_raw", "camera/policy/image_raw/compressed", "camera/policy/camera_info")
_DRIVER_TOPICS = (
    names.JOINT_STATES, names.EE_POSE, names.ARM_TWIST, names.ARM_GRIPPER, names.ARM_JOINT_COMMANDS,
    names.ARM_TRAJECTORY, names.WRENCH, names.ROBOT_DESCRIPTION, names.SERVO_COMMAND_TYPE,
)  # fmt: skip
# Nodes that talk with the driver or look at the camera; the others know neither.
_NEAR_THE_ARM = (
    "sim_bridge",
    "camera",
    "safety_guard",
    "guard_watchdog",
    "policy_controller",
    "monitor",
    "tool_pose",
)


def camera_parameters(text: str) -> dict[str, Any]:
    """Parameters of the camera node for ``SOURCE`` or ``SOURCE:DEVICE``. ConfigError for an unknown source."""
    if not text:
        return {}
    source, _, device = text.partition(":")
    if source not in _SOURCES or (source == "topic" and device):
        raise ConfigError(
            f"camera {text}: expected {', '.join(_SOURCES)}, or opencv:DEVICE, or realsense:SERIAL", parameter="camera"
        )
    out = {"source": source}
    if device and source == "opencv":
        out["opencv.source"] = device
    elif device:
        out["realsense.file" if Path(device).suffix in (".bag", ".db3") else "realsense.serial"] = device
    return out


def connections(options: RealOptions, out: Path, robot: RobotSpec | None = None) -> dict[str, dict[str, Any]]:
    """Parameters that follow from the options: node -> parameter -> value. What ``robot`` itself says of the guard's
    limits holds for the simulated arm too.

    Raises:
        ConfigError: options that do not go together.
    """
    fixed: dict[str, dict[str, Any]] = {"safety_guard": {}}
    if options.adapter:
        known = next(param for param in PARAMETERS["safety_guard"] if param.name == "adapter")
        fixed["safety_guard"]["adapter"] = known.check(options.adapter, "safety_guard")
    if not options.use_sim_arm:
        if options.auto_arm:
            text = "auto_arm needs use_sim_arm: a real arm is armed by a person, with safety_guard/arm"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="auto_arm")
        fixed["camera"] = camera_parameters(options.camera)
        return fixed
    if options.tool_pose:
        text = "tool_pose and use_sim_arm: the simulated arm publishes ee_pose itself; leave one away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="tool_pose")
    if options.camera:
        text = "camera and use_sim_arm: the simulated arm brings its own camera; leave one away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="camera")
    fixed["sim_bridge"] = {}
    fixed["safety_guard"]["urdf_file"] = str(out / URDF_FILE)
    own = {} if robot is None else robot.overrides()["safety_guard"]
    fixed["safety_guard"] |= {key: value for key, value in _AS_IN_TRAIN_SIM.items() if key not in own}
    # The simulation's own reset puts the scene back; there is no person to judge.
    fixed["policy_controller"] = {"reset": "service", "set_episode_seed": True, "auto_arm": options.auto_arm}
    fixed["policy_controller"] |= {"success_source": "reward", "human.input": "none"}
    return fixed


def connect(graph: Graph, options: RealOptions, robot: RobotSpec | None = None) -> Graph:
    """The graph with its nodes' namespaces and remappings; those of ``options`` win over the robot's.

    Raises:
        ConfigError: a bad namespace, or a real arm that would be armed by the program.
    """
    for name in ("namespace", "robot_namespace", "camera_namespace"):
        value = getattr(options, name)
        if value and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", value):
            raise ConfigError(
                f"{name} {value!r}: letters, digits and _, parts divided by /, no / at the ends", parameter=name
            )
    if not options.use_sim_arm and graph.node("policy_controller").parameters["auto_arm"]:
        raise ConfigError(
            "policy_controller.auto_arm is true on a real arm: a person arms it, with safety_guard/arm; set it to "
            "false",
            parameter="policy_controller.auto_arm",
        )
    _as_recommended(graph)
    specs = []
    for spec in graph.nodes:
        moved = _remappings(graph, spec, options, robot)
        if kind_of(spec.name) not in _NEAR_THE_ARM:
            asks_arm = "joint_names" in spec.parameters and spec.parameters["joint_names"] is None
            moved = [pair for pair in moved if pair[0] == names.ROBOT_DESCRIPTION and asks_arm]
        namespace = options.namespace if spec.ros else ""
        specs.append(replace(spec, namespace=namespace, remappings=(*moved, *spec.remappings)))
    return replace(graph, nodes=tuple(specs))


def _as_recommended(graph: Graph) -> None:
    """The simulated driver's time-out is what docs/robots.md tells people to give theirs."""
    for spec in graph.nodes:
        p = spec.parameters
        if spec.name == "sim_bridge" and p["adapter"] == "servo_twist" and p["command_timeout_s"] is None:
            p["command_timeout_s"] = SERVO_TIMEOUT_S


def _remappings(graph: Graph, spec: NodeSpec, options: RealOptions, robot: RobotSpec | None) -> list[tuple[str, str]]:
    known = {} if robot is None else robot.remap
    chosen = {**known, **remap_pairs(options.remap)}
    out = list(chosen.items())
    if options.robot_namespace:
        out += [(topic, f"/{options.robot_namespace}/{topic}") for topic in _DRIVER_TOPICS if topic not in chosen]
    if options.reset_service:
        out.append((names.RESET, options.reset_service))
    if any(kind_of(other.name) != other.name for other in graph.nodes):
        return out  # named cameras: each node's own
    one = None if options.use_sim_arm else graph.find("camera")
    relayed = one is not None and one.parameters["source"] == "topic"
    if relayed and spec.name != "camera":
        out += zip(_CAMERA_TOPICS, _POLICY_TOPICS)
    elif options.camera_namespace:
        out += [(topic, f"/{options.camera_namespace}/{topic}") for topic in _CAMERA_TOPICS]
    return out
