# SPDX-License-Identifier: Apache-2.0
"""Parameters of monitor."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

PARAMETERS = (
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
    Param("stale_s", 15.0, "A node whose figures are older is reported as silent, s.", low=1.0, high=3600.0),
    Param("settle_s", 5.0, "At the end, wait at most this long for the last truth, s.", low=0.0, high=60.0),
    Param("video_episodes", 6, "Evaluation episodes in evaluation.mp4; 0: no video.", low=0, high=1000),
    Param("video_scale", 3, "The camera image is enlarged this many times in the video.", low=1, high=16),
)  # fmt: skip
