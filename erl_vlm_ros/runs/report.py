# SPDX-License-Identifier: Apache-2.0
"""What the command line prints when a run is over: what came of it, or why it ended, and how to go on."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.rundir import read_json
from erl_vlm_ros.graphs.collect import FOLDER as DATASET
from erl_vlm_ros.graphs.spec import Graph
from erl_vlm_ros.monitoring.line import duration
from erl_vlm_ros.runs.supervisor import Outcome

FULL_DISK_BYTES = 1_000_000
_FILES = (
    "summary.json", "learning_curve.png", "evaluation.mp4", "evaluation.gif", "metrics.csv", "tensorboard",
    "checkpoint",
)  # fmt: skip


def explain(outcome: Outcome, path: Path) -> None:
    """Say on stderr which node ended the run, and its last words."""
    if outcome.reason == "failed":
        print(f"{outcome.failed} ended with status {outcome.status}; its last lines:", file=sys.stderr)
        print("\n".join(f"    {line}" for line in outcome.tail.splitlines()), file=sys.stderr)
        print(f"all logs: {path / 'logs'}", file=sys.stderr, flush=True)
        if shutil.disk_usage(path).free < FULL_DISK_BYTES:  # then the logs may end early, too
            print(f"the disk that holds {path} is full: make room there, then continue", file=sys.stderr, flush=True)


def report(outcome: Outcome, path: Path, graph: Graph) -> None:
    """Print what came of a training run and how to go on."""
    max_steps = graph.plan.max_steps
    explain(outcome, path)
    where = shlex.quote(str(_short(path)))
    try:
        summary = read_json(path / "summary.json")
    except ConfigError:
        summary = None
    if summary is not None and outcome.reason != "failed":
        gathered = graph.plan.max_episodes is not None
        print(_gathered(summary) if gathered else _result(summary, max_steps is not None))
        for name, text in summary.get("alarms", {}).items():
            print(f"alarm {name}: {text} (docs/alarms.md)")
        if gathered and summary["kept_episodes"]:
            dataset = shlex.quote(str(_short(path / DATASET)))
            print(f"dataset: {dataset}; look at it: {_command()} dataset show {dataset}")
            print(f"begin with it: {_command()} run train_sim|train_real --demos {dataset}")
        print("files in " + where + ": " + ", ".join(name for name in _FILES if (path / name).exists()))
    reached = 0 if summary is None else summary["env_steps"]
    if any((path / "checkpoint").glob("*.safetensors")):
        further = f" --max-steps {max(2 * max_steps, 1)}" if max_steps is not None and reached >= max_steps else ""
        most = graph.plan.max_episodes
        if most is not None and summary is not None and summary["kept_episodes"] >= most:
            further = f" --episodes {2 * most}"
        updates = graph.plan.max_updates
        if updates is not None and summary is not None and summary.get("updates", 0) >= updates:
            further = f" --updates {2 * updates}"
        print(f"continue: {_command()} run {graph.name} --resume {where}{further}")
        if summary is not None and (summary["success_rate"] is not None or (updates and summary.get("updates"))):
            print(f"evaluate: {_command()} evaluate {where} --episodes 20 --seed 1000")
    sys.stdout.flush()


def _command() -> str:
    """How to call this program again from here."""
    if shutil.which("erl-vlm"):
        return "erl-vlm"
    script = Path(sys.argv[0])
    return str(_short(script.resolve())) if script.name == "erl-vlm" else f"{sys.executable} -m erl_vlm_ros.cli"


def _result(summary: dict[str, Any], steps: bool = True) -> str:
    """In a line. ``steps``: the run is counted in environment steps, and not in updates on recordings."""
    rate, accuracy = summary["success_rate"], summary["rating_accuracy"]
    source = summary.get("success_source") or ""
    if rate is not None:
        success = f"success rate {rate:.0%} of {summary['eval_episodes']} episodes"
        success += f" ({source})" if source not in ("", "ground truth") else ""
    elif summary["evaluations"]:
        success = "evaluated, but without success labels (policy_controller.success_source)"
    else:
        success = "not evaluated" + " (learning had not begun)" * steps
    kind = "ratings SCRIPTED from ground truth" if "scripted" in (summary.get("teacher") or "") else "ratings"
    rated = f"{summary['ratings_valid']:,} {kind}" + ("" if accuracy is None else f" ({accuracy:.0%} right)")
    length = f"{summary['env_steps']:,} steps"
    if not steps:
        length = f"{summary['updates']:,} updates on {length} of {summary['episodes']:,} recorded episodes"
    return f"{success} after {length}, {rated}, {duration(summary['wall_s'])}"


def _gathered(summary: dict[str, Any]) -> str:
    """What came of a run that gathers demonstrations, in a line."""
    kept, good = f"{summary['kept_episodes']:,} episodes", f"{summary['kept_successes']:,} of them successful"
    left_out = summary["episodes"] - summary["kept_episodes"]
    others = f", {left_out:,} left out" if left_out > 0 else ""
    return f"{kept}, {good}{others}, {summary['env_steps']:,} steps in all, {duration(summary['wall_s'])}"


def _short(path: Path) -> Path:
    """Relative to the working directory where that is shorter."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
