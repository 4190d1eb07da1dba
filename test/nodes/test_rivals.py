# SPDX-License-Identifier: Apache-2.0
"""Another node that commands the arm is noticed: at arming, while armed, under our own name."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.rivals import Rivals


def set_armed(ros, on=True):
    return ros.call(SetBool, names.ARM, SetBool.Request(data=on))


def test_a_second_publisher_is_refused_at_arming_by_its_nodes_name(ros):
    ros.start("safety_guard")
    other = ros.node.create_publisher(TwistStamped, names.ARM_TWIST, 1)
    ros.until(lambda: not set_armed(ros).success, "the refusal")
    assert "/test on /servo_node/delta_twist_cmds" in set_armed(ros).message
    ros.node.destroy_publisher(other)
    ros.until(lambda: set_armed(ros).success, "the guard to arm")


@pytest.mark.parametrize("policy", ["fault", "warn", "off"])
def test_one_that_comes_while_armed_is_a_fault_unless_told_otherwise(ros, policy):
    estopped = ros.collect(Bool, names.ESTOP_STATE, qos.latched())
    reasons = ros.collect(String, names.REASON, qos.bulk())
    ros.start("safety_guard", rivals=policy)
    ros.until(lambda: set_armed(ros).success, "the guard to arm")
    ros.node.create_publisher(TwistStamped, names.ARM_TWIST, 1)
    if policy == "fault":
        ros.until(lambda: estopped and estopped[-1].data, "the e-stop")
        ros.until(lambda: "/test" in reasons[-1].data, "the node's name")
        return
    ros.serve(2.0)
    assert not estopped[-1].data and set_armed(ros).success
    assert ("another publisher" in ros.log("safety_guard")) == (policy == "warn")


@pytest.mark.parametrize("patience, found", [(30.0, False), (0.0, True)])
def test_an_endpoint_without_a_name_counts_when_it_stays(monkeypatch, patience, found):
    """So a process looks that starts, or that was killed: DDS lists it for some 20 s more."""
    info = SimpleNamespace(
        node_namespace="_NODE_NAMESPACE_UNKNOWN_", node_name="_NODE_NAME_UNKNOWN_", endpoint_gid=[7] * 16
    )
    node = SimpleNamespace(
        get_namespace=lambda: "/", get_name=lambda: "safety_guard", resolve_topic_name=lambda name: "/" + name,
        publishers=[SimpleNamespace(topic_name="/" + names.ARM_TWIST)], create_publisher=lambda *_: None,
        create_subscription=lambda *_: None, wall_timer=lambda *_: None,
        get_publishers_info_by_topic=lambda topic: [info],
    )  # fmt: skip
    monkeypatch.setattr(Rivals, "_hold_name", lambda self: None)
    monkeypatch.setattr("erl_vlm_ros.ros.rivals._NAMELESS_S", patience)
    rivals = Rivals(node, None, "fault", ["guard_watchdog"], lambda: None)
    assert bool(rivals.refusal()) == found
    info.node_namespace, info.node_name = "/", "guard_watchdog"
    assert not rivals.refusal()


def test_a_second_guard_under_the_same_name_does_not_start_here(ros):
    first = ros.start("safety_guard")
    ros.until(lambda: set_armed(ros).success, "the guard to arm")
    second = ros.start("safety_guard")
    ros.until(lambda: second.poll() is not None, "the second to end")
    assert second.returncode == 2 and str(first.pid) in ros.log("safety_guard")
    ros.processes["safety_guard"] = first
    assert set_armed(ros).success


def test_one_from_another_machine_is_seen_by_its_sign_of_life_and_a_dead_one_is_forgotten(ros, tmp_path, monkeypatch):
    """Another TMPDIR stands for another machine: no lock in common."""
    ros.start("safety_guard")
    first = ros.processes.pop("safety_guard")
    estopped = ros.collect(Bool, names.ESTOP_STATE, qos.bulk())
    ros.until(lambda: set_armed(ros).success, "the guard to arm")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    ros.start("safety_guard")
    ros.until(lambda: any(m.data for m in estopped), "the first guard's e-stop")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    ros.until(lambda: set_armed(ros).success, "the second guard to arm", 15.0)
