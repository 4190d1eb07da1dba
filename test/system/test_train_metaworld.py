# SPDX-License-Identifier: Apache-2.0
"""A task of MetaWorld through the whole graph, rated by ground truth with errors."""

from __future__ import annotations

import json

import pytest
from system_helpers import quick_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def test_metaworld_run(erl_vlm, tmp_path):
    pytest.importorskip("metaworld")
    folder = tmp_path / "run"
    settings = {
        "vlm_rater.teacher": "scripted", "vlm_rater.scripted.error_rate": 0.2, "learner.warmup_steps": 250,
        "policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 1,
    }  # fmt: skip
    erl_vlm(
        "run", "train_sim", "--task", "metaworld/drawer-open-v3-paper", "--out", folder, "--max-steps", 375,
        "--headless", *quick_settings(**settings), timeout=300,
    )  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["task"]) == ("finished", "metaworld/drawer-open-v3-paper")
    assert summary["rating_classes"] == ["Bad", "Average", "Good"] and summary["env_steps"] == 375
    # the arm is hidden, so many frames are one image: each must be rated with an error of its own
    assert summary["ratings_valid"] >= 40 and 0.6 < summary["rating_accuracy"] < 0.97
