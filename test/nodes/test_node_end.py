# SPDX-License-Identifier: Apache-2.0
"""A node whose teardown hangs in the middleware: its work is saved, so the process ends, with its work's status."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HANGING = """
import os, signal, sys, time
from erl_vlm_ros.ros import node_base

class Hanging(node_base.BaseNode):
    NAME = "viewer"  # whose parameters it takes

    def __init__(self):
        super().__init__(self.NAME)
        self.wall_timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))

    def on_stop(self):
        if sys.argv[2] == "failing":
            raise RuntimeError("nothing was saved")

    def destroy_node(self):
        print("leaving", flush=True)
        time.sleep(600)

node_base.TEARDOWN_S = float(sys.argv[1])
sys.exit(node_base.run(Hanging, []))
"""


@pytest.mark.parametrize(
    ("teardown", "work", "term", "status"),
    [
        (0.5, "done", False, 0),
        (0.5, "failing", False, 1),
        (600.0, "done", True, -signal.SIGTERM),  # no thread may run: the middleware hangs with Python's lock
    ],
)
def test_a_hanging_teardown_ends_the_process(ros, teardown, work, term, status):
    call = [sys.executable, "-c", HANGING, str(teardown), work]
    process = subprocess.Popen(call, env=ros.environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "leaving\n"
        if term:
            process.terminate()
        assert process.wait(30) == status
    finally:
        process.kill()
