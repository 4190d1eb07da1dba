# SPDX-License-Identifier: Apache-2.0
"""A run that is taught by the simulation's truth, a rating for each transition: called scripted in all it leaves."""

from __future__ import annotations

import csv
import json
import sqlite3

import pytest
from system_helpers import quick_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_scripted_run(erl_vlm, tmp_path):
    folder = tmp_path / "run"
    settings = {
        "vlm_rater.teacher": "scripted", "vlm_rater.scripted.error_rate": 0.2, "vlm_rater.feedback": "transitions",
        "learner.segment_length": 3, "policy_controller.final_eval_episodes": 1,
    }  # fmt: skip
    done = erl_vlm(
        "run", "train_sim", "--out", folder, "--max-steps", 400, "--headless", *quick_settings(**settings), timeout=500
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["teacher"]) == ("finished", "scripted")
    assert summary["ratings_valid"] >= 80 and 0.6 < summary["rating_accuracy"] < 0.95  # two for each of 40 segments
    assert "ratings SCRIPTED from ground truth" in done.stdout
    assert not (folder / "logs" / "standin_vlm.log").exists()
    rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["node"] == "vlm_rater"]
    assert any(row["name"] == "scripted" and float(row["value"]) == 1.0 for row in rows)
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        assert ledger.execute("SELECT DISTINCT source FROM queries").fetchall() == [("scripted",)]


def test_run_from_comparisons(erl_vlm, tmp_path):
    """The stand-in compares pairs over HTTP in both orders; the reward model that is learned from them knows some."""
    folder = tmp_path / "run"
    settings = {
        "vlm_rater.feedback": "preference", "vlm_rater.both_orders": True, "policy_controller.final_eval_episodes": 1,
    }  # fmt: skip
    erl_vlm(
        "run", "train_sim", "--out", folder, "--max-steps", 400, "--headless", *quick_settings(**settings), timeout=500
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["rating_classes"]) == ("finished", ["First", "Second", "No preference"])
    assert summary["ratings_valid"] >= 10 and summary["rating_accuracy"] > 0.5
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        pairs, kinds = ledger.execute("SELECT COUNT(DISTINCT hash), COUNT(DISTINCT kind) FROM queries").fetchone()
    assert kinds == 1 and pairs > 1.5 * summary["ratings_requested"]  # both orders were asked for
    figures = {
        row["name"] for row in csv.DictReader((folder / "metrics.csv").open()) if row["node"] == "reward_trainer"
    }
    assert {"held_out_accuracy", "skill"} <= figures
