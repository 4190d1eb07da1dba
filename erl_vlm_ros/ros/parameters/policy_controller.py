# SPDX-License-Identifier: Apache-2.0
"""Parameters of policy_controller."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

_BIG = 10**9

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("seed", 0, "Seed of exploration.", low=0, high=2**31 - 1),
    Param(
        "mode",
        "train",
        "train: collect episodes and evaluate now and then; evaluate: run actor_file and finish.",
        choices=("train", "evaluate"),
    ),
    Param("actor_file", "", "Mode evaluate: file with an actor bundle."),
    Param(
        "lock_step",
        True,
        "Answer every observation with a command of its stamp; false: run at the task's control rate.",
    ),
    Param("auto_arm", False, "Arm the safety guard without asking. For simulation only."),
    Param("max_steps", 15_000, "Training steps after which the final evaluation runs.", low=1, high=_BIG),
    Param("eval_every", 1000, "Training steps between evaluations; 0: only the final one.", low=0, high=_BIG),
    Param("eval_episodes", 10, "Episodes of an evaluation during training.", low=1, high=10_000),
    Param(
        "final_eval_episodes",
        20,
        "Episodes of the final evaluation, or of mode evaluate; 0: none.",
        low=0,
        high=10_000,
    ),
    Param(
        "eval_seed",
        1_000_000,
        "Evaluation episode i starts from seed eval_seed + i.",
        low=0,
        high=2**31 - 20_000,
    ),
    Param("jpeg_quality", 90, "Quality of the frames kept in episodes.", low=1, high=100),
    Param(
        "image_size",
        128,
        "Frames are kept as squares of this many pixels: centre crop, then area resize.",
        low=16,
        high=1024,
    ),
    Param(
        "joint_names",
        ["joint1", "joint2", "joint3", "joint4", "joint5", "joint6"],
        "The arm's joints, in the order of the observation.",
    ),
    Param(
        "gripper_joints",
        ["finger_left", "finger_right"],
        "Joints whose positions add up to the gripper's opening, m.",
        any_length=True,
    ),
    Param("base_frame", "base_link", "Frame of the commanded velocity."),
    Param("reliable_sensors", True, "Ask for reliable sensor topics; false also accepts best effort."),
    Param(
        "image_timeout_s",
        0.3,
        "Real time: hold still while the newest image is older than this, s.",
        low=0.01,
        high=10.0,
    ),
    Param(
        "state_timeout_s",
        0.3,
        "Real time: hold still while the newest joint state or pose is older than this, s.",
        low=0.01,
        high=10.0,
    ),
    Param("set_episode_seed", True, "Tell sim_bridge which episode to start; false on a real arm."),
    Param(
        "reset_timeout_s",
        30.0,
        "Ask for a reset again after this long without an answer, s.",
        low=1.0,
        high=600.0,
    ),
    Param(
        "settle_timeout_s",
        60.0,
        "Before the final evaluation, wait at most this long for the learner to catch up, s.",
        low=0.0,
        high=3600.0,
    ),
    Param("checkpoint_dir", "", "Folder for policy_controller.safetensors; empty: no checkpoint."),
    Param("resume", False, "Continue from checkpoint_dir; the learner's counters are adopted in any case."),
    Param("checkpoint_every", 20, "Training episodes between checkpoints.", low=1, high=_BIG),
    Param("exploration.object_share", 0.5, "Share of waypoints near the tracked object.", low=0.0, high=1.0),
    Param(
        "exploration.object_radius",
        0.10,
        "Standard deviation of waypoints around the object, m.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "exploration.prefix_share",
        0.25,
        "Share of episodes that begin with waypoints before the actor takes over.",
        low=0.0,
        high=1.0,
    ),
    Param("exploration.prefix_steps", [5, 35], "Shortest and longest such beginning, steps.", low=0),
    Param(
        "exploration.burst_share", 0.25, "Share of episodes with waypoints in the middle.", low=0.0, high=1.0
    ),
    Param("exploration.burst_steps", [6, 15], "Shortest and longest such burst, steps.", low=0),
    Param("exploration.burst_start", [8, 40], "Earliest and latest step at which a burst begins.", low=0),
    Param(
        "exploration.speed",
        [0.4, 1.0],
        "Slowest and fastest travel between waypoints, share of full speed.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "exploration.gripper_switch",
        0.1,
        "Chance per step that exploration opens or closes the gripper.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "exploration.reached",
        0.03,
        "A waypoint counts as reached within this distance, m.",
        low=0.001,
        high=1.0,
    ),
)
