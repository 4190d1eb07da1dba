# SPDX-License-Identifier: Apache-2.0
"""Memory of every process over a real-time training, and the files of the run that grow.

    python benchmarks/memory.py --minutes 30

Starts `erl-vlm run train_real --use-sim-arm --auto-arm --standin-vlm` and reads /proc every 5 s: VmRSS less the shared
memory (RssShmem: Fast DDS's segment, which every process maps), and that by itself. Prints one JSON line last: for each
process its MB at the start (20 s after it was first seen), after 5 minutes and at the end, and the slope over the last
two thirds in MB an hour; for the run directory the files that grew in that time, biggest first, with MB an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

EVERY_S = 5.0
SETTLED_S, LATER_S = 20.0, 300.0
MB = 1e6


@dataclass
class Trace:
    """What was read of one process: seconds since the benchmark's start, own MB, shared MB."""

    pid: int
    rows: list[tuple[float, float, float]] = field(default_factory=list)


def main() -> int:
    """Run, read, print; exit status 1 when the run ended early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--adapter", default="servo_twist")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="NODE.PARAMETER=VALUE")
    parser.add_argument("--out", type=Path, help="keep the run directory here")
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if args.out:
        result = measure(args, args.out)
    else:
        with tempfile.TemporaryDirectory(prefix="memory_") as folder:
            result = measure(args, Path(folder) / "run")
    print(json.dumps({"benchmark": "memory"} | result))
    return 0 if result["ran_to_the_end"] else 1


def measure(args: argparse.Namespace, run: Path) -> dict:
    """One run and its traces."""
    command = [
        sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_real", "--use-sim-arm", "--auto-arm", "--standin-vlm",
        "--headless", "--adapter", args.adapter, "--task", args.task, "--seed", str(args.seed), "--out", str(run),
        "--max-steps", "1000000",
    ]  # fmt: skip
    for pair in args.overrides:
        command += ["--set", pair]
    log = run.with_name(run.name + ".memory.log")
    with log.open("wb") as stream:
        graph = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    traces: dict[str, Trace] = {}
    sizes: dict[str, tuple[float, int]] = {}  # file -> when it was read first, bytes then
    began = time.monotonic()
    try:
        while graph.poll() is None and time.monotonic() - began < 60.0 * args.minutes:
            now = time.monotonic() - began
            read_processes(graph.pid, traces, now)
            if now > SETTLED_S:
                for name, size in files_of(run).items():
                    sizes.setdefault(name, (now, size))
            time.sleep(EVERY_S)
        lasted, alive = time.monotonic() - began, graph.poll() is None
        grown = growth(files_of(run), sizes, lasted)
        progress = steps_of(run)
    finally:
        graph.send_signal(signal.SIGINT)
        try:
            graph.wait(90)
        except subprocess.TimeoutExpired:
            graph.kill()
    if not alive:
        print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    nodes = {name: summary(trace) for name, trace in sorted(traces.items()) if len(trace.rows) > 2}
    return {
        "minutes": round(lasted / 60.0, 1), "ran_to_the_end": alive, "env_steps": progress, "nodes": nodes,
        "files": grown, "run_mb": round(sum(files_of(run).values()) / MB, 1),
    }  # fmt: skip


def read_processes(parent: int, traces: dict[str, Trace], now: float) -> None:
    """Add a row for each process below ``parent``; one that was started again gets a trace of its own."""
    for pid in [parent, *children(parent)]:
        try:
            name = name_of(pid) if pid != parent else "erl-vlm run"
            own, shared = memory_of(pid)
        except OSError:
            continue  # it has ended meanwhile
        key, number = name, 2
        while key in traces and traces[key].pid != pid:
            key, number = f"{name} (start {number})", number + 1
        traces.setdefault(key, Trace(pid)).rows.append((now, own, shared))


def children(pid: int) -> list[int]:
    """Process ids of the children of every thread of ``pid``."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for entry in lists for child in entry.read_text().split()]


def name_of(pid: int) -> str:
    """The node's name, or the module that runs."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    for word in words:
        if word.startswith("__node:="):
            return word.partition(":=")[2]
    return words[words.index("-m") + 1].rpartition(".")[2] if "-m" in words else words[0]


def memory_of(pid: int) -> tuple[float, float]:
    """MB of its own and MB of shared memory that are resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kb = {line.split(":")[0]: float(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssShmem"))}
    shared = kb.get("RssShmem", 0.0)
    return (kb.get("VmRSS", 0.0) - shared) * 1024 / MB, shared * 1024 / MB


def summary(trace: Trace) -> dict:
    """MB at the start, after 5 minutes, at the end; slope in MB an hour over the last two thirds."""
    rows, first = trace.rows, trace.rows[0][0]
    at = lambda seconds: next((own for t, own, _ in rows if t - first >= seconds), rows[-1][1])  # noqa: E731
    tail = rows[len(rows) // 3 :]
    return {
        "start_mb": round(at(SETTLED_S), 1), "after_5_min_mb": round(at(LATER_S), 1), "end_mb": round(rows[-1][1], 1),
        "mb_per_hour": round(3600.0 * slope([(t, own) for t, own, _ in tail]), 1), "shared_mb": round(rows[-1][2], 1),
    }  # fmt: skip


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares, per second."""
    n = len(points)
    t, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    spread = sum((a - t) ** 2 for a, _ in points)
    return sum((a - t) * (b - y) for a, b in points) / spread if spread else 0.0


def files_of(run: Path) -> dict[str, int]:
    """Bytes of every file below ``run``."""
    out = {}
    for path in run.rglob("*"):
        try:
            if path.is_file():
                out[str(path.relative_to(run))] = path.stat().st_size
        except OSError:
            continue  # replaced at this moment
    return out


def growth(now: dict[str, int], before: dict[str, tuple[float, int]], seconds: float) -> dict[str, dict[str, float]]:
    """The files that grew by more than 10 kB: MB at the end, and MB an hour."""
    out = {}
    for name, size in sorted(now.items(), key=lambda entry: -entry[1]):
        since, old = before.get(name, (0.0, 0))
        if size - old > 10_000:
            rate = 3600.0 * (size - old) / max(seconds - since, 1.0)
            out[name] = {"mb": round(size / MB, 2), "mb_per_hour": round(rate / MB, 2)}
    return out


def steps_of(run: Path) -> int | None:
    """Environment steps so far, as the run's progress file says."""
    try:
        return json.loads((run / "progress.json").read_text()).get("env_steps")
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
