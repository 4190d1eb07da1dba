# SPDX-License-Identifier: Apache-2.0
"""Parameters of monitor."""

from __future__ import annotations

from erl_vlm_ros.ros.parameters.policy_controller import PARAMETERS as _CONTROLLER
from erl_vlm_ros.ros.params import Param

# What the monitor must know as the controller does.
_SHARED = ("lock_step", "joint_names", "gripper_joints", "base_frame", "image_size")

PARAMETERS = (
    *(param for param in _CONTROLLER if param.name in _SHARED),
    Param("task", "drawer_open", "Name or path of the task file: class names, workspace box."),
    Param("seed", 0, "Seed of the run, for the summary.", low=0, high=2**31 - 1),
    Param("mode", "train", "evaluate: only evaluation episodes come.", choices=("train", "evaluate")),
    Param("run_dir", "", "Folder for summary.json and the rest; empty: nothing is written."),
    Param("max_steps", 15_000, "Steps of the whole run, for the time left.", low=1, high=10**9),
    Param("max_ratings", 900, "Rating budget of the whole run, for the progress line.", low=0, high=10**9),
    Param("progress_s", 0.5, "Time between two writings of progress.json, s.", low=0.05, high=60.0),
    Param("log_s", 10.0, "Time between two progress lines in the log, s.", low=0.5, high=3600.0),
    Param("dashboard_s", 1.0, "Time between two dashboard images, s.", low=0.1, high=60.0),
    Param("plot_s", 120.0, "Time between two drawings of the learning curve, s.", low=1.0, high=86_400.0),
    Param(
        "nodes",
        ["safety_guard", "policy_controller", "sac_learner", "reward_trainer", "vlm_rater"],
        "Nodes of the graph, whose health is told; others are told of once they are heard.",
        any_length=True,
    ),
    Param("stale_s", 4.0, "A node that has been silent for longer counts as dead, s.", low=2.0, high=3600.0),
    Param("start_s", 60.0, "The time that a node may take to be heard for the first time, s.", low=0.0, high=3600.0),
    Param("forbidden_boxes", [0.0] * 6, "As of safety_guard: drawn in rviz.", low=-10.0, high=10.0, any_length=True),
    Param(
        "success_source",
        "none",
        "As of policy_controller: who tells of success where there is no ground truth.",
        choices=("none", "person", "topic", "reward"),
    ),
    Param("settle_s", 5.0, "At the end, wait at most this long for the last truth, s.", low=0.0, high=60.0),
    Param("video_episodes", 6, "Evaluation episodes in evaluation.mp4; 0: no video.", low=0, high=1000),
    Param("video_scale", 3, "The camera image is enlarged this many times in the video.", low=1, high=16),
)  # fmt: skip
