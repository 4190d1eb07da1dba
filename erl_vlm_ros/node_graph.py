# SPDX-License-Identifier: Apache-2.0
"""Graphs as plain data: processes, their parameters and names, and what a run is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from erl_vlm_ros.overlay import Overrides
from erl_vlm_ros.rundir import atomic_write

CONFIG_STATUS = 2  # a node's exit status for what only a person can mend


class Respawns:
    """Whether a node that ended may be started again: not for a wrong configuration, not over and over."""

    MOST, WITHIN_S = 5, 60.0

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def allowed(self, spec: NodeSpec, status: int, now: float) -> bool:
        """Counts a restart of ``spec`` at ``now``, s, when it is allowed; ``status`` is how the process ended."""
        if not spec.respawn or status in (0, CONFIG_STATUS):
            return False
        recent = [t for t in self._times.get(spec.name, []) if now - t < self.WITHIN_S]
        if len(recent) >= self.MOST:
            return False
        self._times[spec.name] = [*recent, now]
        return True


@dataclass(frozen=True)
class NodeSpec:
    """One process. ``parameters`` are resolved; ``parameters_file`` is set once they are on disk.

    ``role`` tells where it may run: next to the robot, on the workstation, or in simulation only.
    When a ``required`` node dies, the whole graph is stopped; one with ``respawn`` is started again first. A node
    with ``after`` starts when the output of the node of that name shows its ``ready_text``.
    """

    name: str
    module: str
    role: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    required: bool = True
    respawn: bool = False
    ros: bool = True
    ready_text: str = ""
    after: str = ""
    parameters_file: str = ""
    namespace: str = ""

    @property
    def executable(self) -> str:
        """Name for `ros2 run` and launch files."""
        return self.module.rpartition(".")[2]

    def options(self) -> list[str]:
        """Command-line options of a plain process: ``--error-rate 0.2``; a bool is a switch."""
        out = []
        for key, value in self.parameters.items():
            option = f"--{key.replace('_', '-')}"
            if isinstance(value, bool):
                out += [option] if value else []
            else:
                out += [option, str(value)]
        return out

    def command(self) -> list[str]:
        """Arguments for the Python interpreter."""
        if not self.ros:
            return ["-m", self.module, *self.options()]
        arguments = ["-m", self.module, "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace}"]
        for source, target in self.remappings:
            arguments += ["-r", f"{source}:={target}"]
        return [*arguments, "--params-file", self.parameters_file] if self.parameters_file else arguments


@dataclass(frozen=True)
class Graph:
    """What to start. The graph is finished when the node ``ends_with`` exits with status 0."""

    name: str
    nodes: tuple[NodeSpec, ...]
    ends_with: str

    def node(self, name: str) -> NodeSpec:
        """The node of that name. Raises KeyError."""
        return {spec.name: spec for spec in self.nodes}[name]

    def without(self, names: Iterable[str]) -> Graph:
        """The graph less some nodes."""
        names = set(names)
        return replace(self, nodes=tuple(spec for spec in self.nodes if spec.name not in names))

    def write_parameters(self, folder: Path) -> Graph:
        """Write ``folder/<node>.yaml`` in ROS form for each node; returns the graph that uses them."""
        nodes = []
        for spec in self.nodes:
            path = folder / f"{spec.name}.yaml"
            name = f"/{spec.namespace}/{spec.name}" if spec.namespace else spec.name
            content = {name: {"ros__parameters": spec.parameters}}
            atomic_write(path, yaml.safe_dump(content, sort_keys=True))  # a resumed run reads it
            nodes.append(replace(spec, parameters_file=str(path)) if spec.ros else spec)
        return replace(self, nodes=tuple(nodes))


@dataclass(frozen=True)
class RealOptions:
    """What a run on a real arm is connected to. Kept with the run, so that it is continued as it began.

    ``camera``: realsense, opencv or topic, with the device after a colon (``opencv:/dev/video2``,
    ``opencv:rtsp://...``, ``realsense:SERIAL``); empty: as configured. ``adapter`` of safety_guard; empty: as
    configured. The namespaces of robot and camera are those of their drivers; ``reset_service`` is the name of the
    service that resets the scene. ``remap``: other names that the driver has, ``OURS:=ITS OURS:=ITS ...``.
    ``tool_pose``: ee_pose is computed from joint_states and the URDF, because the driver publishes none.
    """

    use_sim_arm: bool = False
    camera: str = ""
    adapter: str = ""
    auto_arm: bool = False
    standin_vlm: bool = False
    namespace: str = ""
    robot_namespace: str = ""
    camera_namespace: str = ""
    reset_service: str = ""
    remap: str = ""
    tool_pose: bool = False


@dataclass(frozen=True)
class RunArguments:
    """What a run is asked for. ``task`` is a shipped name or a YAML path; ``overrides`` come from --set.

    ``source`` is the run directory whose parameters are taken instead of the shipped ones: of a run that
    is resumed (``out`` itself) or evaluated. ``anew``: a run that was stopped before anything was saved.
    """

    task: str
    out: Path
    seed: int = 0
    max_steps: int | None = None
    source: Path | None = None
    headless: bool = False
    overrides: Overrides = field(default_factory=dict)
    episodes: int = 20
    vlm_port: int = 0  # of the stand-in; 0: a free one
    anew: bool = False
    real: RealOptions = field(default_factory=RealOptions)
