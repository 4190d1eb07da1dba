# SPDX-License-Identifier: Apache-2.0
"""The two processes by which the machines of a run meet, over real DDS."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from std_msgs.msg import String

from erl_vlm_ros.common import names
from erl_vlm_ros.graphs.sides import READY
from erl_vlm_ros.ros import qos

FACTS = {"schema": 1, "version": "0", "values": {"run.seed": 0, "learner.observe": "state"}}


@pytest.fixture
def side(ros, tmp_path):
    """Start a side's node; its facts are FACTS with other values on top."""

    def begin(name, key=None, begun="", look_s=1.0, **values):
        key = key or name
        folder = tmp_path / key
        folder.mkdir(exist_ok=True)
        content = {"begun": begun or key, "facts": {**FACTS, "values": {**FACTS["values"], **values}}}
        (folder / "facts.json").write_text(json.dumps(content))
        command = [sys.executable, "-u", "-m", "erl_vlm_ros.nodes.run_side", "--ros-args", "-r", f"__node:={name}_side"]
        given = {
            "side": name,
            "facts_file": str(folder / "facts.json"),
            "checkpoint_dir": str(folder),
            "look_s": look_s,
        }
        for parameter, value in given.items():
            command += ["-p", f"{parameter}:={json.dumps(value)}"]
        with (tmp_path / f"{key}.log").open("a") as log:
            ros.processes[key] = subprocess.Popen(command, env=ros.environment(), stdout=log, stderr=log)
        return ros.processes[key]

    return begin


def ended(ros, process):
    ros.until(lambda: process.poll() is not None, "the process to end")
    return process.returncode


def ready(ros, key):
    ros.until(lambda: READY in ros.log(key), f"{key} to be ready")


def test_either_may_be_first_and_the_robot_ends_once_the_workstation_has_the_rest(ros, side, tmp_path):
    robot = side("robot")
    ready(ros, "robot")  # alone: the other one may come later
    side("workstation")
    ready(ros, "workstation")
    state = ros.publisher(String, names.RUN_STATE, qos.latched(), readers=2)
    state.publish(String(data=json.dumps({"state": "running", "env_steps": 50})))
    paired = tmp_path / "robot" / "run_side.json"
    ros.until(paired.exists, "the robot side to remember the workstation's run")
    assert json.loads(paired.read_text()) == {"paired": "workstation"}
    assert ros.stop("workstation") == 0  # in the middle of the run: the robot side waits
    side("workstation", look_s=60.0)
    state.publish(String(data=json.dumps({"state": "finished", "env_steps": 100})))
    ros.until(lambda: ros.log("workstation").count(READY) == 2, "the two to meet again")
    assert robot.poll() is None  # it keeps the last episodes for the workstation
    assert ros.stop("workstation") == 0
    assert ended(ros, robot) == 0


def test_the_later_one_ends_with_the_difference_before_its_nodes_start(ros, side):
    robot = side("robot")
    ready(ros, "robot")
    workstation = side("workstation", look_s=60.0, **{"learner.observe": "images"})
    assert ended(ros, workstation) == 2
    text = ros.log("workstation")
    assert all(word in text for word in ("learner.observe", "'images'", "'state'")) and READY not in text
    assert robot.poll() is None


def test_the_same_side_twice(ros, side):
    first = side("robot")
    ready(ros, "robot")
    assert ended(ros, side("robot", "second", look_s=60.0)) == 2
    assert first.poll() is None
    assert ros.stop("robot", signal.SIGTERM) == 0


def test_another_workstation_run_does_not_take_over(ros, side, tmp_path):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "run_side.json").write_text('{"paired": "before"}')
    robot = side("robot")
    ready(ros, "robot")
    state = ros.publisher(String, names.RUN_STATE, qos.latched())
    state.publish(String(data=json.dumps({"state": "running", "env_steps": 50})))
    other = side("workstation", begun="after", look_s=60.0)
    assert ended(ros, other) == 2 and "before" in ros.log("workstation")
    assert robot.poll() is None
    side("workstation", begun="before")
    ros.until(lambda: ros.log("workstation").count(READY) == 1, "the right one to be ready")
