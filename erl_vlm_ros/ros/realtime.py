# SPDX-License-Identifier: Apache-2.0
"""Scheduling of the whole process, threads of DDS included: call it before rclpy starts any."""

from __future__ import annotations

import os

_LESS_NICE = -10


def prefer(priority: int) -> str:
    """Ask the system to run this process before ordinary ones; returns what it granted, for the log.

    SCHED_FIFO with ``priority`` needs CAP_SYS_NICE or an rtprio limit (docs/safety.md); 0 asks for nothing.
    """
    if priority <= 0 or not hasattr(os, "sched_setscheduler"):
        return "ordinary scheduling"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        return f"real-time scheduling, SCHED_FIFO {priority}"
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _LESS_NICE)
        return f"nice {_LESS_NICE}: SCHED_FIFO was refused; grant rtprio, see docs/safety.md"
    except OSError:
        return "ordinary scheduling: neither SCHED_FIFO nor a lower nice value is permitted, see docs/safety.md"
