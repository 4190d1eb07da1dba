# SPDX-License-Identifier: Apache-2.0
"""A lab's own arm (an MJCF of seven joints) and its own scene through the graph: lock-step, and behind its driver."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from mjcf_arm import JOINTS, write_arm
from system_helpers import command, environment, quick_settings

from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.spaces import spaces_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
SCENE = Path(__file__).resolve().parents[2] / "examples" / "scenes" / "press_lever.yaml"
GRAPHS = {"train_sim": (), "train_real": ("--use-sim-arm", "--auto-arm")}


def run(graph, robot, out, steps, *options):
    settings = quick_settings(**{
        "vlm_rater.teacher": "scripted", "learner.warmup_steps": 50, "learner.max_warmup_steps": 50,
        "policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 1,
        "sim_bridge.image_width": 64, "sim_bridge.image_height": 64, "policy_controller.image_size": 64,
    })  # fmt: skip
    arguments = ("--task", SCENE, "--robot", robot, "--out", out, "--headless", "--max-steps", steps, *options)
    return subprocess.run(
        command("run", graph, *arguments, *settings), capture_output=True, text=True, timeout=400, env=environment(),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(("graph", "steps"), [("train_sim", 200), ("train_real", 100)])
def test_an_arm_and_a_scene_from_outside_train(graph, steps, tmp_path):
    robot = write_arm(tmp_path)
    done = run(graph, robot, tmp_path / "run", steps, *GRAPHS[graph])
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "finished" and summary["env_steps"] >= steps and summary["task"] == "press_lever"
    spaces = spaces_in(learner_state.load(tmp_path / "run" / "checkpoint")["replay"])
    assert spaces.observation.joint_names == tuple(JOINTS)


def test_a_robot_whose_model_does_not_fit_is_refused_before_a_node_starts(tmp_path):
    robot = write_arm(tmp_path, simulation={"joints": [f"k{i}" for i in range(1, 8)]})
    done = run("train_sim", robot, tmp_path / "run", 50)
    assert done.returncode == 2 and "simulation.joints" in done.stderr and "arm.xml" in done.stderr
    assert not (tmp_path / "run" / "logs" / "sim_bridge.log").exists()
