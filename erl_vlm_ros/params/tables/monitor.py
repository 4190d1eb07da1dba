# SPDX-License-Identifier: Apache-2.0
"""Parameters of monitor."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._shared import (
    FEEDBACK,
    FORBIDDEN_BOXES,
    MAX_RATINGS,
    MAX_STEPS,
    MEASURED,
    SUCCESS_SOURCE,
)
from erl_vlm_ros.params.tables.policy_controller import PARAMETERS as _CONTROLLER

_BIG = 10**9

PARAMETERS = (
    *(param for param in _CONTROLLER if param.name == "lock_step"),
    *MEASURED,
    MAX_STEPS,
    MAX_RATINGS,
    Param(
        "max_updates",
        None,
        "Updates after which a run without a robot side ends; not set: the run is counted in steps. Set by the graph.",
        unset="int",
    ),
    Param(
        "max_episodes",
        None,
        "Demonstrations after which a run that gathers them ends; not set: the run gathers none. Set by the graph.",
        unset="int",
    ),
    Param(
        "recorded_episodes",
        0,
        "Episodes from before the run, whose frames have no truth here. Set by the graph.",
        low=0,
        high=_BIG,
    ),
    FORBIDDEN_BOXES,
    SUCCESS_SOURCE,
    Param("task", "drawer_open", "Name or path of the task file: class names, workspace box."),
    Param("run_id", "", "Episodes, ratings and weights of another run are refused; empty: none is."),
    Param("seed", 0, "Seed of the run, for the summary.", low=0, high=2**31 - 1),
    Param(
        "finished_by",
        "policy_controller",
        "Node whose word on run/state ends the run. Set by the graph.",
    ),
    Param("mode", "train", "evaluate: only evaluation episodes come.", choices=("train", "evaluate")),
    Param("run_dir", "", "Folder for summary.json and the rest; empty: nothing is written."),
    FEEDBACK,
    Param(
        "compressed_images",
        False,
        "Look at the camera's JPEGs, not at its raw images: it is on another machine. Set by the graph.",
    ),
    Param("progress_s", 0.5, "Time between two writings of progress.json, s.", low=0.05, high=60.0),
    Param("log_s", 10.0, "Time between two progress lines in the log, s.", low=0.5, high=3600.0),
    Param("dashboard_s", 1.0, "Time between two dashboard images, s.", low=0.1, high=60.0),
    Param("plot_s", 120.0, "Time between two drawings of the learning curve, s.", low=1.0, high=86_400.0),
    Param(
        "nodes",
        ["safety_guard", "policy_controller", "learner", "reward_trainer", "vlm_rater"],
        "Nodes of the graph, whose health is published; others are added once they are heard.",
        any_length=True,
    ),
    Param("stale_s", 4.0, "A node that has been silent for longer counts as dead, s.", low=2.0, high=3600.0),
    Param("start_s", 60.0, "The time that a node may take to be heard for the first time, s.", low=0.0, high=3600.0),
    Param("settle_s", 5.0, "At the end, wait at most this long for the last truth, s.", low=0.0, high=60.0),
    Param("video_episodes", 6, "Evaluation episodes in evaluation.mp4; 0: no video.", low=0, high=1000),
    Param("video_scale", 3, "The camera image is enlarged this many times in the video.", low=1, high=16),
)  # fmt: skip
