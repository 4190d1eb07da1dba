# SPDX-License-Identifier: Apache-2.0
"""Arms of two, five and seven joints, with and without a gripper, turning the tool: whole runs through the graph."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from system_helpers import command, environment, quick_settings

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.spaces import ANGULAR, EE_ROTATION, GRIPPER, JOINTS, OBJECT, spaces_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
TESTS = Path(__file__).resolve().parents[1]
STEPS = 500
#: joints, gripper's joints, gripper in the action, object
ARMS = {
    "seven_with_gripper": (7, ["left", "right"], "continuous", "tracked"),
    "seven_without": (7, [], "none", "none"),
    "five_with_a_gripper_that_tells_nothing": (5, [], "binary", "none"),
    "five_without": (5, [], "none", "tracked"),
    "two_joints": (2, [], "none", "tracked"),
}


@pytest.mark.parametrize("name", ARMS)
def test_any_arm_runs_500_steps(name, tmp_path):
    joints, fingers, gripper, thing = ARMS[name]
    robot = {
        "name": name, "joints": [f"axis_{i}" for i in range(1, joints + 1)], "base_frame": "plate", "tool_frame": "tip",
    }  # fmt: skip
    if gripper != "none":
        robot["gripper"] = {"interface": "position", "joints": fingers, "max_width": 0.06}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
    task = yaml.safe_load(Path(load_task("drawer_open").path).read_text())
    del task["parameters"]
    task |= {"action": {"rotation": "yaw", "gripper": gripper}, "observation": {"object": thing}, "episode_steps": 50}
    if joints == 2:  # it reaches a sphere, no box of a table
        task["workspace"] = {"min": [-1.3, -1.3, 0.0], "max": [1.3, 1.3, 1.6]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    run, world = tmp_path / "run", environment() | {"TOY_ROBOT": str(tmp_path / "robot.yaml")}
    world["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    settings = quick_settings(**{
        "sim_bridge.backend": "toy_arm:Toy", "vlm_rater.teacher": "scripted", "learner.warmup_steps": 200,
        "learner.max_warmup_steps": 200, "policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 1,
        "sim_bridge.image_width": 64, "sim_bridge.image_height": 64, "policy_controller.image_size": 64,
    })  # fmt: skip
    arguments = ("--task", tmp_path / "task.yaml", "--robot", tmp_path / "robot.yaml", "--out", run, "--headless")
    done = subprocess.run(
        command("run", "train_sim", *arguments, "--max-steps", STEPS, *settings),
        capture_output=True, text=True, timeout=500, env=world, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["state"] == "finished" and summary["env_steps"] >= STEPS
    replay = learner_state.load(run / "checkpoint")["replay"]
    spaces = spaces_in(replay)
    seen, done_ = spaces.observation, spaces.action
    assert seen.joint_names == tuple(robot["joints"]) and seen.part(JOINTS).size == joints
    assert seen.part(EE_ROTATION).labels == ("sin", "cos") and (OBJECT in seen) == (thing == "tracked")
    assert (GRIPPER in seen, GRIPPER in done_) == (gripper != "none", gripper != "none")
    assert done_.part(ANGULAR).labels == ("z",)
    turned = replay["frames"]["observations"][:, seen.slice(EE_ROTATION)]
    assert turned.std(0).max() > 0.05  # the tool has turned, not only been asked to
    if gripper != "none":
        assert seen.part(GRIPPER).source == ("joint_states" if fingers else "command")
        assert done_.part(GRIPPER).scale == 0.06
    if joints != 7:
        return  # one kind of arm shows that a policy is evaluated on the arm that it was trained on
    result = subprocess.run(
        command("evaluate", run, "--episodes", 1), capture_output=True, text=True, timeout=300, env=world,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    assert json.loads(result.stdout.splitlines()[-1])["eval_episodes"] == 1
