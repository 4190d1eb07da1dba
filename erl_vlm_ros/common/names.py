# SPDX-License-Identifier: Apache-2.0
"""Relative topic and service names of the graph, in one place. No rclpy here. Remap them in launch files."""

from __future__ import annotations

# Robot side: what a camera driver, an arm driver and a pose tracker publish.
IMAGE = "camera/camera/color/image_raw"
IMAGE_COMPRESSED = "camera/camera/color/image_raw/compressed"
CAMERA_INFO = "camera/camera/color/camera_info"
DEPTH = "camera/camera/depth/image_rect_raw"
DEPTH_INFO = "camera/camera/depth/camera_info"
ALIGNED_DEPTH = "camera/camera/aligned_depth_to_color/image_raw"
ALIGNED_DEPTH_INFO = "camera/camera/aligned_depth_to_color/camera_info"
# What the camera node makes of another driver's images; the readers of IMAGE are remapped to it.
POLICY_IMAGE = "camera/policy/image_raw"
POLICY_IMAGE_COMPRESSED = "camera/policy/image_raw/compressed"
POLICY_CAMERA_INFO = "camera/policy/camera_info"
POLICY_DEPTH = "camera/policy/depth/image_raw"
POLICY_DEPTH_INFO = "camera/policy/depth/camera_info"
# Of a run with named cameras: those of realsense2_camera with camera_name NAME.
NAMED_IMAGE = "camera/{}/color/image_raw"
NAMED_IMAGE_COMPRESSED = "camera/{}/color/image_raw/compressed"
NAMED_CAMERA_INFO = "camera/{}/color/camera_info"
JOINT_STATES = "joint_states"
EE_POSE = "ee_pose"
OBJECT_POSE = "object_pose"
CLOCK = "/clock"  # absolute by ROS convention

# Commands: what the policy asks for, and what the guard lets through to the arm.
POLICY_TWIST = "policy/twist"
POLICY_GRIPPER = "policy/gripper"
ARM_TWIST = "servo_node/delta_twist_cmds"
ARM_GRIPPER = "gripper_controller/commands"

ARM_JOINT_COMMANDS = "forward_command_controller/commands"  # adapters for drivers that take joints
ARM_TRAJECTORY = "joint_trajectory_controller/joint_trajectory"
ARM_GRIPPER_ACTION = "gripper_controller/gripper_cmd"  # action GripperCommand
SERVO_COMMAND_TYPE = "servo_node/switch_command_type"  # service of MoveIt Servo
ROBOT_DESCRIPTION = "robot_description"  # latched URDF, as robot_state_publisher gives it
TF = "/tf"  # absolute by ROS convention
POLICY_HOME = "policy/joint_trajectory"  # where to drive the joints between episodes, through the guard
WRENCH = "wrench"  # optional force-torque sensor

# A person: takes over, drives, says how it went.
JOY = "joy"
HUMAN_TWIST = "intervention/twist"  # TwistStamped; a SpaceMouse driver's Twist comes as HUMAN_TWIST_PLAIN
HUMAN_TWIST_PLAIN = "intervention/twist_plain"
HEARTBEAT = "safety_guard/heartbeat"
HUMAN_SUCCESS = "policy_controller/success"  # services of std_srvs
HUMAN_FAILURE = "policy_controller/failure"
HUMAN_CONTINUE = "policy_controller/continue"
HUMAN_PAUSE = "policy_controller/pause"

# Ground truth of the simulation, for evaluation only.
SUCCESS = "task/success"
PROGRESS = "task/progress"
GROUND_TRUTH = "task/ground_truth"

# Learning data as tensor bundles.
TRANSITIONS = "learning/transitions"
ACTOR = "learning/actor"
QUERIES = "learning/queries"
LABELS = "learning/labels"
LABEL_LOG = "learning/label_log"  # a readable line per label
REWARD_MODEL = "learning/reward_model"
EVALUATION_EPISODES = "evaluation/episodes"
METRICS = "learning/metrics"
EPISODE_REWARD = "learning/episode_reward"  # Float32MultiArray: learned reward of each step of the newest episode

RUN_STATE = "run/state"
RUN_FACTS = "run/facts"  # of a run on two machines: what both sides must agree on, and a sign of life of each
RUN_SIDES = "run/sides"
DIAGNOSTICS = "/diagnostics"  # absolute by ROS convention
HEARTBEAT_SUFFIX = ": heartbeat"  # of the status name of a node's sign of life there
ALARM_PREFIX = "alarm/"  # of the status name of a training alarm there
MONITOR_IMAGE = "monitor/image"
MONITOR_IMAGE_COMPRESSED = "monitor/image/compressed"
MONITOR_MARKERS = "monitor/markers"

# Guard state and services.
ARMED = "safety_guard/armed"
ESTOP_STATE = "safety_guard/estop_state"
REASON = "safety_guard/reason"
EXECUTED = "safety_guard/executed"  # TwistStamped: what the guard let through, whatever the arm's adapter
GUARD_ALIVE = "safety_guard/alive"  # String: each guard's own token, so that guards of one name hear of each other
ARM = "safety_guard/arm"
ESTOP = "safety_guard/estop"
CLEAR_ESTOP = "safety_guard/clear_estop"

# Simulation services.
RESET = "sim_bridge/reset"
PAUSE = "sim_bridge/pause"
STEP = "sim_bridge/step"
SIM_SET_PARAMETERS = "sim_bridge/set_parameters"
