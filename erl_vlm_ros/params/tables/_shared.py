# SPDX-License-Identifier: Apache-2.0
"""What several nodes must know of arm and run alike: one Param each, so that it is declared once. No rclpy.

The graph gives them the same value (``params/shared.py``); a robot file sets those of the arm (``robot/spec.py``).
"""

from __future__ import annotations

from erl_vlm_ros.agents.encoders.config import EncoderConfig
from erl_vlm_ros.data.sources import EVERY, SUCCESSFUL
from erl_vlm_ros.data.spaces import IMAGES, STATE
from erl_vlm_ros.params.param import Param, group
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.robot.drivers import ADAPTERS

_BIG = 10**9

BASE_FRAME = Param("base_frame", "base_link", "Frame of poses and velocities: the arm's base.")
TOOL_FRAME = Param("tool_frame", "tool0", "Link of the URDF that is moved: the tool point.")
URDF_FILE = Param("urdf_file", "", "URDF of the arm, xacro expanded; empty: from the topic robot_description.")
URDF_WAIT_S = Param(
    "urdf_wait_s", 10.0, "How long to wait for robot_description at start, s, where it is needed.", low=0.1, high=600.0
)
JOINT_NAMES = Param(
    "joint_names",
    None,
    "The arm's joints, in the order of the observation; not set: the URDF's, from base_frame to tool_frame.",
    unset="str[]",
)
CONTROLLER_JOINTS = Param(
    "controller_joints",
    None,
    "Joints in the order of the controller's own parameter 'joints'; not set: the URDF's order.",
    unset="str[]",
)
GRIPPER_JOINTS = Param(
    "gripper_joints",
    None,
    "Joints whose positions give the gripper's opening; not set: it is not measured, the commanded one is observed.",
    unset="str[]",
)
GRIPPER_MEASURED_SCALE = Param(
    "gripper_measured_scale",
    1.0,
    "Opening in m per unit of the sum of gripper_joints; Robotiq 2F-85: -0.10627.",
    low=-1e3,
    high=1e3,
)
GRIPPER_MEASURED_OFFSET = Param(
    "gripper_measured_offset", 0.0, "Opening in m where that sum is 0; Robotiq 2F-85: 0.085.", low=-1e3, high=1e3
)
GRIPPER_MAX = Param(
    "gripper_max", 0.08, "Widest gripper opening, m; commands are clipped to 0..gripper_max.", low=0.0, high=0.5
)
JOINT_STATE_TOPICS = Param(
    "joint_state_topics",
    ["joint_states"],
    "Topics with joint states; arm and gripper may each have their own.",
    any_length=True,
)
ADAPTER = Param(
    "adapter", "servo_twist", "What the arm's driver understands; see docs/robots.md.", choices=tuple(ADAPTERS)
)
FORBIDDEN_BOXES = Param(
    "forbidden_boxes",
    [0.0] * 6,
    "Boxes that the tool point must not enter: six numbers each (low x, y, z, high x, y, z in m); six zeros: none.",
    low=-10.0,
    high=10.0,
    any_length=True,
)
MAX_STEPS = Param("max_steps", 15_000, "Training steps after which the final evaluation runs.", low=1, high=_BIG)
MAX_RATINGS = Param("max_ratings", 900, "Segments ever sent to the rater.", low=0, high=_BIG)
IMAGE_SIZE = Param(
    "image_size",
    128,
    "Frames are kept as squares of this many pixels: centre crop, then area resize.",
    low=16,
    high=1024,
)
SUCCESS_SOURCE = Param(
    "success_source",
    "none",
    "Who says whether an episode succeeded: none, a person (asked after each evaluation episode), the topic "
    "task/success, or learner by the learned reward. A person may say so in any case.",
    choices=("none", "person", "topic", "reward"),
)

SOURCE = Param(
    "episode_source",
    "live",
    "Where episodes come from: live (the running graph), run (the buffer of an earlier run), dataset (see `erl-vlm "
    "dataset`), or package.module:Class. What is not live is read at start; the graph's own episodes come after it.",
)
SOURCE_PATH = Param(
    "episode_source_path", "", "What the source reads: for run, a run directory; for dataset, its folder."
)
SOURCE_KEEP = Param(
    "episode_source_keep",
    EVERY,
    "Episodes of the source that are taken: every one, or those judged successful alone.",
    choices=(EVERY, SUCCESSFUL),
)
FEEDBACK = Param(
    "feedback",
    "rating",
    "What is asked: rating (of a segment, for its last frame), transitions (a rating for each of them), grade (1 to 5,"
    " from a reward model), preference (which of two segments is better), both (rounds of ratings and of preferences in"
    " turn, one reward model from both), or MODULE:NAME of a kind of your own.",
)

OBSERVE = Param(
    "observe",
    STATE,
    "What the policy sees beside its proprioception: state (the task's tracked object, if it has one) or images "
    "(features of the camera image, no tracked object; docs/images.md).",
    choices=(STATE, IMAGES),
)
ENCODER = group("encoder", EncoderConfig)
TRUNK = group("trunk", TrunkConfig)
TRUNK_SEEN = tuple(param for param in TRUNK if param.name in ("trunk.image_size", "trunk.channels"))  # an encoder's

CAMERAS = Param(
    "cameras",
    None,
    "Names of the cameras, as the robot's or the task's file lists them; not set: one camera without a name.",
    unset="str[]",
)
CAMERA_SIZES = Param(
    "camera_sizes",
    None,
    "Width and height of each camera's image, px, two numbers a camera; 0 0: as it comes. Set by the graph.",
    low=0,
    high=10000,
    unset="int[]",
)
FRAMES = (BASE_FRAME, TOOL_FRAME, URDF_FILE, URDF_WAIT_S)  # where the arm's kinematics are, and between which links
SPACES = (
    JOINT_NAMES,
    GRIPPER_JOINTS,
    GRIPPER_MAX,
    OBSERVE,
    CAMERAS,
    IMAGE_SIZE,
    *FRAMES,
)  # what observation and action consist of
MEASURED = (*SPACES, GRIPPER_MEASURED_SCALE, GRIPPER_MEASURED_OFFSET, JOINT_STATE_TOPICS)  # and how it is measured
DRIVER = (ADAPTER, CONTROLLER_JOINTS)
REWARD_MODEL = Param(
    "reward_model",
    "trunk_heads",
    "What learns rewards from labels. trunk_heads: image trunk over all frames, rating heads on it; erl_vlm: the "
    "ERL-VLM paper's model; or MODULE:NAME of one of your own.",
)
SHARED = (
    *MEASURED,
    *DRIVER,
    FORBIDDEN_BOXES,
    MAX_STEPS,
    MAX_RATINGS,
    SUCCESS_SOURCE,
    FEEDBACK,
    REWARD_MODEL,
    SOURCE,
    SOURCE_PATH,
    SOURCE_KEEP,
    *TRUNK_SEEN,
    *ENCODER,
)
