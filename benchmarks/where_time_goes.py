# SPDX-License-Identifier: Apache-2.0
"""CPU milliseconds an environment step, by node and by kind, of a real run through the graph.

Every node times itself (``profiled/sitecustomize.py``). Counted is from the first step to the last; there are no
evaluations. Timing costs a few percent itself, most of it in the node whose functions are many and small.

    python benchmarks/where_time_goes.py --steps 3000
    python benchmarks/where_time_goes.py --task metaworld/drawer-open-v3 --set vlm_rater.teacher=scripted

Prints a table and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXECUTOR, OTHERS, DDS = "rclpy executor", "other Python threads", "DDS threads"
ENDED = "threads that ended"  # of the stand-in, which is no node: one a request
_LEAST_MS = 0.05  # smaller ones are summed up


def main() -> None:
    """Run the graph, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="NODE.PARAM=VALUE")
    parser.add_argument("--keep", type=Path, help="folder for the samples and the run; by default they go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        (folder / "samples").mkdir(parents=True)
        window = run(args, folder)
        by_node = {}
        for path in sorted((folder / "samples").glob("*.jsonl")):
            node, kinds = path.stem.rpartition("-")[0], spent(read(path), window["began"], window["ended"])
            if node == "vlm":
                kinds[ENDED] = kinds.pop(DDS)
            by_node[node] = kinds
    steps = window["steps"]
    ms = {n: {k: 1e3 * s / steps for k, s in kinds.items()} for n, kinds in by_node.items()}
    print(table(ms))
    total = sum(v for kinds in ms.values() for v in kinds.values())
    print(json.dumps({
        "benchmark": "where_time_goes", "task": args.task, "seed": args.seed, "set": args.set, "steps": steps,
        "wall_ms_a_step": round(1e3 * (window["ended"] - window["began"]) / steps, 2),
        "cpu_ms_a_step": round(total, 2),
        "by_node": {n: {k: round(v, 3) for k, v in sorted(kinds.items())} for n, kinds in ms.items()},
    }))  # fmt: skip


def run(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Run the graph; when its steps began and ended (s since the epoch), and how many they were."""
    out = folder / "run"
    settings = ["policy_controller.eval_every=0", "policy_controller.final_eval_episodes=0", *args.set]
    command = [sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_sim", "--task", args.task, "--headless"]
    command += ["--seed", str(args.seed), "--out", str(out), "--max-steps", str(args.steps)]
    command += [f"--set={setting}" for setting in settings]
    paths = os.pathsep.join(filter(None, (str(HERE / "profiled"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "WHERE_TIME_GOES": str(folder / "samples")}
    with (folder / "output").open("w+") as text:
        process = subprocess.Popen(command, env=environment, stdout=text, stderr=subprocess.STDOUT)
        seen: list[tuple[float, int]] = []
        while process.poll() is None:
            time.sleep(0.1)
            steps = progress(out / "progress.json")
            if steps is not None and (not seen or steps != seen[-1][1]):
                seen.append((time.time(), steps))
        if process.returncode or not seen or seen[-1][1] < args.steps:
            text.seek(0)
            raise SystemExit(f"the run failed:\n{text.read()[-3000:]}")
    first = next(i for i, (_, steps) in enumerate(seen) if steps > 0)
    began, before = seen[first]
    ended, after = next((when, steps) for when, steps in seen if steps >= args.steps)
    return {"began": began, "ended": ended, "steps": after - before}


def progress(path: Path) -> int | None:
    """Environment steps so far; None while there is no such file."""
    try:
        return int(json.loads(path.read_text())["env_steps"])
    except (OSError, ValueError, KeyError):
        return None


def read(path: Path) -> list[dict]:
    """The samples of a process; its last line may be cut short."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def spent(rows: list[dict], began: float, ended: float) -> dict[str, float]:
    """CPU seconds by kind between two times, with what remains of the main thread, of the other ones, and of DDS."""
    first = max((row for row in rows if row["time"] <= began), key=lambda row: row["time"], default=rows[0])
    last = min((row for row in rows if row["time"] >= ended), key=lambda row: row["time"], default=rows[-1])
    change = {name: last[name] - first[name] for name in ("process", "main", "python")}
    kinds: dict[str, float] = {}
    within = {"main": 0.0, "other": 0.0}
    for name, seconds in last["sums"].items():
        thread, _, kind = name.partition("/")
        seconds -= first["sums"].get(name, 0.0)
        kinds[kind] = kinds.get(kind, 0.0) + seconds
        within[thread] += seconds
    kinds[EXECUTOR] = change["main"] - within["main"]
    kinds[OTHERS] = change["python"] - change["main"] - within["other"]
    kinds[DDS] = change["process"] - change["python"]
    return {kind: max(seconds, 0.0) for kind, seconds in kinds.items()}


def table(ms: dict[str, dict[str, float]]) -> str:
    """Markdown: nodes by what they take, each with its kinds; and the sums of the kinds over all nodes."""
    lines = ["| node | CPU ms a step | of it |", "|---|---|---|"]
    sums: dict[str, float] = {}
    for kinds in ms.values():
        for kind, value in kinds.items():
            sums[kind] = sums.get(kind, 0.0) + value
    rows = sorted(ms.items(), key=lambda item: -_total(item[1]))
    lines += [f"| {node} | {_total(kinds):.2f} | {_parts(kinds)} |" for node, kinds in rows]
    lines.append(f"| **all** | **{_total(sums):.2f}** | {_parts(sums)} |")
    return "\n".join(lines)


def _total(kinds: dict[str, float]) -> float:
    return sum(kinds.values())


def _parts(kinds: dict[str, float]) -> str:
    shown = sorted((kv for kv in kinds.items() if kv[1] >= _LEAST_MS), key=lambda kv: -kv[1])
    return ", ".join(f"{kind} {value:.2f}" for kind, value in shown) or "-"


if __name__ == "__main__":
    main()
