# SPDX-License-Identifier: Apache-2.0
"""Relative topic and service names of the graph, in one place. No rclpy here. Remap them in launch files."""

from __future__ import annotations

# Robot side: what a camera driver, an arm driver and a pose tracker publish.
IMAGE = "camera/camera/color/image_raw"
IMAGE_COMPRESSED = "camera/camera/color/image_raw/compressed"
CAMERA_INFO = "camera/camera/color/camera_info"
JOINT_STATES = "joint_states"
EE_POSE = "ee_pose"
OBJECT_POSE = "object_pose"
CLOCK = "/clock"  # absolute by ROS convention

# Commands: the policy's wish, and what the guard lets through to the arm.
POLICY_TWIST = "policy/twist"
POLICY_GRIPPER = "policy/gripper"
ARM_TWIST = "servo_node/delta_twist_cmds"
ARM_GRIPPER = "gripper_controller/commands"

# Ground truth of the simulation, for evaluation only.
SUCCESS = "task/success"
PROGRESS = "task/progress"
GROUND_TRUTH = "task/ground_truth"

# Learning data as tensor bundles.
TRANSITIONS = "learning/transitions"
ACTOR = "learning/actor"
SEGMENTS = "learning/segments"
RATINGS = "learning/ratings"
RATING_LOG = "learning/rating_log"  # a readable line per rating
REWARD_MODEL = "learning/reward_model"
EVALUATION_EPISODES = "evaluation/episodes"
METRICS = "learning/metrics"

RUN_STATE = "run/state"
DIAGNOSTICS = "/diagnostics"  # absolute by ROS convention
MONITOR_IMAGE = "monitor/image"
MONITOR_IMAGE_COMPRESSED = "monitor/image/compressed"
MONITOR_MARKERS = "monitor/markers"

# Guard state and services.
ARMED = "safety_guard/armed"
ESTOP_STATE = "safety_guard/estop_state"
REASON = "safety_guard/reason"
ARM = "safety_guard/arm"
ESTOP = "safety_guard/estop"
CLEAR_ESTOP = "safety_guard/clear_estop"

# Simulation services.
RESET = "sim_bridge/reset"
PAUSE = "sim_bridge/pause"
STEP = "sim_bridge/step"
SIM_SET_PARAMETERS = "sim_bridge/set_parameters"
