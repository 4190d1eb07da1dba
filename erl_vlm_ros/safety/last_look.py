# SPDX-License-Identifier: Apache-2.0
"""The last look at a motion before it leaves: the limits once more, without any state of theirs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erl_vlm_ros.safety.config import GuardLimits
    from erl_vlm_ros.safety.core import Motion

_ROUNDING = 1e-6  # relative


def beyond(motion: Motion, limits: GuardLimits, turning_home: bool) -> str:
    """What of ``motion`` is not a number, or more than ``limits`` allow; empty: it may leave.

    ``turning_home``: the tool may turn as on the way home.
    """
    for value in (*motion.linear, *motion.angular, *(motion.joints or {}).values()):
        if not math.isfinite(value):
            return f"the motion holds {value}"
    turn = limits.angular.max_speed if limits.angular is not None else 0.0
    if motion.kind == "joints" or turning_home:
        turn = max(turn, limits.home_turn.max_speed)
    for what, vector, most in (
        ("speed", motion.linear, limits.linear.max_speed),
        ("angular speed", motion.angular, turn),
    ):
        if math.hypot(*vector) > most * (1.0 + _ROUNDING) + 1e-9:
            return f"{what} {math.hypot(*vector):.3f} is above {most:g}"
    return ""
