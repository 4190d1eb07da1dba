# SPDX-License-Identifier: Apache-2.0
"""Whole graphs as a user starts them: through the command line, in processes of their own."""

from __future__ import annotations

import subprocess

import pytest
from system_helpers import command, environment

from erl_vlm_ros.runs.supervisor import die_with_parent

pytest.importorskip("rclpy")
pytest.importorskip("mujoco")


@pytest.fixture
def erl_vlm():
    """Run the command line to its end; returns the finished process."""

    def call(*arguments, timeout=240, status=0):
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
        if status is not None:
            assert done.returncode == status, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    return call


@pytest.fixture
def start():
    """Start the command line and go on; what is left is stopped at the end."""
    started = []

    def begin(*arguments):
        process = subprocess.Popen(
            command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
