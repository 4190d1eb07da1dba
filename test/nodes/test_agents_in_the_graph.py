# SPDX-License-Identifier: Apache-2.0
"""An algorithm of another package learns in the node `learner`: from the running graph, and from an earlier run in a
graph that has no controller."""

import json
import os
from pathlib import Path

import pytest
from factories import make_episode
from std_msgs.msg import String, UInt8MultiArray

from erl_vlm_ros.cli import main
from erl_vlm_ros.common import names
from erl_vlm_ros.common.plan import RunPlan
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.graphs import build
from erl_vlm_ros.ros import convert, qos

TEST = Path(__file__).resolve().parents[1]
CONSTANT = {"algorithm": "toy_agent:ConstantAgent", "warmup_steps": 40}
JOINTS = [f"joint{i}" for i in range(1, 7)]  # without a robot side no other node says what was observed


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """toy_agent stands outside the package: the nodes of a run find it as they would find another package's module."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(TEST.parent), str(TEST))))


def test_a_constant_agent_learns_in_the_running_graph_and_is_continued(ros):
    folder = str(ros.folder)
    actors = ros.collect(UInt8MultiArray, names.ACTOR, qos.latched())
    queries = ros.collect(UInt8MultiArray, names.QUERIES, qos.bulk())
    ros.start("learner", checkpoint_dir=folder, **CONSTANT)
    episodes = ros.publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
    for index in range(3):
        episodes.publish(convert.bytes_message(encode(make_episode(index).to_bundle())))
    newest = lambda: decode(convert.bytes_of(actors[-1]), "actor")  # noqa: E731
    ros.until(lambda: actors and newest().meta["episodes"] == 3 and newest().arrays, "a policy")
    assert newest().meta["policy"] == "constant" and set(newest().arrays) == {"action"} and not queries
    ros.stop("learner")
    count = len(actors)
    ros.start("learner", checkpoint_dir=folder, resume=True, **CONSTANT)  # waits for no rater and no trainer
    ros.until(lambda: len(actors) > count, "the learner to be back")
    assert newest().meta["episodes"] == 3


def offline(arguments):
    """A graph without a robot side."""
    nodes = (("learner", build.WORKSTATION), ("monitor", build.WORKSTATION))
    return build._build("train_sim", nodes, arguments, {})


def test_a_run_without_a_controller_ends_by_its_plan(ros, monkeypatch, tmp_path, capfd):
    before = tmp_path / "before"
    ros.start("learner", checkpoint_dir=str(before), checkpoint_every=1, **CONSTANT)
    states = ros.collect(String, names.RUN_STATE, qos.latched())
    episodes = ros.publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
    for index in range(3):
        episodes.publish(convert.bytes_message(encode(make_episode(index).to_bundle())))
    ros.until(lambda: learner_state.find(before), "a checkpoint")
    ros.stop("learner")
    assert not states  # with a robot side it is not the learner that speaks for the run

    monkeypatch.setitem(build.GRAPHS, "train_sim", offline)
    settings = [f"--set=learner.{key}={value}" for key, value in CONSTANT.items()]
    settings += [f"--set=learner.joint_names={JOINTS}", "--set=learner.gripper_joints=[finger_left, finger_right]"]
    settings += [
        "--set=learner.episode_source=run",
        f"--set=learner.episode_source_path={before}",
        "--set=learner.offline_updates=500",
    ]
    out = tmp_path / "run"
    assert main(["run", "train_sim", "--headless", "--out", str(out), *settings]) == 0
    assert "for 500 updates" in capfd.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["state"] == "finished" and summary["env_steps"] == 60
    saved = learner_state.load(out / "checkpoint")
    assert saved["algorithm"] == CONSTANT["algorithm"] and saved["pacer"]["done"] >= 500
    assert json.loads((out / "config" / "run.json").read_text())["max_steps"] is None


def test_the_plan_says_who_ends_the_run():
    assert RunPlan.of({"policy_controller": {"max_steps": 5}}).finished_by == "policy_controller"
    plan = RunPlan.of({"learner": {"offline_updates": 7, "max_ratings": 3}})
    assert (plan.finished_by, plan.max_updates, plan.max_steps) == ("learner", 7, None)
    assert plan.over(10**9, 7) and not plan.over(10**9, 6)
