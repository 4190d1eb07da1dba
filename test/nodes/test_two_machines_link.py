# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces as two machines: the sides meet across the cable, and bundles cross one that loses frames."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from erl_vlm_ros.common.dds import profile_setting
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.graphs.sides import OTHER, READY

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
spec = importlib.util.spec_from_file_location("link", ROOT / "benchmarks" / "link.py")
link = importlib.util.module_from_spec(spec)
spec.loader.exec_module(link)

DOMAIN = "84"  # in namespaces of their own nobody else is
BYTES = 400_000  # about an actor or an episode
BUNDLE = f"""
import sys, time, rclpy
from rclpy.node import Node
from std_msgs.msg import UInt8MultiArray
from erl_vlm_ros.ros import qos
rclpy.init()
node = Node("bundle")
sends, got = sys.argv[1] == "robot", []
if sends:
    out = node.create_publisher(UInt8MultiArray, "learning/actor", qos.latched())
    out.publish(UInt8MultiArray(data=bytes({BYTES})))
else:
    node.create_subscription(UInt8MultiArray, "learning/actor", got.append, qos.latched())
deadline = time.monotonic() + 120
while time.monotonic() < deadline and not got:
    rclpy.spin_once(node, timeout_sec=0.1)
sys.exit(0 if got and len(got[0].data) == {BYTES} else 1)
"""


@pytest.fixture
def connected():
    """Make a Link, or skip; what was started on it is ended."""
    reason = link.refusal()
    if reason:
        pytest.skip(reason)
    made, started = [], []

    def connect(**how):
        made.append(link.Link(**how).__enter__())

        def start(side, log, *command, **variables):
            away = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY")
            env = {k: v for k, v in os.environ.items() if k not in away}
            env |= {"PYTHONPATH": str(ROOT), "ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
            env |= profile_setting(env, resource("config/fastdds_link.xml"))
            with log.open("w") as file:
                process = subprocess.Popen(
                    made[-1].command(side, sys.executable, "-u", *command),
                    env=env | variables,
                    stdout=file,
                    stderr=file,
                )
            started.append(process)
            return process

        return made[-1], start

    yield connect
    for process in started:
        process.kill()
        process.wait()
    for one in made:
        one.__exit__()


def await_all(condition, what, patience=120.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "peers"])
def test_the_sides_meet_across_the_cable(connected, tmp_path, multicast):
    cable, start = connected(multicast=multicast)
    logs = {side: tmp_path / f"{side}.log" for side in OTHER}
    for side, log in logs.items():
        facts = tmp_path / f"{side}.json"
        facts.write_text(json.dumps({"begun": side, "facts": {"schema": 1, "version": "0", "values": {"run.seed": 0}}}))
        # It says that it is ready once it has met the other one: its patience is longer than this test's.
        values = ("-p", f"side:={side}", "-p", f"facts_file:={facts}", "-p", "look_s:=60.0")
        peers = {} if multicast else {"ROS_STATIC_PEERS": link.ADDRESSES[OTHER[side]]}
        node = ("-m", "erl_vlm_ros.nodes.run_side", "--ros-args", "-r", f"__node:={side}_side")
        start(side, log, *node, *values, **peers)
    ready = lambda: all(READY in log.read_text() for log in logs.values())  # noqa: E731
    await_all(ready, "; ".join(log.read_text() for log in logs.values()), patience=50.0)
    assert min(cable.carried()) > 1000


def test_a_bundle_crosses_a_link_that_loses_one_frame_in_twenty(connected, tmp_path):
    """In datagrams of 64 kB, each lost with any of its 45 pieces, it takes minutes."""
    _, start = connected(loss=0.05, delay_s=0.02)
    start("robot", tmp_path / "robot.log", "-c", BUNDLE, "robot")
    reader = start("workstation", tmp_path / "workstation.log", "-c", BUNDLE, "workstation")
    await_all(lambda: reader.poll() is not None, "no end", patience=150.0)
    assert reader.returncode == 0, (tmp_path / "workstation.log").read_text()
