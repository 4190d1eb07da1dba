# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the open questions: its rows are teachers and parameters that exist; smoke runs of both levels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.teacher_configs import ScriptedConfig
from erl_vlm_ros.feedback.teachers.scripted import noise_model_of
from erl_vlm_ros.training.configs import node_values, reward_config

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from questions import figure  # noqa: E402
from questions_tables import POLICY_TABLES, REWARD_TABLES  # noqa: E402


@pytest.mark.parametrize("rows", [*REWARD_TABLES.values(), *POLICY_TABLES.values()])
def test_rows_have_names_of_their_own_and_parameters_that_exist(rows):
    task = load_task("drawer_open")
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        errors = ScriptedConfig(error_rate=row.error_rate, errors=row.errors, systematic_rate=row.systematic)
        noise_model_of(errors, row.n_classes or task.n_classes, task.name)
        reward_config(node_values("reward_trainer", task, row.reward), task)
        node_values("vlm_rater", task, {"modalities": list(getattr(row, "senses", ())) or ["none"]})


def test_a_row_of_several_tables_is_one_run():
    rows = {}
    for table in POLICY_TABLES.values():
        for row in table:
            assert rows.setdefault(row.name, row) == row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "level", "rows"),
    [("senses", "reward", ["blind/wrench", "sees-all"]), ("bias", "policy", ["clusters-20/audits"])],
)
def test_a_smoke_run_is_not_run_twice(tmp_path, table, level, rows):
    out = tmp_path / "questions.jsonl"
    command = [sys.executable, str(BENCHMARKS / "questions.py"), table, "--level", level, "--quick", "--rows", *rows]

    def run():
        more = ["--out", str(out), "--data", str(tmp_path)]
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    first = run()
    assert [row["row"] for row in first["rows"]] == rows
    assert all(0 < row["right"][0] <= 1 for row in first["rows"])
    kept = out.read_text()
    assert run() == first and out.read_text() == kept and kept.count("\n") == 1


def test_a_map_shows_the_runs_whose_policy_was_played(tmp_path):
    pytest.importorskip("matplotlib")
    from questions_map import draw

    row, frames = POLICY_TABLES["bias"][0], [[0.5, 0.0, 0.1, 2, 1.0], [0.4, 0.0, 0.2, 0, 0.0]]
    played = {"row": row.name, "seed": 1, "success": 0.5, "bias_policy": 0.5, "frames": frames}
    draw([(row, [played, played | {"frames": []}]), (row, [])], tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        draw([(row, [])], tmp_path / "none.png")


def test_bias_and_time_are_correlated_over_cells():
    cells = {"a": [1.0, 0.6], "b": [0.0, 0.3], "c": [-1.0, 0.1]}
    assert figure({"cells": cells}, "bias_time") == pytest.approx(0.993, abs=1e-3)
    assert figure({"cells": {"a": [1.0, 1.0]}}, "bias_time") is None
