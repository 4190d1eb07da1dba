# SPDX-License-Identifier: Apache-2.0
"""The kinds of arm and gripper driver that the guard can command: parameter value -> (module, class)."""

from __future__ import annotations

from erl_vlm_ros.common.errors import Code, ConfigError

ADAPTERS = {
    "servo_twist": ("servo_twist", "ServoTwist"),
    "joint_velocity": ("joint_velocity", "JointVelocity"),
    "joint_position": ("joint_position", "JointPosition"),
    "joint_trajectory": ("joint_trajectory", "JointTrajectoryStream"),
}
GRIPPERS = {
    "position": ("gripper_position", "PositionGripper"),
    "gripper_command": ("gripper_action", "GripperCommandAction"),
    "parallel_gripper_command": ("gripper_action", "ParallelGripperCommandAction"),
    "none": ("gripper_none", "NoGripper"),
}
#: adapters whose drivers may obey the last velocity when the guard is dead: adapter -> what zeros they take
NEED_ZEROS = {"joint_velocity": "joints", "servo_twist": "twist"}
#: those of them that have no time-out of their own at all
OBEY_FOREVER = ("joint_velocity",)
WATCHDOG_USES = ("auto", "required", "optional", "off")


def watchdog_use(wanted: str, adapter: str, lock_step: bool) -> str:
    """What safety_guard's parameter watchdog.use comes to: "required", "optional" or "off".

    Raises:
        ConfigError: a watchdog is asked for where it could do nothing.
    """
    if wanted == "auto":
        return "required" if adapter in OBEY_FOREVER and not lock_step else "off"
    if wanted != "off" and lock_step:
        text = f"parameter 'watchdog.use' is '{wanted}', which needs parameter 'lock_step' false"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="guard_watchdog.watchdog.use")
    if wanted != "off" and adapter not in NEED_ZEROS:
        text = (
            f"parameter 'watchdog.use' is '{wanted}', but the driver of adapter '{adapter}' holds the arm by itself; "
            "use auto or off"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="guard_watchdog.watchdog.use")
    return wanted
