# SPDX-License-Identifier: Apache-2.0
"""Parameters of sim_bridge."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._shared import BASE_FRAME, CAMERA_SIZES, CAMERAS, DRIVER, JOINT_NAMES, TOOL_FRAME

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file; its name must be a simulated task."),
    Param(
        "seed",
        0,
        "Seed of the run; the start of training episode k is drawn from (seed, k).",
        low=0,
        high=2**31 - 1,
    ),
    Param(
        "backend",
        "mujoco_arm",
        "What is simulated: mujoco_arm (our scenes), metaworld, or a SimBackend as module:Class. A task "
        "metaworld/SCENE brings its own.",
    ),
    Param(
        "robot_file",
        "",
        "Robot file whose MuJoCo model stands in the scene; empty: the built-in arm. The graph sets it.",
    ),
    Param(
        "lock_step",
        True,
        "Wait for the command that answers each observation; false: paced by the wall clock.",
    ),
    Param(
        "first_stamp_s",
        0,
        "Simulated time at the start, s; later than all that listeners on another machine have heard of. Set by the "
        "graph.",
        low=0,
        high=2**31 - 1,
    ),
    CAMERAS,
    CAMERA_SIZES,
    Param(
        "camera_views",
        None,
        "Simulated camera of each of cameras: scene, wrist, or a camera of the scene's MJCF; not set: those of their "
        "names. Set by the graph.",
        unset="str[]",
    ),
    Param("image_width", 128, "Width of the camera image in pixels.", low=16, high=640),
    Param("image_height", 128, "Height of the camera image in pixels.", low=16, high=480),
    Param(
        "jpeg_quality",
        90,
        "Quality of image_raw/compressed, encoded only while there is a subscriber.",
        low=1,
        high=100,
    ),
    Param(
        "reliable_sensors",
        True,
        "Publish joints, poses and wrench reliably; false: best effort, as drivers do.",
    ),
    Param("reliable_images", True, "Publish images and camera_info reliably, as the camera node does."),
    Param(
        "republish_s",
        1.0,
        "Lock-step: publish the pending observation again after this wall time, s.",
        low=0.05,
        high=60.0,
    ),
    *DRIVER,
    Param(
        "command_timeout_s",
        None,
        "Real time: without a command for this long the arm halts, s; 0: never. Not set: as the real driver does "
        "(servo_twist 0.1 s, joint controllers never).",
        low=0.0,
        high=5.0,
        unset="float",
    ),
    Param("state_rate_hz", 50.0, "Real time: rate of joint_states and poses.", low=5.0, high=100.0),
    Param("camera_rate_hz", 30.0, "Real time: rate of the camera.", low=1.0, high=60.0),
    Param(
        "realtime_priority",
        5,
        "Real time: priority of the process (SCHED_FIFO) where it is permitted, else it is made less nice; 0: off. "
        "An arm's driver has a computer of its own.",
        low=0,
        high=90,
    ),
    Param("publish_wrench", False, "Real time: publish what the gripper feels on wrench, at state_rate_hz."),
    Param("publish_tf", False, "Publish the arm's frames on /tf (needs tf2_msgs); else robot_state_publisher does."),
    BASE_FRAME,
    TOOL_FRAME,
    JOINT_NAMES,
    Param(
        "camera_frame",
        "camera_color_optical_frame",
        "Optical frame of the camera (z forward, x right, y down).",
    ),
    Param(
        "episode_seed",
        -1,
        "Seed of the episode that the next reset starts; -1: drawn from the run's seed.",
        low=-1,
        high=2**31 - 1,
        read_only=False,
    ),
    Param(
        "episode_index",
        -1,
        "Number k of the training episode that the next reset starts; -1: one after the last.",
        low=-1,
        high=2**31 - 1,
        read_only=False,
    ),
)
