# SPDX-License-Identifier: Apache-2.0
"""Learning from recordings through the real graph: labels, updates, evaluation."""

from __future__ import annotations

import csv
import json

import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.dataset import write_dataset
from erl_vlm_ros.robot.spec import robot_path
from erl_vlm_ros.sim.demonstrations import demonstrations

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
QUICK = {
    "learner.max_ratings": 20, "learner.first_ratings": 12, "learner.round_ratings": 8,
    "reward_trainer.trunk.first_iterations": 10, "reward_trainer.trunk.iterations": 5,
}  # fmt: skip


def test_recordings_are_rated_learned_from_and_evaluated(erl_vlm, tmp_path):
    dataset, run = tmp_path / "dataset", tmp_path / "run"
    shown = demonstrations(load_task("drawer_open"), [0.0, 0.5], seed=3, image_size=64)
    write_dataset(dataset, "drawer_open", [d.episode for d in shown], "test", robot_path("sim_arm"))
    done = erl_vlm(
        "run", "train_offline", "--dataset", dataset, "--algorithm", "iql", "--standin-vlm", "--seed", 4, "--out", run,
        "--updates", 150, "--evaluate", 1, *(f"--set={key}={value}" for key, value in QUICK.items()),
    )  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["state"], summary["seed"], summary["updates"]) == ("finished", 4, 150)
    assert (summary["env_steps"], summary["episodes"]) == (100, 2)
    assert summary["ratings_requested"] == summary["ratings_valid"] == sum(summary["rating_mix"]) == 20
    assert summary["eval_episodes"] == 1 and summary["success_rate"] in (0.0, 1.0)
    assert len(summary["evaluations"]) == 1 and "updates" in done.stdout
    state = learner_state.load(run / "checkpoint")
    assert state["pacer"] == {"pending_updates": 0.0, "done": 150} and state["algorithm"] == "iql"
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    shares = [float(row["value"]) for row in rows if row["name"] == "effective_share"]
    assert shares and all(0.0 < share <= 1.0 for share in shares)
    assert list((run / "tensorboard").iterdir())
    on = tmp_path / "on"
    more = {**QUICK, "learner.algorithm": "sac", "policy_controller.final_eval_episodes": 0}
    erl_vlm(
        "run", "train_sim", "--from", run, "--max-steps", 200, "--headless", "--out", on,
        *(f"--set={key}={value}" for key, value in more.items()),
    )  # fmt: skip
    state = learner_state.load(on / "checkpoint")  # another algorithm has taken over, with the buffer and its labels
    assert state["algorithm"] == "sac" and state["counters"]["env_steps"] == 200
    assert state["pacer"]["done"] >= 150 + 100 and state["schedule"]["requested"] == 20
    assert state["agent"]["guide"]["held"] == 100  # with its policy, whose pull still lasts
