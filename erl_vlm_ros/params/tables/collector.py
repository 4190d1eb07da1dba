# SPDX-License-Identifier: Apache-2.0
"""Parameters of collector."""

from __future__ import annotations

from erl_vlm_ros.data.sources import EVERY, SUCCESSFUL
from erl_vlm_ros.params.param import Param

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("task_name", "", "The task as a run names it, for the dataset; empty: as in its file. Set by the graph."),
    Param("run_id", "", "Episodes of another run are refused; empty: none is."),
    Param("dataset", "", "Folder that the episodes are written to; one that holds a dataset of this task grows."),
    Param("episodes", 50, "Episodes that are wanted in the dataset.", low=1, high=1_000_000),
    Param(
        "keep",
        EVERY,
        "every: all episodes; successful: those alone that are judged a success, and the others are driven again.",
        choices=(EVERY, SUCCESSFUL),
    ),
    Param("min_steps", 5, "Shorter episodes, the rest of one that was cut off, are left out.", low=1, high=100_000),
    Param("made_by", "", "What the dataset says of its origin. Set by the graph."),
    Param("robot_file", "", "Robot file that is copied into the dataset; empty: none. Set by the graph."),
    Param("checkpoint_dir", "", "Folder for collector.json, the counters; empty: none are kept."),
)
