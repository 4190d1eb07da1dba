# SPDX-License-Identifier: Apache-2.0
"""train_real from the command line with the simulated arm behind a driver's topics, in real time; and its refusals."""

from __future__ import annotations

import json

import pytest
from system_helpers import quick_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
HOME = [0.0, 0.5, 1.9, 0.0, 0.75, 0.0]  # within the workspace, near where episodes begin
NEEDED = ("run", "train_real", "--use-sim-arm", "--auto-arm", "--standin-vlm", "--headless")


def test_train_and_evaluate_in_real_time(erl_vlm, tmp_path):
    task = tmp_path / "short.yaml"
    from erl_vlm_ros.common.tasks import load_task

    with open(load_task("drawer_open").path) as shipped:
        task.write_text(shipped.read() + "\nepisode_steps: 20\n")
    run = tmp_path / "run"
    settings = {
        "learner.warmup_steps": 60, "learner.max_warmup_steps": 60, "learner.first_ratings": 15,
        "policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 1,
        "policy_controller.reset": "home_then_service", "policy_controller.home_positions": HOME,
    }  # fmt: skip
    done = erl_vlm(
        *NEEDED, "--adapter", "joint_velocity", "--task", task, "--out", run, "--max-steps", 80,
        *quick_settings(**settings),
    )  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["state"], summary["eval_episodes"]) == ("finished", 1)
    assert summary["env_steps"] >= 80 and summary["ratings_valid"] >= 15
    assert "run train_real --resume" in done.stdout
    assert "adapter: joint_velocity" in (run / "config" / "safety_guard.yaml").read_text()
    evaluated = erl_vlm("evaluate", run, "--episodes", 1, "--seed", 5)
    result = json.loads(evaluated.stdout.splitlines()[-1])
    assert result["eval_episodes"] == 1 and result["success_rate"] is not None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--auto-arm",), "auto_arm"),
        (("--adapter", "telepathy"), "adapter"),
        (("--set", "policy_controller.reset=magic"), "reset"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(erl_vlm, tmp_path, arguments, word):
    done = erl_vlm("run", "train_real", "--headless", "--out", tmp_path / "run", *arguments, status=2)
    assert word in done.stderr and done.stderr.count("\n") == 1
    assert not list((tmp_path / "run").glob("logs/*.log"))
