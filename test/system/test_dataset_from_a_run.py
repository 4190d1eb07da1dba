# SPDX-License-Identifier: Apache-2.0
"""A bag of a real graph becomes a dataset, in two ways that agree, and a run learns from it."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from system_helpers import command, environment

pytest.importorskip("rosbags", reason="needs the extra bag")

from bag_recorder import BagRecorder  # noqa: E402

from erl_vlm_ros.data.dataset import DatasetSource  # noqa: E402
from erl_vlm_ros.graphs.companions import RECORDED  # noqa: E402

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
SMALL = ("learner.warmup_steps=5000", "learner.max_warmup_steps=5000", "policy_controller.eval_every=5000",
         "policy_controller.final_eval_episodes=1")  # fmt: skip


def episodes(folder):
    source = DatasetSource(str(folder), False)
    return [source.poll().episode for _ in range(source.info["episodes"])]


def test_a_recorded_run_becomes_a_dataset_that_a_run_learns_from(erl_vlm, ros_domain, tmp_path):
    bag, topics = tmp_path / "bag", [topic if topic.startswith("/") else f"/{topic}" for topic in RECORDED]
    topics += ["/task/success", "/robot_description"]
    train = command(
        "run", "train_sim", "--seed", 3, "--max-steps", 200, "--headless", "--observe", "state", "--out",
        tmp_path / "run", *(f"--set={pair}" for pair in SMALL),
    )  # fmt: skip
    with BagRecorder(bag, topics, ros_domain) as recorder:
        done = subprocess.run(
            train, env=environment() | {"ROS_DOMAIN_ID": str(ros_domain)}, timeout=200, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert recorder.counts["/learning/transitions"] == 4
    line = ("dataset", "build", bag, "--robot", "sim_arm", "--task", "drawer_open")
    erl_vlm(*line, "--out", tmp_path / "whole")
    told = json.loads(erl_vlm(*line, "--episodes", "state", "--out", tmp_path / "aligned").stdout.splitlines()[-1])
    whole, aligned = episodes(tmp_path / "whole"), episodes(tmp_path / "aligned")
    assert len(whole) == 4 and [e.steps for e in whole] == [50] * 4
    assert len(aligned) == 4 and max(row["largest"] for row in told["alignment_ms"].values()) < 1e-3
    by_stamp = {int(s): (e, k) for e in whole for k, s in enumerate(e.stamps)}
    found = [(e, k, *by_stamp[int(s)]) for e in aligned for k, s in enumerate(e.stamps) if int(s) in by_stamp]
    assert len(found) > 0.9 * sum(e.steps for e in aligned)
    for mine, k, theirs, j in found:
        np.testing.assert_allclose(mine.observations[k], theirs.observations[j], atol=1e-6)
        if k < mine.steps and j < theirs.steps:
            np.testing.assert_allclose(mine.actions[k], theirs.actions[j], atol=1e-6)
    run = tmp_path / "offline"
    erl_vlm("run", "train_offline", "--dataset", tmp_path / "aligned", "--algorithm", "bc", "--updates", 20,
            "--evaluate", 0, "--headless", "--out", run)  # fmt: skip
    assert json.loads((run / "summary.json").read_text())["episodes"] == len(aligned)
    shown = tmp_path / "shown"
    erl_vlm("run", "train_sim", "--demos", tmp_path / "whole", "--max-steps", 250, "--headless", "--out", shown,
            *(f"--set={pair}" for pair in SMALL))  # fmt: skip
    assert json.loads((shown / "summary.json").read_text())["env_steps"] >= 250
