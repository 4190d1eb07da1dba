# SPDX-License-Identifier: Apache-2.0
"""Parameters of run_side, the node that looks for the other machine of a run: robot_side and workstation_side."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param

PARAMETERS = (
    Param("side", "robot", "Which side this is.", choices=("robot", "workstation")),
    Param("facts_file", "", "JSON file with what both sides must agree on. Set by the graph."),
    Param("run_id", "", "The run's id; another one on the other side is refused."),
    Param("checkpoint_dir", "", "Where the other side of this run is remembered; empty: it is not."),
    Param("finished_by", "policy_controller", "Node whose word on run/state ends the run. Set by the graph."),
    Param(
        "look_s",
        3.0,
        "Before the other nodes of this side start, the other side is looked for so long, s; found later it is "
        "compared as well.",
        low=0.0,
        high=60.0,
    ),
    Param("silent_s", 5.0, "Without a sign of life for so long the other side counts as away, s.", low=2.0, high=600.0),
)
