# SPDX-License-Identifier: Apache-2.0
"""A test's own ROS node, and the package's nodes as real processes under it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros]')")

import rclpy
from factories import SIM_ARM_FACTS
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # s; only a failing test waits this long
GRACE = 5.0  # s for the nodes to end together after a test


class Ros:
    """Publish, collect and call on one node; run the package's nodes. Every wait has a deadline."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.context = Context()
        rclpy.init(context=self.context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = Node("test", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.processes: dict[str, subprocess.Popen] = {}

    # -- processes

    @staticmethod
    def environment() -> dict[str, str]:
        """For a process: this checkout's package, one thread for each numeric library."""
        return (
            os.environ
            | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'test'}"}  # the tests' own worlds and agents, too
        )

    def start(self, name: str, **parameters: Any) -> subprocess.Popen:
        """Run ``erl_vlm_ros.nodes.NAME``; its output goes to a file that a failing test shows.

        As in the graphs, every node gets what it must know of the simulated arm.
        """
        if "backend" not in parameters:  # a world of the test's own has another arm
            parameters = SIM_ARM_FACTS.get(name, {}) | parameters
        command = [sys.executable, "-m", f"erl_vlm_ros.nodes.{name}", "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key.replace('__', '.')}:={json.dumps(value)}"]
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment(), stdout=log, stderr=log)
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        """What the node printed so far."""
        return (self.folder / f"{name}.log").read_text()

    def stop(self, name: str, number: int = signal.SIGINT) -> int:
        """Send a signal and wait; returns the exit status. The executor keeps running, as peers would."""
        process = self.processes.pop(name)
        process.send_signal(number)
        self.until(lambda: process.poll() is not None, f"{name} to stop")
        return process.returncode

    # -- topics and services

    def collect(self, kind: type, topic: str, qos: Any) -> list[Any]:
        """Messages of a topic, in a list that grows."""
        found: list[Any] = []
        self.node.create_subscription(kind, topic, found.append, qos)
        return found

    def publisher(self, kind: type, topic: str, qos: Any, readers: int = 1) -> Any:
        """A publisher, returned once ``readers`` subscriptions are matched."""
        out = self.node.create_publisher(kind, topic, qos)
        self.until(lambda: out.get_subscription_count() >= readers, f"a subscriber of {topic}")
        return out

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service; returns the response. Asks again when none comes: on a busy machine the service may not yet
        know the way back when the first request comes (rmw drops the answer after 100 ms)."""
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready, f"service {service}")
        future = client.call_async(request)
        if not self.holds(future.done, PATIENCE / 4):
            future = client.call_async(request)
        self.until(future.done, f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def until(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Serve callbacks until the condition holds; fails the test at the deadline."""
        if not self.holds(condition, patience):
            logs = "\n".join(f"--- {p.name}\n{p.read_text()[-2000:]}" for p in self.folder.glob("*.log"))
            pytest.fail(f"waited {patience:g} s for {what}\n{logs}")

    def holds(self, condition: Callable[[], Any], patience: float) -> bool:
        """Whether the condition comes to hold within ``patience``, s, while callbacks are served.

        One that looks at a message that has not come yet (IndexError) does not hold.
        """
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(IndexError):
                if condition():
                    return True
            if time.monotonic() > deadline:
                return False
            self.executor.spin_once(timeout_sec=0.05)

    def serve(self, seconds: float) -> None:
        """Serve callbacks for a while: to show that something does NOT happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """End what still runs; a killed node would leave its 17 MB of shared memory behind."""
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE
        for process in self.processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def ros(ros_domain, tmp_path):
    """A Ros on a domain of its own."""
    out = Ros(tmp_path)
    yield out
    out.close()


@pytest.fixture(autouse=True)
def _no_test_leaves_the_default_context_open():
    yield
    rclpy.try_shutdown()
