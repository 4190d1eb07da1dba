# SPDX-License-Identifier: Apache-2.0
"""The papers' benchmark: its rows are tasks with parameters that exist, and a smoke run of one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.training.configs import node_values, reward_config

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from papers_tables import LEARNER, TABLES  # noqa: E402


@pytest.mark.parametrize("table", sorted(TABLES))
def test_rows_have_names_of_their_own_and_parameters_that_exist(table):
    rows = TABLES[table]
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        task = load_task(row.task)
        node_values("learner", task, LEARNER | row.learner | {"max_ratings": row.queries})
        node_values("policy_controller", task, row.controller)
        reward_config(node_values("reward_trainer", task, row.reward), task)
        assert row.steps % row.eval_every == 0 and (row.queries > 0) == (row.source == "model")


@pytest.mark.slow
def test_a_smoke_run_is_not_run_twice(tmp_path):
    pytest.importorskip("metaworld")
    out = tmp_path / "papers.jsonl"
    command = [sys.executable, str(BENCHMARKS / "papers.py"), "metaworld", "--quick", "--rows", "drawer-open/sparse"]

    def run():
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    first = run()
    (row,) = first["rows"]
    assert row["row"] == "drawer-open/sparse" and row["queries"] == [0] and row["steps"][0] >= 1200
    kept = out.read_text()
    assert run() == first and out.read_text() == kept and kept.count("\n") == 1
