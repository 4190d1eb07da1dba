# SPDX-License-Identifier: Apache-2.0
"""One run as two command lines, robot and workstation, in one domain of this machine."""

from __future__ import annotations

import json
import signal

import pytest
from system_helpers import quick_settings
from test_train_sim import wait_for_steps

from erl_vlm_ros.runs.supervisor import Domain

pytestmark = [pytest.mark.system, pytest.mark.timeout(500)]

SETTINGS = quick_settings(**{
    "learner.warmup_steps": 50, "learner.max_warmup_steps": 50, "learner.first_ratings": 20,
    "learner.round_steps": 100, "policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 1,
    "reward_trainer.trunk.first_iterations": 20, "reward_trainer.trunk.iterations": 5,
})  # fmt: skip


@pytest.fixture
def domain():
    found = Domain()
    yield found.number
    found.close()


def test_a_run_across_two_sides_one_of_which_is_stopped_and_goes_on(start, domain, tmp_path):
    robot_dir, folder = tmp_path / "robot", tmp_path / "workstation"
    common = ("--domain", domain, "--peer", "localhost", "--max-steps", 200, "--headless", *SETTINGS)
    robot = start("run", "train_sim", "--side", "robot", "--out", robot_dir, *common)
    workstation = start("run", "train_sim", "--side", "workstation", "--out", folder, *common)
    wait_for_steps(folder, 100, workstation)
    workstation.send_signal(signal.SIGINT)
    text, _ = workstation.communicate(timeout=120)
    assert workstation.returncode == 130, text
    assert robot.poll() is None  # the arm's side waits
    workstation = start("run", "train_sim", "--resume", folder, "--headless")
    text, _ = workstation.communicate(timeout=200)
    assert workstation.returncode == 0, text
    said, _ = robot.communicate(timeout=60)
    assert robot.returncode == 0, said
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["env_steps"], summary["episodes"]) == ("finished", 200, 4)
    assert summary["eval_episodes"] == 1 and summary["ratings_valid"] >= 20
    assert (folder / "checkpoint" / "learner.safetensors").exists()
    assert not (robot_dir / "summary.json").exists()
    assert not (robot_dir / "checkpoint" / "learner.safetensors").exists()
