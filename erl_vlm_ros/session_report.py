# SPDX-License-Identifier: Apache-2.0
"""What the command line prints when a run is over: what came of it, or why it ended, and how to go on."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.monitoring.line import duration
from erl_vlm_ros.node_graph import Graph
from erl_vlm_ros.rundir import read_json
from erl_vlm_ros.runner import Outcome

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
    max_steps = graph.node("policy_controller").parameters["max_steps"]
    explain(outcome, path)
    where = shlex.quote(str(_short(path)))
    try:
        summary = read_json(path / "summary.json")
    except ConfigError:
        summary = None
    if summary is not None and outcome.reason != "failed":
        print(_result(summary))
        print("files in " + where + ": " + ", ".join(name for name in _FILES if (path / name).exists()))
    reached = 0 if summary is None else summary["env_steps"]
    if any((path / "checkpoint").glob("*.safetensors")):
        further = f" --max-steps {max(2 * max_steps, 1)}" if reached >= max_steps else ""
        print(f"continue: {_command()} run {graph.name} --resume {where}{further}")
        if summary is not None and summary["success_rate"] is not None:
            print(f"evaluate: {_command()} evaluate {where} --episodes 20 --seed 1000")
    sys.stdout.flush()


def _command() -> str:
    """How to call this program again from here."""
    if shutil.which("erl-vlm"):
        return "erl-vlm"
    script = Path(sys.argv[0])
    return str(_short(script.resolve())) if script.name == "erl-vlm" else f"{sys.executable} -m erl_vlm_ros.cli"


def _result(summary: dict[str, Any]) -> str:
    rate, accuracy = summary["success_rate"], summary["rating_accuracy"]
    source = summary.get("success_source") or ""
    if rate is not None:
        success = f"success rate {rate:.0%} of {summary['eval_episodes']} episodes"
        success += f" ({source})" if source not in ("", "ground truth") else ""
    elif summary["evaluations"]:
        success = "evaluated, but nobody told of success (policy_controller.success_source)"
    else:
        success = "not evaluated (learning had not begun)"
    kind = "ratings SCRIPTED from ground truth" if "scripted" in (summary.get("teacher") or "") else "ratings"
    rated = f"{summary['ratings_valid']:,} {kind}" + ("" if accuracy is None else f" ({accuracy:.0%} right)")
    return f"{success} after {summary['env_steps']:,} steps, {rated}, {duration(summary['wall_s'])}"


def _short(path: Path) -> Path:
    """Relative to the working directory where that is shorter."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
