# SPDX-License-Identifier: Apache-2.0
"""The papers' benchmark: its rows are tasks with parameters that exist, and a smoke run of one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.training.configs import node_values, reward_config

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from papers_probe import figures  # noqa: E402
from papers_report import COLUMNS, summary, table  # noqa: E402
from papers_rewards import NAMES, key  # noqa: E402
from papers_rewards import table as rewards_table  # noqa: E402
from papers_tables import LEARNER, TABLES, Row  # noqa: E402


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


def test_held_out_frames_judge_a_reward_by_its_order_and_its_ends():
    progress, classes = np.array([0.0, 0.1, 0.4, 0.5, 1.0, 1.0]), np.array([0, 0, 1, 1, 2, 2])
    right = figures(progress, progress, classes)
    assert right["corr"] == pytest.approx(1) and right["ordered"] == right["classed"] == 1
    assert right["top_error"] == 0 and right["low_error"] == pytest.approx(0.05)
    assert figures(-progress, progress, classes)["ordered"] == 0
    constant = figures(np.full(6, 0.5), progress, classes)
    assert constant["ordered"] == 0.5 and np.isnan(constant["corr"])
    swapped = figures(
        np.array([0.0, 0.45, 0.4, 0.5, 1.0, 1.0]), progress, classes
    )  # one frame of class 0 above one of 1
    assert swapped["ordered"] == pytest.approx((3 / 4 + 1 + 1) / 3) and swapped["classed"] == pytest.approx(2 / 3)


def run_of(seed, successes, held_out=None):
    """A line as papers.py writes it: an evaluation each 1,000 steps."""
    history = [
        {"steps": 1000 * (i + 1), "ratings": 50 * i, "wall_s": 60.0 * i, "success_in_any_step": s, "success_rate": 0.0}
        | ({} if held_out is None else {"held_out": held_out})
        for i, s in enumerate(successes)
    ]
    first = next((h for h in history if h["success_in_any_step"] >= 0.8), None)
    return {
        "seed": seed, "steps": 1000 * len(history), "queries": 200, "any_step": successes[-1], "last_step": 0.0,
        "minutes": 1.5, "first": first, "history": history,
    }  # fmt: skip


def cells(text):
    """The cells of a Markdown table, a dictionary for each row."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_report_has_a_value_for_each_seed():
    row = Row("s/a", "task", "text", 4000, paper=(("P", {100: 5, 1000: 50}), ("Q", {100: 7})))
    found = [run_of(1, [0.0, 0.5, 1.0, 0.5]), run_of(2, [0.0, 0.0, 0.0, 0.5])]
    said = summary(row, found)
    assert said["any_step_last3"] == [0.667, 0.167] and said["any_step_mean"] == [0.5, 0.125]
    assert said["steps_to_80"] == [3000, None] and said["queries_to_80"] == [100, None] and "corr" not in said
    (line,) = cells(table([(row, found)]))
    assert line["seeds"] == "1 / 2" and line["success in any step"] == "50% / 50%"
    assert line["steps to 80%"] == "3000 / -" and line["the papers print"] == "P 5% at 100, 50% at 1,000; Q 7% at 100"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_can_be_printed(name):
    held_out = dict.fromkeys(("corr", "ordered", "classed", "top_error", "low_error"), 0.25)
    rows = TABLES[name]
    lines = cells(table([(row, [run_of(1, [0.0, 1.0], held_out if row.probed else None)]) for row in rows], name))
    assert [line["row"] for line in lines] == [row.name for row in rows]
    if name in COLUMNS:
        assert all(line["correlation"] == "0.25" for line in lines)


def test_reward_models_on_equal_ratings_are_told_apart_and_printed():
    asked = ("s", "erl_vlm", 1, 2, 64), ("s", "erl_vlm", 1, 2, 512), ("s", "ours", 1, 2, 64), ("s", "erl_vlm", 2, 2, 64)
    assert len({key(*one) for one in asked}) == len(asked)
    assert key("s", "ours", 1, 2, 64) == key("s", "ours", 1, 2, 512)  # it has no batch of the paper's
    runs = [{"seed": seed, **dict.fromkeys(NAMES, value)} for seed, value in ((1, 0.25), (2, 0.75))]
    (line,) = cells(rewards_table([("s", 2, 64, "no_mae", runs)]))
    assert line["seeds"] == "1 / 2" and line["correlation"] == "0.25 / 0.75, 0.50"


@pytest.mark.slow
def test_a_smoke_run_is_not_run_twice(tmp_path):
    pytest.importorskip("metaworld")
    out = tmp_path / "papers.jsonl"
    row = "drawer-open/vanilla_rbrl"
    command = [sys.executable, str(BENCHMARKS / "papers.py"), "ablations", "--quick", "--rows", row]

    def run():
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    first = run()
    (said,) = first["rows"]
    assert said["row"] == row and said["queries"] == [30] and said["steps"][0] >= 1200
    assert 0 <= said["ordered"][0] <= 1  # held-out frames were judged
    kept = out.read_text()
    assert run() == first and out.read_text() == kept and kept.count("\n") == 1
