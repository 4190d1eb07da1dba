# SPDX-License-Identifier: Apache-2.0
"""When guard_watchdog belongs to a graph, and what it must know of the guard that it watches over."""

from __future__ import annotations

from collections.abc import Iterable

from erl_vlm_ros.graphs.safety import GUARD
from erl_vlm_ros.graphs.spec import Graph
from erl_vlm_ros.params.layers import EVERY_NODE, Overrides
from erl_vlm_ros.params.shared import shared_values
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.robot.drivers import watchdog_use

WATCHDOG = "guard_watchdog"


def wants_watchdog(layers: Iterable[tuple[str, Overrides]]) -> bool:
    """Whether the guard's parameters ask for a watchdog. ``layers``: (origin, values); later ones win.

    Raises:
        ConfigError: one is asked for where it could do nothing.
    """
    values = {param.name: param.default for param in PARAMETERS[GUARD]}
    layers = list(layers)
    for _, layer in layers:
        values |= {**layer.get(EVERY_NODE, {}), **layer.get(GUARD, {})}
    values |= shared_values(layers)
    return watchdog_use(values["watchdog.use"], values["adapter"], values["lock_step"]) != "off"


def tell_watchdog(graph: Graph) -> None:
    """Make the watchdog one of this graph's guard."""
    for spec in graph.nodes:
        if spec.name == WATCHDOG:
            spec.parameters.update(guard=GUARD, socket=graph.node(GUARD).parameters["watchdog.socket"])
