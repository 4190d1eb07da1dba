# SPDX-License-Identifier: Apache-2.0
"""What the graph costs: wall time of the same training through the ROS graph and in one process, in turn.

Both render, ask the stand-in server over HTTP and learn with the same parameters; neither evaluates. Whole commands
are timed, start-up included, and the training alone (`steps_per_s`) beside it.

    python benchmarks/graph_overhead.py --steps 4000 --rounds 3

Prints a table and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Alternate the two and print the ratios of their wall times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows = []
    for i in range(args.rounds):
        row = {"graph": graph(args, args.seed + i), "process": process(args, args.seed + i)}
        rows.append(row)
        print(
            f"  round {i}: graph {row['graph']['wall_s']:.1f} s, one process {row['process']['wall_s']:.1f} s",
            file=sys.stderr,
        )
    ratios = [row["graph"]["wall_s"] / row["process"]["wall_s"] for row in rows]
    print("| | wall s (median) | steps/s while training (median) |\n|---|---|---|")
    for name in ("graph", "process"):
        wall, rate = (statistics.median(row[name][key] for row in rows) for key in ("wall_s", "steps_per_s"))
        print(f"| {name} | {wall:.1f} | {rate:.0f} |")
    result = {
        "benchmark": "graph_overhead", "task": args.task, "steps": args.steps, "rounds": rows,
        "wall_ratio_median": round(statistics.median(ratios), 3), "wall_ratios": [round(r, 3) for r in ratios],
    }  # fmt: skip
    print(json.dumps(result))


def graph(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Train through the graph without evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_sim", "--task", args.task, "--seed", str(seed),
            "--out", str(out), "--max-steps", str(args.steps), "--headless",
            "--set", "policy_controller.eval_every=0", "--set", "policy_controller.final_eval_episodes=0",
        ]  # fmt: skip
        wall = timed(command)
        return {"wall_s": wall, "steps_per_s": json.loads((out / "summary.json").read_text())["steps_per_s"]}


def process(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Train in one process (and the stand-in's) without evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.jsonl"
        command = [
            sys.executable, str(HERE / "learning.py"), "--task", args.task, "--variants", "default",
            "--seeds", str(seed),
            "--steps", str(args.steps), "--eval-every", "0", "--out", str(out),
        ]  # fmt: skip
        wall = timed(command)
        row = json.loads(out.read_text())
        return {"wall_s": wall, "steps_per_s": row["env_steps"] / row["wall_s"]}


def timed(command: list[str]) -> float:
    """Wall seconds of a command that must succeed."""
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}\n{done.stdout[-2000:]}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
