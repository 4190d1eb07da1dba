# SPDX-License-Identifier: Apache-2.0
"""Every node tells that it lives, and whether it is stuck in a callback."""

from __future__ import annotations

import signal
import time

from diagnostic_msgs.msg import DiagnosticArray

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert

BEAT = "safety_guard" + names.HEARTBEAT_SUFFIX


def test_beats_until_it_is_killed(ros):
    heard = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    ros.start("safety_guard")

    def beats():
        return [m for m in heard if BEAT in convert.metrics_of(m)]

    ros.until(lambda: len(beats()) >= 3, "three heartbeats")
    assert convert.metrics_of(beats()[-1])[BEAT]["busy_s"] < 1.0
    process = ros.processes["safety_guard"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    ros.serve(0.2)
    count = len(beats())
    ros.serve(1.5)
    assert len(beats()) == count


def test_a_stuck_executor_still_beats_and_says_how_long_it_is_stuck(ros_domain, monkeypatch):
    """In this process: the executor is simply not spun."""
    import rclpy

    from erl_vlm_ros.ros.node_base import BaseNode

    rclpy.init(domain_id=ros_domain)
    node = BaseNode("safety_guard")
    try:
        heard = []
        node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, heard.append, 10)
        while not heard:
            rclpy.spin_once(node, timeout_sec=0.1)
        time.sleep(3.2)  # stuck
        seen = len(heard)
        while len(heard) < seen + 3:  # at least two were sent meanwhile
            rclpy.spin_once(node, timeout_sec=0.1)
        busy = [convert.metrics_of(m)[BEAT]["busy_s"] for m in heard[seen:]]
        assert max(busy) > 0.5, busy
    finally:
        node.destroy_node()
        rclpy.shutdown()
