# SPDX-License-Identifier: Apache-2.0
"""Which machine each node belongs to, and the part of a graph that one of two machines runs.

Near the arm stays what moves it or decides what it does next: control never waits on the link. What learns, rates and
shows is on the workstation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from erl_vlm_ros.common.dds import profile_setting
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.graphs.spec import Graph, NodeSpec
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.tables import PARAMETERS, SIDE_KIND, SIDE_NODE, kind_of

ROBOT, WORKSTATION, BOTH = "robot", "workstation", "both"
SIDES = (ROBOT, WORKSTATION, BOTH)
OTHER = {ROBOT: WORKSTATION, WORKSTATION: ROBOT}
READY = "the other nodes may start"  # what a side's node says once nothing speaks against it
FACTS_FILE = "config/facts.json"  # within the run directory: what both sides must agree on, as this one has it

#: kinds of nodes near the arm; every other one, new ones as well, is the workstation's
_NEAR_THE_ARM = frozenset(
    {"sim_bridge", "camera", "tool_pose", "safety_guard", "guard_watchdog", "policy_controller"}
)  # fmt: skip
_SEND_RAW_IMAGES = frozenset({"sim_bridge", "camera"})


def side_of(node: str) -> str:
    """robot or workstation, by the node's name."""
    if kind_of(node) == SIDE_KIND:
        return node.removesuffix(SIDE_NODE)
    return ROBOT if kind_of(node) in _NEAR_THE_ARM else WORKSTATION


def check_side(side: str) -> str:
    """``side``, or ConfigError: there is no such side."""
    if side not in SIDES:
        raise ConfigError(f"side {side!r}: expected {', '.join(SIDES)}", parameter="side")
    return side


def part_of(graph: Graph, side: str, facts_file: str) -> Graph:
    """What one machine runs of ``graph``: its nodes, which start once ``SIDE_side`` has looked for the other one.

    The other nodes are kept as ``elsewhere``. The workstation's part ends with the monitor, the robot's with the run.
    """
    if check_side(side) == BOTH:
        return graph
    here = [spec for spec in graph.nodes if side_of(spec.name) == side]
    there = tuple(spec for spec in graph.nodes if side_of(spec.name) != side)
    link = _link(side, here, facts_file, graph.plan.finished_by)
    here, link = [_on_the_link(spec) for spec in here], _on_the_link(link)
    waiting = [spec if spec.after else replace(spec, after=link.name) for spec in here]
    ends_with = graph.ends_with if side == WORKSTATION else link.name
    return replace(graph, nodes=(link, *waiting), ends_with=ends_with, elsewhere=there)


def _on_the_link(spec: NodeSpec) -> NodeSpec:
    """The monitor sees compressed images. Small datagrams from nodes that send no raw images: these would be slow."""
    if spec.name == "monitor":
        spec = replace(spec, parameters={**spec.parameters, "compressed_images": True})
    if not spec.ros or kind_of(spec.name) in _SEND_RAW_IMAGES:
        return spec
    setting = profile_setting(os.environ, resource("config/fastdds_link.xml"))
    return replace(spec, environment=tuple(setting.items()))


def _link(side: str, here: Iterable[NodeSpec], facts_file: str, finished_by: str) -> NodeSpec:
    known = next(spec for spec in here if spec.ros)
    values: dict[str, Any] = {}
    for spec in here:
        values |= {key: spec.parameters[key] for key in ("run_id", "checkpoint_dir") if key in spec.parameters}
    values |= {"side": side, "facts_file": facts_file, "finished_by": finished_by}
    return NodeSpec(
        side + SIDE_NODE, f"erl_vlm_ros.nodes.{SIDE_KIND}", side, resolve(SIDE_KIND, PARAMETERS[SIDE_KIND], values),
        ready_text=READY, namespace=known.namespace, respawn=known.respawn,
    )  # fmt: skip
