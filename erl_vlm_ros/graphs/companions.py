# SPDX-License-Identifier: Apache-2.0
"""What a ROS installation adds to a graph: rviz2, robot_state_publisher and a recorder. For the launch files only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erl_vlm_ros.common import names
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.yaml_file import dump_yaml, read_yaml
from erl_vlm_ros.graphs.real import URDF_FILE
from erl_vlm_ros.graphs.spec import Graph

# What is needed to see a run again: no raw images (9 MB/s at 640x480), no weights.
RECORDED = (
    names.IMAGE_COMPRESSED, names.CAMERA_INFO, names.JOINT_STATES, names.EE_POSE, names.OBJECT_POSE, names.WRENCH,
    names.POLICY_TWIST, names.POLICY_GRIPPER, names.POLICY_HOME, names.EXECUTED, names.JOY, names.HUMAN_TWIST,
    names.HUMAN_TWIST_PLAIN, names.ARMED, names.ESTOP_STATE, names.REASON, names.RUN_STATE, names.TRANSITIONS,
    names.EVALUATION_EPISODES, names.QUERIES, names.LABELS, names.LABEL_LOG, names.METRICS, names.EPISODE_REWARD,
    names.DIAGNOSTICS, names.MONITOR_MARKERS, "/tf", "/tf_static",
)  # fmt: skip

_ONE_CAMERA = (names.IMAGE_COMPRESSED, names.CAMERA_INFO)


@dataclass(frozen=True)
class Companion:
    """A process of another package; the run goes on without it. ``command`` in place of package and executable."""

    name: str
    package: str = ""
    executable: str = ""
    arguments: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    command: tuple[str, ...] = ()


def companions(graph: Graph, run_dir: Path, rviz: bool, record: bool) -> list[Companion]:
    """The processes that were asked for, and robot_state_publisher where the arm is the simulated one.

    The simulated arm's URDF must stand in ``run_dir/config`` then (``needs_urdf``).
    """
    monitor = graph.anywhere("monitor")
    namespace, remappings = monitor.namespace, monitor.remappings
    out = []
    if needs_urdf(graph, rviz):
        urdf = (run_dir / URDF_FILE).read_text(encoding="utf-8")
        out.append(
            Companion(
                "robot_state_publisher", "robot_state_publisher", "robot_state_publisher",
                parameters={"robot_description": urdf}, remappings=remappings, namespace=namespace,
            )
        )  # fmt: skip
    if rviz:
        layout = "train_sim" if graph.name.endswith("_sim") else "train_real"
        file = rviz_layout(resource(f"config/{layout}.rviz"), monitor.parameters.get("cameras") or (), run_dir)
        out.append(Companion("rviz2", "rviz2", "rviz2", ("-d", str(file)), {}, remappings, namespace))
    if record:
        out.append(Companion("recorder", command=recorder(graph, run_dir)))
    return out


def rviz_layout(shipped: Path, cameras: Sequence[str], run_dir: Path) -> Path:
    """The layout's file; of named cameras one written to ``run_dir``, which shows each of them."""
    if not cameras:
        return shipped
    layout = read_yaml(shipped)[0]
    displays = []
    for display in layout["Visualization Manager"]["Displays"]:
        topic = display.get("Topic", {})
        if topic.get("Value") != names.IMAGE:
            displays.append(display)
            continue
        for camera in cameras:
            own = {**topic, "Value": names.NAMED_IMAGE.format(camera)}
            displays.append({**display, "Name": f"Camera {camera}", "Topic": own})
    layout["Visualization Manager"]["Displays"] = displays
    path = run_dir / "config" / shipped.name
    atomic_write(path, dump_yaml(layout, sort_keys=False))
    return path


def needs_urdf(graph: Graph, rviz: bool) -> bool:
    """Whether the simulated arm must be described: a real arm's driver does that itself."""
    simulated = any(spec.name == "sim_bridge" for spec in graph.nodes)
    return simulated and (rviz or not graph.name.endswith("_sim"))


def recorder(graph: Graph, run_dir: Path) -> tuple[str, ...]:
    """Command that records the run as MCAP below ``run_dir``; a resumed run gets a bag of its own."""
    monitor = graph.anywhere("monitor")
    moved = dict(monitor.remappings)
    prefix = f"/{monitor.namespace}/" if monitor.namespace else "/"
    cameras = monitor.parameters.get("cameras") or ()
    topics = [moved.get(topic, topic) for topic in RECORDED if not (cameras and topic in _ONE_CAMERA)]
    topics += [topic.format(c) for c in cameras for topic in (names.NAMED_IMAGE_COMPRESSED, names.NAMED_CAMERA_INFO)]
    topics = [topic if topic.startswith("/") else prefix + topic for topic in topics]
    taken = {path.name for path in run_dir.glob("bag*")}
    name = next(n for n in ("bag", *(f"bag-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    options = ("--storage", "mcap", "--output", str(run_dir / name), "--disable-keyboard-controls")
    return ("ros2", "bag", "record", *options, "--topics", *topics)
