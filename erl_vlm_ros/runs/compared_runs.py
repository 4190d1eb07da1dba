# SPDX-License-Identifier: Apache-2.0
"""What ``erl-vlm compare`` reads: run directories, and the JSON lines of benchmarks/papers.py."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import load_run, read_json
from erl_vlm_ros.monitoring.files import METRICS, SUMMARY
from erl_vlm_ros.params.layers import read_parameter_file

SUCCESSES = ("end", "any")  # of an episode: at its last step, in any step
_LINES = ".jsonl"


@dataclass(frozen=True)
class Point:
    """An evaluation: what had been spent until then, and the success rate."""

    steps: int
    queries: float
    success: float


@dataclass
class Run:
    """What is compared of a run. ``points``: its evaluations in order."""

    path: Path
    task: str
    group: str
    summary: dict[str, Any]
    points: list[Point]
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def success(self) -> float:
        """At the last evaluation."""
        return self.points[-1].success


def read_runs(path: str | Path, by: str, success: str = SUCCESSES[0]) -> list[Run]:
    """The run of a directory, or the runs of a benchmark's file. ConfigError: none, or what they do not tell."""
    if str(path).endswith(_LINES):
        return _benchmark_runs(Path(path).resolve(), by, success)
    if success != SUCCESSES[0]:
        text = f"{path}: a run tells success at the end of an episode alone: --success {SUCCESSES[0]}"
        raise ConfigError(text, parameter="success", code=Code.DOES_NOT_FIT)
    return [read_run(path, by)]


def _benchmark_runs(file: Path, by: str, success: str) -> list[Run]:
    """One run a line; the task is the scene that its row's name begins with."""
    if by not in ("algorithm", "row", "folder"):
        text = f"--by {by}: a benchmark's lines are grouped by algorithm (the row without its scene), row or folder"
        raise ConfigError(text, parameter="by", code=Code.DOES_NOT_FIT)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}", code=Code.UNREADABLE, file=str(file)) from None
    runs = [_benchmark_run(file, number, line, by, success) for number, line in enumerate(lines, 1)]
    if not runs:
        raise ConfigError(f"{file} holds no run", code=Code.MISSING_FILE, file=str(file))
    return runs


def _benchmark_run(file: Path, number: int, line: str, by: str, success: str) -> Run:
    rate = {"end": "success_rate", "any": "success_in_any_step"}[success]
    try:
        found = json.loads(line)
        scene, _, name = found["row"].rpartition("/")
        points = [Point(int(h["steps"]), float(h["ratings"]), float(h[rate])) for h in found["history"]]
        summary = {"wall_s": 60.0 * found["minutes"], "updates": found.get("updates", 0)}
        queries = float(found["queries"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{file}:{number} is no line of benchmarks/papers.py ({type(error).__name__}: {error})"
        raise ConfigError(text, code=Code.UNREADABLE, file=f"{file}:{number}") from error
    if not points:
        text = f"{file}:{number}: run {found['row']} was never evaluated"
        raise ConfigError(text, code=Code.MISSING_FILE, file=f"{file}:{number}")
    group = {"algorithm": name, "row": found["row"], "folder": file.parent.name}[by]
    return Run(file, scene, group, summary, points, {"queries": queries, "money": 0.0})


def read_run(path: str | Path, by: str) -> Run:
    """A run and the group that it belongs to. ConfigError: it is no run, or was never evaluated."""
    folder = Path(path).resolve()
    load_run(folder)
    summary = read_json(folder / SUMMARY, f"{folder} has no {SUMMARY}: the run has not come to its end yet")
    judged = [e for e in summary.get("evaluations", []) if e.get("success_rate") is not None]
    if not judged:
        text = f"{folder}: no evaluation with a success rate is in its {SUMMARY}: see erl-vlm evaluate"
        raise ConfigError(text, code=Code.MISSING_FILE, file=str(folder))
    spent = _spent(folder / METRICS)
    points = [Point(int(e["env_steps"]), _at(spent["queries"], e["wall_s"]), float(e["success_rate"])) for e in judged]
    last = {name: float(values[-1][1]) if values else 0.0 for name, values in spent.items()}
    return Run(folder, str(summary["task"]), _group(folder, by), summary, points, last)


def _group(folder: Path, by: str) -> str:
    if by == "folder":
        return folder.parent.name
    if by == "algorithm":
        asked = "" if not (folder / "config" / "vlm_rater.yaml").is_file() else _value(folder, "vlm_rater", "feedback")
        return " ".join(filter(None, (_value(folder, "learner", "algorithm"), asked)))
    node, dot, name = by.partition(".")
    if not dot:
        raise ConfigError(f"--by {by}: expected algorithm, folder or NODE.PARAMETER", parameter="by")
    return f"{name}={_value(folder, node, name)}"


def _value(folder: Path, node: str, name: str) -> str:
    file = folder / "config" / f"{node}.yaml"
    values = read_parameter_file(file).get(node, {})
    if name not in values:
        raise ConfigError(
            f"{file} has no parameter {name}", parameter=f"{node}.{name}", file=str(file), code=Code.UNKNOWN
        )
    return str(values[name])


def _spent(path: Path) -> dict[str, list[tuple[float, float]]]:
    """(wall seconds, so far) of queries and money, from the run's figures; empty lists where nothing was asked."""
    names = {"spent_queries": "queries", "spent_money": "money"}
    out: dict[str, list[tuple[float, float]]] = {"queries": [], "money": []}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["node"] == "vlm_rater" and row["name"] in names:
                    out[names[row["name"]]].append((float(row["wall_s"]), float(row["value"])))
    return out


def _at(values: Sequence[tuple[float, float]], wall_s: float) -> float:
    """The newest value by then; 0 before the first."""
    return next((value for at, value in reversed(values) if at <= wall_s), 0.0)
