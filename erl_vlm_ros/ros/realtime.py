# SPDX-License-Identifier: Apache-2.0
"""Scheduling of the whole process, threads of DDS included."""

from __future__ import annotations

import os
from collections.abc import Callable

_LESS_NICE = -10


def prefer(priority: int) -> str:
    """Ask the system to run this process before ordinary ones; returns what it granted, for the log.

    SCHED_FIFO with ``priority`` needs CAP_SYS_NICE or an rtprio limit (docs/safety.md); 0 asks for nothing. Threads
    that are made later inherit it from those that make them.
    """
    if priority <= 0 or not hasattr(os, "sched_setscheduler"):
        return "ordinary scheduling"
    if _each_thread(lambda thread: os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))):
        return f"real-time scheduling, SCHED_FIFO {priority}"
    if _each_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, _LESS_NICE)):
        return f"nice {_LESS_NICE}: SCHED_FIFO was refused; grant rtprio, see docs/safety.md"
    return "ordinary scheduling: neither SCHED_FIFO nor a lower nice value is permitted, see docs/safety.md"


def _each_thread(change: Callable[[int], None]) -> bool:
    """Apply ``change`` to every thread of this process; False as soon as it is not permitted."""
    for name in os.listdir("/proc/self/task"):
        try:
            change(int(name))
        except ProcessLookupError:
            continue  # the thread has ended meanwhile
        except OSError:
            return False
    return True
