# SPDX-License-Identifier: Apache-2.0
"""A short training run through the whole graph: files, summary, evaluation, resume, interruption."""

from __future__ import annotations

import csv
import json
import signal
import time

import pytest
from system_helpers import quick_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "drawer"


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_train_evaluate_resume(erl_vlm, folder):
    done = erl_vlm(
        "run", "train_sim", "--seed", 3, "--out", folder, "--max-steps", 800, "--headless", *quick_settings()
    )
    summary = summary_of(folder)
    assert (summary["task"], summary["seed"], summary["state"]) == ("drawer_open", 3, "finished")
    assert summary["env_steps"] == 800 and summary["episodes"] == 16
    assert summary["ratings_requested"] == summary["ratings_valid"] >= 55
    assert sum(summary["rating_mix"]) == summary["ratings_valid"]
    assert summary["eval_episodes"] == 3 and 0.0 <= summary["success_rate"] <= 1.0
    assert summary["wall_s"] > 0 and summary["steps_per_s"] > 0
    for name in ("learning_curve.png", "metrics.csv", "ledger.sqlite", "checkpoint/learner.safetensors"):
        assert (folder / name).stat().st_size > 0, name
    assert list(folder.glob("evaluation.*")) and list((folder / "tensorboard").iterdir())
    nodes = {row["node"] for row in csv.DictReader((folder / "metrics.csv").open())}
    assert {"learner", "vlm_rater", "reward_trainer", "policy_controller"} <= nodes
    assert "success rate" in done.stdout and f"--resume {folder}" in done.stdout

    refused = erl_vlm("run", "train_sim", "--out", folder, "--headless", status=2)
    assert "--resume" in refused.stderr and refused.stderr.count("\n") == 1

    checked = erl_vlm("evaluate", folder, "--episodes", 3, "--seed", 1000)
    result = json.loads(checked.stdout.splitlines()[-1])
    assert result["eval_episodes"] == 3 and result["env_steps"] == 800 and result["seed"] == 1000
    assert summary_of(folder) == summary  # an evaluation changes nothing of the run

    erl_vlm("run", "train_sim", "--resume", folder, "--max-steps", 1500, "--headless")
    again = summary_of(folder)
    assert again["env_steps"] == 1500 and again["episodes"] == 30
    # long enough for a round that waited for the trainer at the end of the first part
    assert again["ratings_valid"] > summary["ratings_valid"]
    assert again["evaluations"][: len(summary["evaluations"])] == summary["evaluations"]
    assert again["wall_s"] > summary["wall_s"]
    for node in ("learner", "reward_trainer"):
        assert "resumed from" in (folder / "logs" / f"{node}.log").read_text()


def test_interrupt_leaves_a_checkpoint_to_go_on_from(start, erl_vlm, tmp_path):
    folder = tmp_path / "run"
    process = start(
        "run", "train_sim", "--out", folder, "--max-steps", 100_000, "--headless",
        *quick_settings(**{"policy_controller.eval_every": 0}),
    )  # fmt: skip
    steps = wait_for_steps(folder, 500, process)
    locked = erl_vlm("run", "train_sim", "--resume", folder, "--headless", status=2)
    assert "in use" in locked.stderr
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130, text
    assert f"--resume {folder}" in text
    summary = summary_of(folder)
    assert summary["state"] == "interrupted" and summary["env_steps"] >= steps
    goal = summary["env_steps"] + 100
    erl_vlm("run", "train_sim", "--resume", folder, "--max-steps", goal, "--headless")
    assert goal <= summary_of(folder)["env_steps"] < goal + 50


def test_a_node_that_dies_ends_the_run_with_its_last_words(start, tmp_path):
    folder = tmp_path / "run"
    process = start("run", "train_sim", "--out", folder, "--headless", *quick_settings())
    wait_for_steps(folder, 100, process)
    kill_node(folder, "reward_trainer")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "reward_trainer ended with status -9" in text and str(folder / "logs") in text
    assert (folder / "checkpoint" / "learner.safetensors").exists()  # the others have saved


def wait_for_steps(folder, steps, process, timeout=180):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        try:
            now = json.loads((folder / "progress.json").read_text())["env_steps"]
        except (OSError, ValueError):
            now = 0
        if now >= steps:
            return now
        time.sleep(0.2)
    raise AssertionError(
        f"no {steps} steps: {process.communicate(timeout=60)[0] if process.poll() is not None else 'slow'}"
    )


def kill_node(folder, name):
    """kill -9 the one process that uses this run's parameter file of that node."""
    import os
    from pathlib import Path

    wanted = str(folder / "config" / f"{name}.yaml").encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
                    return
            except (FileNotFoundError, ProcessLookupError):
                continue
    raise AssertionError(f"{name} is not running")
