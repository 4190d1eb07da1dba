# SPDX-License-Identifier: Apache-2.0
"""Parameters of guard_watchdog. The graphs take the socket from safety_guard."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param
from erl_vlm_ros.params.tables._shared import ADAPTER, BASE_FRAME

PARAMETERS = (
    ADAPTER,
    BASE_FRAME,
    Param("guard", "safety_guard", "Name of the guard's node, relative to this node's namespace, or absolute."),
    Param(
        "socket",
        None,
        "Unix socket on which the guard beats, as safety_guard's watchdog.socket; not set: one of their own.",
        unset="str",
    ),
    Param(
        "silence_s",
        0.1,
        "A guard that commanded the arm and has not beaten for so long is taken for hung, s. One that dies is noticed "
        "at once.",
        low=0.02,
        high=5.0,
    ),
    Param("rate_hz", 50.0, "Rate of the zeros while it stands in for the guard.", low=5.0, high=500.0),
    Param(
        "realtime_priority",
        20,
        "Priority of the process (SCHED_FIFO) where it is permitted, above safety_guard's; 0: off.",
        low=0,
        high=90,
    ),
)
