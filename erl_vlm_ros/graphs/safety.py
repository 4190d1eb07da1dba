# SPDX-License-Identifier: Apache-2.0
"""What differs from the shipped limits of the guard: said at the start of a run, a line for each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GUARD = "safety_guard"
#: parameters that say what the arm is like and how it is reached; all others, new ones as well, are limits
NOT_LIMITS = frozenset({
    "task", "lock_step", "base_frame", "reliable_sensors", "adapter", "servo_command_type", "urdf_file", "urdf_wait_s",
    "tool_frame", "controller_joints", "joint_state_topics", "gripper", "gripper_joint", "gripper_scale",
    "gripper_offset", "realtime_priority", "watchdog.socket", "cameras",
})  # fmt: skip


def limit_changes(guard: Mapping[str, Any], shipped: Mapping[str, Any]) -> list[str]:
    """Lines for the limits that are not as shipped.

    Args:
        guard, shipped: resolved parameters of safety_guard, as this run has them and as the graph ships them.
    """
    return [
        f"safety_guard.{key} is {_show(value)}; shipped: {_show(shipped[key])}"
        for key, value in sorted(guard.items())
        if key in shipped and key not in NOT_LIMITS and value != shipped[key]
    ]


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
