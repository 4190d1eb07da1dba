# SPDX-License-Identifier: Apache-2.0
"""Parameters of safety_guard. What to set them to on a real arm: docs/safety.md."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._adapters import ADAPTER_PARAMETERS
from erl_vlm_ros.params.tables._shared import CAMERAS, FORBIDDEN_BOXES, GRIPPER_MAX, JOINT_STATE_TOPICS
from erl_vlm_ros.robot.drivers import WATCHDOG_USES

_MODE = (
    Param(
        "task",
        "drawer_open",
        "Name or path of the task file; its workspace is the box, and it says whether there is a gripper.",
    ),
    Param(
        "lock_step",
        True,
        "Answer each command at once and only then (simulation); false: send at rate_hz.",
    ),
    JOINT_STATE_TOPICS,
    Param("reliable_sensors", True, "Ask for reliable ee_pose and joint_states; false also accepts best effort."),
)
_ENVELOPE = (
    FORBIDDEN_BOXES,
    GRIPPER_MAX,
    Param("max_speed", 0.9, "Largest speed of the tool point, m/s.", low=0.001, high=2.0),
    Param(
        "max_acceleration", 0.0, "Largest acceleration of the tool point, m/s^2; 0: not limited.", low=0.0, high=100.0
    ),
    Param("max_jerk", 0.0, "Largest jerk of the tool point, m/s^3; 0: not limited.", low=0.0, high=10000.0),
    Param(
        "max_angular_speed",
        0.0,
        "Largest angular speed, rad/s; 0: commands that rotate the tool are rejected.",
        low=0.0,
        high=10.0,
    ),
    Param(
        "max_angular_acceleration", 0.0, "Largest angular acceleration, rad/s^2; 0: not limited.", low=0.0, high=500.0
    ),
    Param("max_angular_jerk", 0.0, "Largest angular jerk, rad/s^3; 0: not limited.", low=0.0, high=50000.0),
    Param("max_step_m", 0.0, "Longest way that the tool may go in horizon_s, m; 0: not limited.", low=0.0, high=0.5),
    Param(
        "horizon_s",
        0.1,
        "The tool must stay in the box if a command is obeyed this long, s: the command timeout of the arm's driver.",
        low=0.01,
        high=1.0,
    ),
)
_JOINTS = (
    Param(
        "joint_margin",
        0.0,
        "How near to its limits a joint may be driven, rad; motion gets slower over as much again. 0: not watched.",
        low=0.0,
        high=1.0,
    ),
    Param("joint_lower", [0.0], "Lower limits of controller_joints, rad; [0.0]: the URDF's.", any_length=True),
    Param("joint_upper", [0.0], "Upper limits of controller_joints, rad; [0.0]: the URDF's.", any_length=True),
)
_REAL_TIME = (
    Param("rate_hz", 50.0, "Real time: rate at which commands are sent to the arm.", low=50.0, high=500.0),
    Param(
        "stop_within_s",
        0.1,
        "Real time: longest stop; limits of acceleration and jerk that would take longer are refused, s.",
        low=0.02,
        high=1.0,
    ),
    Param(
        "command_timeout_s",
        0.15,
        "Real time: without a policy command for this long the arm is stopped, s.",
        low=0.02,
        high=5.0,
    ),
    Param(
        "command_gap_s",
        0.0,
        "Real time: without any message on policy/twist for this long, repetitions under the same stamp included, the "
        "arm is stopped, s; policy_controller repeats every 0.02 s. 0: off.",
        low=0.0,
        high=5.0,
    ),
    Param(
        "state_timeout_s",
        0.3,
        "Real time: without joint_states or ee_pose (or wrench, if limited) for this long the arm is stopped, s.",
        low=0.02,
        high=5.0,
    ),
    CAMERAS,
    Param(
        "camera_timeout_s",
        0.0,
        "Real time: without camera_info (one comes with each image) for this long the arm is stopped, s; 0: off.",
        low=0.0,
        high=10.0,
    ),
    Param(
        "home_timeout_s",
        0.5,
        "Real time: a motion home stops when its request is not repeated for this long, s.",
        low=0.05,
        high=10.0,
    ),
    Param(
        "arm_lag_s",
        0.0,
        "Real time: how long after a command the arm does it, s; where the tool will be is judged accordingly.",
        low=0.0,
        high=0.3,
    ),
    Param(
        "max_tracking_error_m",
        0.03,
        "Real time: how far the commands may run ahead of a tool that something holds up, m: drivers push the harder "
        "the longer it is, and the tool leaps as far when it slips off. 0: not limited.",
        low=0.0,
        high=0.5,
    ),
    Param(
        "pose_tolerance_m",
        0.03,
        "Real time: how far ee_pose may be from where the joints put the tool by the URDF, m; more for 0.15 s latches "
        "the e-stop, and arming is refused. 0, or no URDF: not compared.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "pose_tolerance_rad",
        0.1,
        "Real time: the same for the orientation of ee_pose, rad; 0, no URDF, or a pose whose quaternion is all zeros: "
        "not compared.",
        low=0.0,
        high=3.1,
    ),
    Param(
        "home_angular_speed",
        0.5,
        "Real time: fastest turn of the tool on the way home, rad/s; where rotation is limited to less, that counts.",
        low=0.01,
        high=10.0,
    ),
    Param(
        "home_angular_acceleration",
        12.0,
        "Real time: largest angular acceleration of the tool on the way home and at its end, rad/s^2; with 12 it stops "
        "from 0.5 rad/s within 0.1 s.",
        low=0.1,
        high=500.0,
    ),
    Param(
        "stamp_future_s",
        0.05,
        "Real time: how far stamps may lie in the future, s (clocks of two machines).",
        low=0.0,
        high=1.0,
    ),
    Param(
        "check_state_stamps",
        True,
        "Real time: judge joint_states and ee_pose by their stamps too; false for drivers that stamp wrongly.",
    ),
    Param(
        "realtime_priority",
        10,
        "Real time: priority of the process (SCHED_FIFO) where it is permitted, else it is made less nice; 0: off.",
        low=0,
        high=90,
    ),
)
_PEOPLE = (
    Param(
        "heartbeat_timeout_s",
        0.0,
        "Real time: silence of ~/heartbeat (std_msgs/Bool) that latches the e-stop, s; 0: off.",
        low=0.0,
        high=60.0,
    ),
    Param(
        "deadman_button",
        None,
        "Real time: joystick button that must be held for any motion; not set: none.",
        low=0,
        high=63,
        unset="int",
    ),
    Param("deadman_timeout_s", 0.3, "Real time: silence of joy that counts as released, s.", low=0.02, high=5.0),
    Param(
        "max_force", 0.0, "Real time: force on topic wrench that latches the e-stop, N; 0: off.", low=0.0, high=1000.0
    ),
    Param("max_torque", 0.0, "Real time: torque that latches the e-stop, Nm; 0: off.", low=0.0, high=1000.0),
)
_NEIGHBOURS = (
    Param(
        "watchdog.use",
        "auto",
        "Real time: whether guard_watchdog must be there: required (not armed without it), optional (a warning), off; "
        "auto: required for adapter joint_velocity, whose driver obeys a dead guard's last command for ever.",
        choices=WATCHDOG_USES,
    ),
    Param(
        "watchdog.socket",
        None,
        "Unix socket of guard_watchdog; not set: one of their own by domain and node name.",
        unset="str",
    ),
    Param(
        "watchdog.disarm_after_s",
        0.5,
        "Real time: a guard that hung for longer, so that the watchdog stopped the arm, disarms when it wakes up, s; "
        "after a shorter gap it goes on from standstill.",
        low=0.0,
        high=60.0,
    ),
    Param(
        "rivals",
        "fault",
        "Another publisher on the arm's command topics: fault (not armed; armed: e-stop), warn, or off.",
        choices=("fault", "warn", "off"),
    ),
)

PARAMETERS = (*_MODE, *_ENVELOPE, *_JOINTS, *_REAL_TIME, *_PEOPLE, *_NEIGHBOURS, *ADAPTER_PARAMETERS)
