# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: statistics against hand-made values, what is read of a run, the files, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.rundir import save_run
from erl_vlm_ros.common.yaml_file import dump_yaml
from erl_vlm_ros.runs.compare import FIGURE, ROWS, TABLE, curves, interquartile_mean, interval, table
from erl_vlm_ros.runs.compared_runs import read_run, read_runs

pytest.importorskip("scipy")


@pytest.fixture
def make(tmp_path):
    """A function that writes a run's directory. ``evaluations``: (steps, wall_s, success)."""

    def write(name, algorithm, evaluations, *, task="drawer_open", queries=(), updates=0):
        run = tmp_path / name
        (run / "config").mkdir(parents=True)
        save_run(run, {"task": task, "seed": 0})
        for node, values in (("learner", {"algorithm": algorithm}), ("vlm_rater", {"feedback": "rating"})):
            (run / "config" / f"{node}.yaml").write_text(dump_yaml({node: {"ros__parameters": values}}))
        found = [{"env_steps": s, "wall_s": w, "episodes": 20, "success_rate": r} for s, w, r in evaluations]
        summary = {"task": task, "evaluations": found, "wall_s": 120.0, "updates": updates}
        (run / "summary.json").write_text(json.dumps(summary))
        with (run / "metrics.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("wall_s", "env_steps", "node", "name", "value"))
            rows.writerows((w, 0, "vlm_rater", "spent_queries", n) for w, n in queries)
        return str(run)

    return write


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert interquartile_mean(np.array([0.0, 0.5, 0.7, 1.0])) == pytest.approx(0.6)
    assert interquartile_mean(np.array([0.0, 0.5]), np.array([0.7, 1.0])) == pytest.approx(0.6)


def test_the_interval_is_that_of_runs_drawn_anew_within_each_task():
    rng = np.random.default_rng(0)
    scores = [[0.1, 0.2, 0.3, 0.4], [0.6, 0.9, 0.7]]
    middle, low, high = interval(scores)
    drawn = [
        interquartile_mean(*(np.array(task)[rng.integers(0, len(task), len(task))] for task in scores))
        for _ in range(4000)
    ]
    assert middle == interquartile_mean(*map(np.array, scores))
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert interval(scores) == (middle, low, high)  # the same each time
    assert interval([[0.5, 0.5, 0.5]]) == (0.5, 0.5, 0.5)
    _, low, high = interval([[0.2, 0.4], [0.9]])  # the single run of the second task is in every draw
    assert (low, high) == pytest.approx(((0.2 + 0.2 + 0.9) / 3, (0.4 + 0.4 + 0.9) / 3))
    alone = interval([[0.4], [0.9]])
    assert alone[0] == pytest.approx(0.65) and np.isnan(alone[1:]).all()


def test_what_is_read_of_a_run(make):
    made = make("a", "iql", [(1000, 30.0, 0.2), (2000, 60.0, 0.85)], queries=[(10.0, 100), (50.0, 140), (70.0, 150)])
    run = read_run(made, "algorithm")
    assert (run.group, run.task, run.success) == ("iql rating", "drawer_open", 0.85)
    assert [(p.steps, p.queries) for p in run.points] == [(1000, 100), (2000, 140)]
    assert run.spent["queries"] == 150
    assert read_run(made, "learner.algorithm").group == "algorithm=iql"
    with pytest.raises(ConfigError) as refused:
        read_run(made, "learner.nothing")
    assert refused.value.parameter == "learner.nothing"


def test_a_table_and_curves_over_seeds(make):
    good = [make(f"g{i}", "sac", [(1000, 1.0, 0.1 * i), (2000, 2.0, 0.9)]) for i in range(3)]
    poor = [make("p", "bc", [(2500, 1.0, 0.3)])]
    runs = [read_run(path, "learner.algorithm") for path in (*good, *poor)]
    rows = {row["group"]: row for row in table(runs)}
    assert rows["algorithm=sac"]["success"] == pytest.approx(0.9) and rows["algorithm=sac"]["steps to 80%"] == 2000
    assert rows["algorithm=sac"]["reached"] == "3/3" and rows["algorithm=bc"]["reached"] == "0/1"
    assert np.isnan(rows["algorithm=bc"]["low"])
    sac, bc = curves(runs, "steps")
    np.testing.assert_allclose(sac.x, [1000, 2000])
    np.testing.assert_allclose(sac.middle, [0.1, 0.9])
    assert sac.low[0] == pytest.approx(0.0) and sac.high[0] == pytest.approx(0.2)
    assert bc.x.tolist() == [2500] and np.isnan(bc.low[0])


def test_a_curve_holds_the_last_evaluation_and_begins_where_all_were_evaluated(make):
    runs = [make("a", "sac", [(500, 1.0, 0.0), (1500, 2.0, 0.4)]), make("b", "sac", [(1000, 1.0, 0.6)])]
    (curve,) = curves([read_run(path, "algorithm") for path in runs], "steps")
    np.testing.assert_allclose(curve.x, [1000, 1500])
    np.testing.assert_allclose(curve.middle, [0.3, 0.5])


def test_the_command(make, tmp_path, capsys):
    runs = [make(f"g{i}", "sac", [(1000, 1.0, 0.2), (2000, 2.0, 0.5 + 0.1 * i)]) for i in range(3)]
    runs += [make("p", "bc", [(2500, 1.0, 0.3)], updates=4000)]
    out = tmp_path / "out"
    assert main(["compare", *runs, "--by", "learner.algorithm", "--out", str(out)]) == 0
    assert "algorithm=sac" in capsys.readouterr().out
    assert (out / FIGURE).stat().st_size > 5000 and "60%" in (out / TABLE).read_text()
    rows = list(csv.DictReader((out / ROWS).open()))
    assert [row["group"] for row in rows] == ["algorithm=sac", "algorithm=bc"]
    assert float(rows[0]["success"]) == pytest.approx(0.6) and float(rows[1]["updates"]) == 4000


def test_what_cannot_be_compared_is_named(make, tmp_path, capsys):
    never = make("n", "sac", [])
    for runs in ([str(tmp_path / "absent")], [never]):
        assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and runs[0] in said


@pytest.fixture
def lines(tmp_path):
    """A file as benchmarks/papers.py writes it: two seeds of two rows."""
    file = tmp_path / "papers.jsonl"
    rows = []
    for row, end in (("drawer-open/ours", 0.5), ("drawer-open/sparse", 0.0)):
        for seed in (1, 2):
            history = [
                {"steps": s, "ratings": s // 40, "success_rate": end, "success_in_any_step": 1.0} for s in (2000, 4000)
            ]
            rows.append({"row": row, "seed": seed, "queries": 100, "minutes": 2.0, "history": history})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_benchmark_s_lines_are_runs(lines):
    runs = read_runs(lines, "algorithm")
    assert [(run.group, run.task) for run in runs] == [("ours", "drawer-open")] * 2 + [("sparse", "drawer-open")] * 2
    first = runs[0]
    assert [(p.steps, p.queries, p.success) for p in first.points] == [(2000, 50, 0.5), (4000, 100, 0.5)]
    assert first.summary["wall_s"] == 120 and first.spent["queries"] == 100
    assert read_runs(lines, "row")[0].group == "drawer-open/ours"
    assert read_runs(lines, "algorithm", "any")[0].success == 1.0


def test_a_benchmark_s_lines_are_drawn(lines, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", str(lines), "--success", "any", "--out", str(out)]) == 0
    assert (out / FIGURE).stat().st_size > 5000 and "sparse" in capsys.readouterr().out


def test_lines_that_are_no_runs_are_refused_with_their_number(lines, make, tmp_path):
    with lines.open("a") as file:
        file.write('{"row": "a/b"}\n')
    with pytest.raises(ConfigError) as refused:
        read_runs(lines, "algorithm")
    assert refused.value.file == f"{lines}:5"
    with pytest.raises(ConfigError) as refused:
        read_runs(lines, "learner.algorithm")
    assert refused.value.parameter == "by"
    with pytest.raises(ConfigError) as refused:
        read_runs(make("a", "sac", [(1000, 1.0, 0.5)]), "algorithm", "any")
    assert refused.value.parameter == "success"
    for name in ("absent.jsonl", "empty.jsonl"):
        (tmp_path / "empty.jsonl").touch()
        with pytest.raises(ConfigError) as refused:
            read_runs(tmp_path / name, "algorithm")
        assert refused.value.file == str(tmp_path / name)
