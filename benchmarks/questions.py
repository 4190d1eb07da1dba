# SPDX-License-Identifier: Apache-2.0
"""The questions that the ERL-VLM paper leaves open, measured: classes, other senses, the teacher's bias, cold start,
errors of one direction, stratified batches and class weights (docs/open_questions.md).

The teacher is the simulator's TRUTH with errors, or the stand-in, which looks at the images by rule: no vision-language
model is asked. Two levels: ``reward`` fits reward models to ratings of a fixed set of simulated frames and looks at
held-out episodes; ``policy`` is whole runs of the one-process loop (`training/local.py`).

    python benchmarks/questions.py asymmetric --seeds 1 2 3 4 5 --out questions.jsonl
    python benchmarks/questions.py bias --level policy --seeds 1 2 3 --out questions.jsonl
    python benchmarks/questions.py bias --level policy --report --out questions.jsonl --map bias.png
    python benchmarks/questions.py classes --quick

What is in --out already is not run again. Prints the table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")  # of the software renderer

from questions_tables import POLICY_TABLES, REWARD_TABLES, Rated, Run
from resumable import gather, in_process

#: level -> what its tables show of a run
SHOWN = {
    "reward": {
        "right": "ratings right", "corr": "correlation with progress", "classes": "classes right",
        "top": "top found", "gap": "top above the next",
    },
    "policy": {
        "success": "success at the end", "last3": "mean of the last 3", "steps_to_80": "steps to 80%",
        "right": "ratings right",
    },
}  # fmt: skip
MORE = {
    ("reward", "bias"): {
        "bias_corr": "teacher's bias against the reward's error, by cell", "bias_all": "teacher's bias, all frames",
        "bias_top": "the tenth of highest reward",
    },
    ("reward", "senses"): {"contact": "ratings right in contact"},
    ("policy", "bias"): {
        "bias_explore": "bias where exploration is", "bias_late": "in the last fifth",
        "bias_policy": "where the policy is", "bias_time": "bias against the policy's time, by cell",
    },
}  # fmt: skip


def main() -> None:
    """Run what is asked for, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(REWARD_TABLES))
    parser.add_argument("--level", default="reward", choices=sorted(SHOWN))
    parser.add_argument("--task", default="drawer_open", help="drawer_open or sweep_into")
    parser.add_argument("--rows", nargs="+", help="only these rows of the table")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="not 100 to 199: those were tuned on")
    parser.add_argument("--steps", type=int, help="of a run, in place of the table's")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="processes at a time")
    parser.add_argument("--data", type=Path, help="folder in which the simulated frames are kept; none: made anew")
    parser.add_argument("--out", type=Path, help="JSON lines; kept and continued")
    parser.add_argument("--map", type=Path, help="PNG of the policy's time over the teacher's bias (bias, policy)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: little of everything, the first seed alone")
    parser.add_argument("--report", action="store_true", help="run nothing; print what --out holds")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    rows = chosen(args)
    seeds = args.seeds[:1] if args.quick else args.seeds
    if args.single:
        print(json.dumps(single(rows, seeds[0], args)))
        return
    # rows of one seed at the level of the reward share a process: its frames and its trunk
    groups = [[row] for row in rows] if args.level == "policy" else [rows]
    wanted = {key(group, seed, args): (group, seed) for seed in seeds for group in groups}
    found = gather(wanted, args.out, lambda job: child(*job, args), said, args.jobs, args.report)
    results = [result for part in found.values() if part for result in part["results"]]
    by_row = [(row, [r for r in results if r["row"] == row.name]) for row in rows]
    by_row = [(row, own) for row, own in by_row if own]
    shown = SHOWN[args.level] | MORE.get((args.level, args.table), {})
    print(table(by_row, shown))
    if args.map:
        from questions_map import draw

        draw(by_row, args.map)
    print(json.dumps({
        "benchmark": "questions", "table": args.table, "level": args.level, "task": args.task, "seeds": seeds,
        "rows": [{"row": row.name} | {name: [figure(r, name) for r in own] for name in shown} for row, own in by_row],
    }))  # fmt: skip


def chosen(args: argparse.Namespace) -> list[Rated] | list[Run]:
    """The rows that were asked for, at the size that was asked for."""
    tables = {"reward": REWARD_TABLES, "policy": POLICY_TABLES}[args.level]
    if args.table not in tables:
        raise SystemExit(f"{args.table} --level {args.level}: there are {', '.join(sorted(tables))}")
    rows = {row.name: row for row in tables[args.table]}
    unknown = [name for name in args.rows or () if name not in rows]
    if unknown:
        raise SystemExit(f"--rows {unknown[0]}: table {args.table} has {', '.join(rows)}")
    out = [rows[name] for name in args.rows or rows]
    if args.level == "reward":
        return [replace(row, ratings=40) for row in out] if args.quick else out
    steps = 400 if args.quick else args.steps
    return out if steps is None else [replace(row, steps=steps) for row in out]


def key(group: list[Any], seed: int, args: argparse.Namespace) -> str:
    """What a run is told by. The table is not part of it: a row that several tables have is run once."""
    size = group[0].steps if args.level == "policy" else group[0].ratings
    return " ".join(map(str, [args.level, args.task, *(row.name for row in group), seed, size, args.quick]))


def single(rows: list[Any], seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run in this process, or all rows of a table at the level of the reward."""
    if args.level == "policy":
        from questions_policy import policy_run

        results = [policy_run(row, args.task, seed, args.quick) for row in rows]
    else:
        from questions_reward import reward_rows

        results = reward_rows(rows, args.task, seed, args.data, args.quick)
    return {"key": key(rows, seed, args), "results": results}


def child(group: list[Any], seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own; SystemExit with its error text."""
    command = [sys.executable, __file__, args.table, "--single", "--level", args.level, "--task", args.task]
    command += ["--rows", *(row.name for row in group), "--seeds", str(seed)]
    command += ["--steps", str(group[0].steps)] if args.level == "policy" else []
    command += ["--data", str(args.data)] if args.data else []
    return in_process(f"{group[0].name} seed {seed}", command + ["--quick"] * args.quick, loud=args.out is not None)


def said(result: dict[str, Any]) -> str:
    """A line about a run that has ended."""
    first = result["results"][0]
    figures = {name: first[name] for name in ("success", "corr", "minutes") if name in first}
    return f"{first['row']} seed {first['seed']} ({len(result['results'])} rows): {figures}"


def figure(result: dict[str, Any], name: str) -> float | None:
    """One figure of a run; None where there is none."""
    history = result.get("history", [])
    if name == "last3":
        return statistics.mean(h["success_rate"] for h in history[-3:]) if history else None
    if name == "steps_to_80":
        return next((h["env_steps"] for h in history if h["success_rate"] >= 0.8), None)
    if name == "bias_time":  # correlation over the cells that were ever visited
        cells = list(result.get("cells", {}).values())
        bias, time = ([c[i] for c in cells] for i in (0, 1))
        return statistics.correlation(bias, time) if len(set(bias)) > 1 and len(set(time)) > 1 else None
    return result.get(name)


def table(by_row: list[tuple[Any, list[dict[str, Any]]]], shown: dict[str, str]) -> str:
    """Markdown: of the policy one value a seed, `-` is 'not within the steps'; of the reward mean and deviation."""
    lines = ["| row | what | seeds | " + " | ".join(shown.values()) + " |", "|" + "---|" * (len(shown) + 3)]
    for row, own in by_row:
        cells = [row.name, row.text, " ".join(str(r["seed"]) for r in own)]
        for name in shown:
            values = [figure(r, name) for r in own]
            known = [v for v in values if v is not None]
            if isinstance(row, Run):
                cells.append(" / ".join("-" if v is None else f"{v:.3g}" if v < 1000 else f"{v:,}" for v in values))
            else:
                spread = statistics.stdev(known) if len(known) > 1 else 0.0
                cells.append(f"{statistics.mean(known):.2f} ± {spread:.2f}" if known else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
