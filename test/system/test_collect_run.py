# SPDX-License-Identifier: Apache-2.0
"""Demonstrations are gathered through the graph: by the scripted expert, and by a person's joystick over DDS."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from system_helpers import command, environment

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.dataset import DatasetSource
from erl_vlm_ros.sim.oracle import Oracle
from erl_vlm_ros.sim.state import SimState

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
SPEED, ENABLE, PERIOD_S = 0.25, 4, 0.02


def episodes(folder):
    source = DatasetSource(str(folder), False)
    return [source.poll().episode for _ in range(source.info["episodes"])]


def test_the_expert_fills_a_dataset_that_a_run_begins_with(erl_vlm, tmp_path):
    run, dataset = tmp_path / "run", tmp_path / "run" / "dataset"
    line = ("run", "collect", "--headless", "--noise", 0)
    erl_vlm(*line, "--seed", 5, "--episodes", 3, "--out", run)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["state"], summary["kept_episodes"], summary["env_steps"]) == ("finished", 3, 150)
    first = episodes(dataset)
    assert [e.success for e in first] == [True] * summary["kept_successes"] and len(first) == 3
    erl_vlm("run", "collect", "--headless", "--resume", run, "--episodes", 4)
    more = episodes(dataset)
    assert len(more) == 4 and all(np.array_equal(a.actions, b.actions) for a, b in zip(first, more))
    assert not np.array_equal(more[3].observations[0], more[0].observations[0])
    shown = json.loads(erl_vlm("dataset", "show", dataset).stdout.splitlines()[-1])
    assert (shown["episodes"], shown["task"]) == (4, "drawer_open")
    learned = tmp_path / "learned"
    erl_vlm("run", "train_sim", "--demos", dataset, "--max-steps", 250, "--headless", "--out", learned,
            "--set=learner.warmup_steps=5000", "--set=policy_controller.final_eval_episodes=0")  # fmt: skip
    assert json.loads((learned / "summary.json").read_text())["env_steps"] >= 250


class Driver:
    """A joystick in the hands of somebody who knows the task: real messages, 50 a second. It is held while an episode
    runs, and let go between two."""

    def __init__(self, node):
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import Joy
        from std_msgs.msg import String

        from erl_vlm_ros.ros import qos

        self._joy, self._task = Joy, load_task("drawer_open")
        self._places, self._placed, self._oracle, self._running = {}, None, None, False
        self.waited = False  # the arm has stood still for the first motion
        self._publisher = node.create_publisher(Joy, names.JOY, qos.sensor(True))
        for topic in (names.EE_POSE, names.OBJECT_POSE):
            node.create_subscription(PoseStamped, topic, lambda m, t=topic: self._see(t, m), qos.sensor(False))
        node.create_subscription(String, names.RUN_STATE, self._state, qos.latched())
        node.create_timer(PERIOD_S, self._send)

    def _see(self, topic, message):
        place = message.pose.position
        self._places[topic] = np.array([place.x, place.y, place.z])

    def _state(self, message):
        said = json.loads(message.data)
        if "detail" not in said:
            return
        running = said["detail"] == "running"
        self.waited = self.waited or (running and said["awaits"] == "person")
        if running and not self._running:
            self._oracle, self._placed = Oracle("drawer_open", SPEED, persistent=True), None
        self._running = running

    def _send(self):
        axes, held = [0.0] * 4, False
        if self._running and self.waited and len(self._places) == 2:
            hand, thing = self._places[names.EE_POSE], self._places[names.OBJECT_POSE]
            self._placed = thing if self._placed is None else self._placed
            none, goal = np.zeros(0), np.array(self._task.goal)
            opening = float(np.linalg.norm(thing - self._placed))
            velocity, _ = self._oracle(SimState(none, none, hand, none, 0.0, thing, none, goal, opening, 0.0))
            axes[1], axes[0], axes[3] = (float(v) for v in velocity / SPEED)
            held = True
        self._publisher.publish(self._joy(axes=axes, buttons=[int(held and i == ENABLE) for i in range(8)]))


def test_a_person_with_a_joystick_fills_a_dataset(erl_vlm, ros_domain, tmp_path):
    """The simulated arm in real time; the test is the person, on the topic joy."""
    import subprocess

    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node

    run, dataset = tmp_path / "run", tmp_path / "run" / "dataset"
    line = command(
        "run", "collect", "--driver", "joy", "--use-sim-arm", "--auto-arm", "--headless", "--episodes", 2, "--seed", 6,
        "--out", run,
    )  # fmt: skip
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node, executor = Node("person", context=context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    driver = Driver(node)
    process = subprocess.Popen(
        line, env=environment() | {"ROS_DOMAIN_ID": str(ros_domain)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
    finally:
        process.terminate()
        told, _ = process.communicate(timeout=60)
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert process.returncode == 0, told[-3000:]
    assert driver.waited
    found = episodes(dataset)
    assert len(found) == 2 and json.loads((run / "summary.json").read_text())["kept_episodes"] == 2
    for episode in found:
        assert episode.intervention.mean() > 0.8 and np.abs(episode.actions).max() > 0.1
        moved = np.linalg.norm(np.diff(episode.observations[:, 6:9], axis=0), axis=1).sum()
        assert moved > 0.05  # m of the tool's path
    shown = json.loads(erl_vlm("dataset", "show", dataset).stdout.splitlines()[-1])
    assert shown["episodes"] == 2
    erl_vlm("run", "train_offline", "--dataset", dataset, "--algorithm", "bc", "--updates", 20, "--evaluate", 0,
            "--headless", "--out", tmp_path / "cloned")  # fmt: skip
