# SPDX-License-Identifier: Apache-2.0
"""What a real arm's graph is connected to: camera, driver, namespaces, or the simulated arm in the driver's place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.node_graph import Graph, NodeSpec, RealOptions
from erl_vlm_ros.ros import names
from erl_vlm_ros.ros.parameters import PARAMETERS

URDF_FILE = "config/arm.urdf"  # of the simulated arm, within the run directory
SERVO_TIMEOUT_S = 0.06  # what docs/robots.md tells people to give MoveIt Servo: three periods of the guard
# Nobody is near a simulated arm: it may move as fast as in train_sim. Its drives follow within 0.015 s.
_AS_IN_TRAIN_SIM = {"max_speed": 0.9, "max_acceleration": 0.0, "max_jerk": 0.0, "rate_hz": 50.0, "arm_lag_s": 0.015}
_SOURCES = ("realsense", "opencv", "topic")
_CAMERA_TOPICS = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
_POLICY_TOPICS = ("camera/policy/image_raw", "camera/policy/image_raw/compressed", "camera/policy/camera_info")
_DRIVER_TOPICS = (
    names.JOINT_STATES, names.EE_POSE, names.ARM_TWIST, names.ARM_GRIPPER, names.ARM_JOINT_COMMANDS,
    names.ARM_TRAJECTORY, names.WRENCH, names.ROBOT_DESCRIPTION, names.SERVO_COMMAND_TYPE,
)  # fmt: skip
# Nodes that talk with the driver or look at the camera; the others know neither.
_NEAR_THE_ARM = ("sim_bridge", "camera", "safety_guard", "policy_controller", "monitor", "tool_pose")
_NAME = r"[A-Za-z_~/][\w/]*"


def camera_parameters(text: str) -> dict[str, Any]:
    """Parameters of the camera node for ``SOURCE`` or ``SOURCE:DEVICE``. ConfigError for an unknown source."""
    if not text:
        return {}
    source, _, device = text.partition(":")
    if source not in _SOURCES or (source == "topic" and device):
        raise ConfigError(f"camera {text}: expected {', '.join(_SOURCES)}, or opencv:DEVICE, or realsense:SERIAL")
    out = {"source": source}
    if device and source == "opencv":
        out["opencv.source"] = device
    elif device:
        out["realsense.file" if Path(device).suffix in (".bag", ".db3") else "realsense.serial"] = device
    return out


def connections(options: RealOptions, out: Path) -> dict[str, dict[str, Any]]:
    """Parameters that follow from the options: node -> parameter -> value.

    Raises:
        ConfigError: options that do not go together.
    """
    fixed: dict[str, dict[str, Any]] = {"safety_guard": {}}
    if options.adapter:
        known = next(param for param in PARAMETERS["safety_guard"] if param.name == "adapter")
        fixed["safety_guard"]["adapter"] = known.check(options.adapter, "safety_guard")
    if not options.use_sim_arm:
        if options.auto_arm:
            raise ConfigError("auto_arm needs use_sim_arm: a real arm is armed by a person, with safety_guard/arm")
        fixed["camera"] = camera_parameters(options.camera)
        return fixed
    if options.tool_pose:
        raise ConfigError("tool_pose and use_sim_arm: the simulated arm publishes ee_pose itself; leave one away")
    if options.camera:
        raise ConfigError("camera and use_sim_arm: the simulated arm brings its own camera; leave one away")
    fixed["sim_bridge"] = {"driver": options.adapter} if options.adapter else {}
    fixed["safety_guard"]["urdf_file"] = str(out / URDF_FILE)
    fixed["safety_guard"] |= _AS_IN_TRAIN_SIM
    # The simulation's own reset puts the scene back; nobody is there to judge.
    fixed["policy_controller"] = {"reset": "service", "set_episode_seed": True, "auto_arm": options.auto_arm}
    fixed["policy_controller"] |= {"success_source": "reward", "human.input": "none"}
    return fixed


def connect(graph: Graph, options: RealOptions) -> Graph:
    """The graph with its nodes' namespaces and remappings.

    Raises:
        ConfigError: a bad namespace, or a real arm that would be armed by the program.
    """
    for name in ("namespace", "robot_namespace", "camera_namespace"):
        value = getattr(options, name)
        if value and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", value):
            raise ConfigError(f"{name} {value!r}: letters, digits and _, parts divided by /, no / at the ends")
    if not options.use_sim_arm and graph.node("policy_controller").parameters["auto_arm"]:
        raise ConfigError(
            "policy_controller.auto_arm is true on a real arm: a person arms it, with safety_guard/arm; set it to false"
        )
    _agree(graph)
    specs = [
        replace(
            spec,
            namespace=options.namespace if spec.ros else "",
            remappings=tuple(_remappings(graph, spec, options)) if spec.name in _NEAR_THE_ARM else spec.remappings,
        )
        for spec in graph.nodes
    ]
    return replace(graph, nodes=tuple(specs))


def _agree(graph: Graph) -> None:
    """Tell those who stand at the arm's other side what the guard is told about the arm."""
    nodes = {spec.name: spec.parameters for spec in graph.nodes}
    guard = nodes["safety_guard"]
    if "tool_pose" in nodes:
        nodes["tool_pose"] |= {key: guard[key] for key in ("urdf_file", "urdf_wait_s", "base_frame", "tool_frame")}
    if "sim_bridge" in nodes:
        sim = nodes["sim_bridge"]
        sim["driver"] = guard["adapter"]
        if sim["driver"] == "servo_twist" and sim["command_timeout_s"] < 0.0:
            sim["command_timeout_s"] = SERVO_TIMEOUT_S
        if guard["joint_names"] == [""]:
            guard["joint_names"] = list(sim["driver_joints"])


def remappings(text: str) -> dict[str, str]:
    """``OURS:=ITS ...`` as a table. ConfigError for what is not of that form."""
    out = {}
    for pair in text.split():
        ours, _, its = pair.partition(":=")
        if not re.fullmatch(_NAME, ours) or not re.fullmatch(_NAME, its):
            raise ConfigError(f"remap {pair!r}: expected OURS:=ITS, for instance ee_pose:=/tcp_pose_broadcaster/pose")
        out[ours] = its
    return out


def _remappings(graph: Graph, spec: NodeSpec, options: RealOptions) -> list[tuple[str, str]]:
    chosen = remappings(options.remap)
    out = list(chosen.items())
    if options.robot_namespace:
        out += [(topic, f"/{options.robot_namespace}/{topic}") for topic in _DRIVER_TOPICS if topic not in chosen]
    if options.reset_service:
        out.append((names.RESET, options.reset_service))
    relayed = not options.use_sim_arm and graph.node("camera").parameters["source"] == "topic"
    if relayed and spec.name != "camera":
        out += zip(_CAMERA_TOPICS, _POLICY_TOPICS)
    elif options.camera_namespace:
        out += [(topic, f"/{options.camera_namespace}/{topic}") for topic in _CAMERA_TOPICS]
    return out
