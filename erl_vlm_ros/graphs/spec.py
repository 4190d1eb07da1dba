# SPDX-License-Identifier: Apache-2.0
"""Graphs as plain data: processes, their parameters and names, and what a run is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.plan import RunPlan
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.yaml_file import dump_yaml
from erl_vlm_ros.params.layers import Overrides

CONFIG_STATUS = 2  # a node's exit status for what only a person can fix


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
    ``environment``: variables of this process alone.
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
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def executable(self) -> str:
        """Name for `ros2 run` and launch files."""
        return self.module.rpartition(".")[2]

    @property
    def enclave(self) -> str:
        """The process's identity under SROS2 (docs/security.md); without it, nothing."""
        return f"/{self.namespace}/{self.name}" if self.namespace else f"/{self.name}"

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
        arguments += ["--enclave", self.enclave]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace}"]
        for source, target in self.remappings:
            arguments += ["-r", f"{source}:={target}"]
        return [*arguments, "--params-file", self.parameters_file] if self.parameters_file else arguments


@dataclass(frozen=True)
class Graph:
    """What to start. The graph is finished when the node ``ends_with`` exits with status 0, which it does when the
    run has come as far as ``plan`` says.

    ``notes``: lines for the user at the start, such as limits of the guard that are not as shipped. ``elsewhere``:
    nodes that another machine starts (graphs/sides.py); their parameters are kept with the run.
    """

    name: str
    nodes: tuple[NodeSpec, ...]
    ends_with: str
    notes: tuple[str, ...] = ()
    plan: RunPlan = RunPlan()
    elsewhere: tuple[NodeSpec, ...] = ()

    def find(self, name: str) -> NodeSpec | None:
        """The node of that name, if the graph has it."""
        return next((spec for spec in self.nodes if spec.name == name), None)

    def node(self, name: str) -> NodeSpec:
        """The node of that name. Raises KeyError."""
        return {spec.name: spec for spec in self.nodes}[name]

    def anywhere(self, name: str) -> NodeSpec:
        """The node of that name, on whichever machine it runs. Raises KeyError."""
        return {spec.name: spec for spec in (*self.nodes, *self.elsewhere)}[name]

    def without(self, names: Iterable[str]) -> Graph:
        """The graph less some nodes."""
        names = set(names)
        return replace(self, nodes=tuple(spec for spec in self.nodes if spec.name not in names))

    def write_parameters(self, folder: Path) -> Graph:
        """Write ``folder/<node>.yaml`` in ROS form for each node; returns the graph that uses them.

        Also for nodes elsewhere: a run is continued with the parameters that it had.
        """
        nodes = []
        for spec in (*self.nodes, *self.elsewhere):
            path = folder / f"{spec.name}.yaml"
            name = f"/{spec.namespace}/{spec.name}" if spec.namespace else spec.name
            # A ROS parameter file has no word for "not set": such a parameter is left out.
            given = {key: value for key, value in spec.parameters.items() if value is not None}
            content = {name: {"ros__parameters": given}}
            atomic_write(path, dump_yaml(content), 0o600)  # a resumed run reads it
            nodes.append(replace(spec, parameters_file=str(path)) if spec.ros else spec)
        count = len(self.nodes)
        return replace(self, nodes=tuple(nodes[:count]), elsewhere=tuple(nodes[count:]))


@dataclass(frozen=True)
class SideOptions:
    """Which part of a run this machine has: robot, workstation or both. Kept with the run.

    ``domain``: the ROS domain that both machines use. ``peers``: addresses of the other machine, where multicast does
    not reach it; a loopback address: the other side is on this machine.
    """

    side: str = "both"
    domain: int | None = None
    peers: tuple[str, ...] = ()


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


TASK_COPY = "config/task.yaml"  # within the run directory


@dataclass(frozen=True)
class DataOptions:
    """What a run learns from beside its own steps. Kept with the run, so that it is continued as it began.

    Of train_offline: ``dataset``, its folder; ``algorithm``, a name of ``agents.base.AGENTS``; ``feedback``, the kind
    that is asked for, empty: what the algorithm needs, else ratings; ``updates`` in all, None: as configured;
    ``evaluate``, episodes of the learned policy at the end, None: 20 in simulation, none on a real arm;
    ``evaluate_on``: sim or real.
    Of train_sim and train_real: ``demos``, a dataset that fills the buffer before the first step; ``before``, the run
    that this one goes on from.
    Of collect: ``driver``, scripted, joy or twist; ``episodes`` to be gathered, None: 50; ``noise`` of the expert,
    None: drawn for each episode. Of collect and train_offline: ``keep``, every or successful episodes.
    """

    dataset: str = ""
    algorithm: str = ""
    feedback: str = ""
    updates: int | None = None
    evaluate: int | None = None
    evaluate_on: str = "sim"
    demos: str = ""
    before: str = ""
    driver: str = ""
    episodes: int | None = None
    noise: float | None = None
    keep: str = ""


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
    data: DataOptions = field(default_factory=DataOptions)
    inherited: Overrides = field(default_factory=dict)  # of the run that this one goes on from; win over the task's
    run_id: str = ""  # goes with everything that the nodes send each other; empty: not told apart from other runs
    robot: str = ""  # name of a shipped robot file, or a path
    simulated: bool = False  # the graph itself simulates the arm; it says so
