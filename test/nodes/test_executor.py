# SPDX-License-Identifier: Apache-2.0
"""Our executor serves as rclpy's does, without looking at every entity twice a message; who warns of a QoS."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros]')")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from erl_vlm_ros.common import names
from erl_vlm_ros.ros.executor import Executor
from erl_vlm_ros.ros.node_base import BaseNode


@pytest.fixture
def context(ros_domain):
    rclpy.init(domain_id=ros_domain)
    yield
    rclpy.shutdown()


@pytest.fixture
def node(context):
    node = Node("served")
    yield node
    node.destroy_node()


def counting(kind):
    """An executor of that kind that counts how often it looks at its nodes' entities."""

    class Counting(kind):
        looks = 0

        def get_nodes(self):
            self.looks += 1
            return super().get_nodes()

    return Counting()


def looks_a_message(kind, node: Node, count: int = 20) -> float:
    """Of messages that come one at a time, each after the executor has slept."""
    executor, heard = counting(kind), []
    publisher = node.create_publisher(Float64, "numbers", 10)
    subscription = node.create_subscription(Float64, "numbers", heard.append, 10)
    executor.add_node(node)
    while publisher.get_subscription_count() < 1:
        executor.spin_once(timeout_sec=0.05)
    while len(heard) < 1:  # whatever the beginning woke it for is past with the first
        publisher.publish(Float64(data=0.0))
        executor.spin_once(timeout_sec=0.05)
    for _ in range(5):
        executor.spin_once(timeout_sec=0.0)
    heard.clear()
    before = executor.looks
    for value in range(count):
        publisher.publish(Float64(data=float(value)))
        while len(heard) <= value:
            executor.spin_once(timeout_sec=5.0)
        executor.spin_once(timeout_sec=0.02)  # what comes after a callback: nothing
    looks = executor.looks - before
    assert [message.data for message in heard] == list(map(float, range(count)))
    executor.remove_node(node)
    node.destroy_subscription(subscription)
    node.destroy_publisher(publisher)
    executor.shutdown()
    return looks / count


def test_looks_once_for_a_message_and_once_until_the_next(node):
    ours, stock = looks_a_message(Executor, node), looks_a_message(SingleThreadedExecutor, node)
    assert ours < 2.5 < stock


def test_serves_timers_services_and_answers(node):
    executor = Executor()
    executor.add_node(node)
    ticks = []
    node.create_timer(0.01, lambda: ticks.append(1))
    node.create_service(Trigger, "ask", lambda _, answer: setattr(answer, "success", True) or answer)
    client = node.create_client(Trigger, "ask")
    while not client.service_is_ready():
        executor.spin_once(timeout_sec=0.1)
    for _ in range(5):
        future = client.call_async(Trigger.Request())
        executor.spin_until_future_complete(future, timeout_sec=30.0)
        assert future.result().success
    while len(ticks) < 3:
        executor.spin_once(timeout_sec=1.0)
    executor.shutdown()


def test_raises_what_a_callback_raises_and_serves_on(node):
    executor, ticks = Executor(), []
    executor.add_node(node)

    def tick():
        ticks.append(1)
        if len(ticks) == 1:
            raise ArithmeticError

    node.create_timer(0.01, tick)
    with pytest.raises(ArithmeticError):
        while True:
            executor.spin_once(timeout_sec=1.0)
    while len(ticks) < 3:
        executor.spin_once(timeout_sec=1.0)
    executor.shutdown()


@pytest.mark.parametrize("lock_step", [False, True])
def test_warns_of_a_qos_where_another_node_may_be_at_the_other_end(context, lock_step):
    node = BaseNode("monitor", parameter_overrides=[Parameter("lock_step", value=lock_step)])
    try:
        handlers = {}
        for topic in (names.JOINT_STATES, names.ACTOR):
            heard = node.create_subscription(Float64, topic, lambda _: None, 10)
            sent = node.create_publisher(Float64, topic + "/sent", 10)
            handlers[topic] = [len(entity.event_handlers) for entity in (heard, sent)]
        assert not any(handlers[names.ACTOR])
        assert all(handlers[names.JOINT_STATES]) == (not lock_step)
        assert any(handlers[names.JOINT_STATES]) == (not lock_step)
    finally:
        node.destroy_node()
