# SPDX-License-Identifier: Apache-2.0
"""The papers' benchmarks on MetaWorld, and on MiniGrid in place of ALFRED, beside what the papers print.

Every run is the one-process loop (`training/local.py`): the same parts as the graph, without DDS. The teacher is the
simulator's TRUTH with a share of independent errors; no vision-language model is asked.

    python benchmarks/papers.py metaworld --jobs 2 --out papers.jsonl
    python benchmarks/papers.py metaworld --rows drawer-open/ours sweep-into/ours --seeds 1 2 3
    python benchmarks/papers.py language --rows three-5x5/ratings three-5x5/sparse --out language.jsonl
    python benchmarks/papers.py metaworld --quick
    python benchmarks/papers.py metaworld --report --out papers.jsonl     # what is there, nothing is run

Runs that are in --out already are not run again, so a table can be completed later. Prints the table, then one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")  # of the software renderer

from papers_probe import HeldOut
from papers_report import LEVEL, summary, table
from papers_tables import LEARNER, TABLES, Row
from resumable import gather, in_process
from standin_process import overrides

IMAGE_SIZES = {"minigrid": 48}  # px; other worlds: 128
QUICK = {"steps": 1200, "queries": 30, "eval_every": 600, "eval_episodes": 1}
QUICK_LEARNER = {"warmup_steps": 130, "max_warmup_steps": 200, "first_ratings": 20, "round_steps": 125}


def main() -> None:
    """Run what is asked for, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--rows", nargs="+", help="only these rows of the table")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="not 100 to 199: those were tuned on")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="runs at a time")
    parser.add_argument("--error-rate", type=float, default=0.2)
    parser.add_argument("--action-repeat", type=int, default=4, help="the papers: 1")
    parser.add_argument("--episode", type=int, default=500, help="MetaWorld's control steps in an episode")
    parser.add_argument("--steps", type=int, help="MetaWorld's control steps, or MiniGrid's, in place of the table's")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NODE.PARAM=VALUE", help="overrides for every run"
    )
    parser.add_argument("--out", type=Path, help="JSON lines, one a run; kept and continued")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few steps, the first seed alone")
    parser.add_argument("--report", action="store_true", help="run nothing; print what --out holds")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    rows = [shaped(row, args) for row in chosen(args)]
    if args.single:
        print(json.dumps(single(rows[0], args.seeds[0], args)))
        return
    seeds = args.seeds[:1] if args.quick else args.seeds
    wanted = [(row, seed) for seed in seeds for row in rows]
    results = gather(
        {key(row, seed, args): (row, seed) for row, seed in wanted}, args.out, lambda job: child(*job, args), said,
        args.jobs, args.report,
    )  # fmt: skip
    there = [(row, [r for seed in seeds if (r := results[key(row, seed, args)])]) for row in rows]
    by_row = [(row, found) for row, found in there if found]
    print(table(by_row, args.table))
    print(json.dumps({
        "benchmark": "papers", "table": args.table, "error_rate": args.error_rate, "seeds": seeds,
        "rows": [summary(row, found) for row, found in by_row],
    }))  # fmt: skip


def chosen(args: argparse.Namespace) -> list[Row]:
    """The rows that were asked for."""
    rows = {row.name: row for row in TABLES[args.table]}
    unknown = [name for name in args.rows or () if name not in rows]
    if unknown:
        raise SystemExit(f"--rows {unknown[0]}: table {args.table} has {', '.join(rows)}")
    return [rows[name] for name in args.rows or rows]


def shaped(row: Row, args: argparse.Namespace) -> Row:
    """The row at the size that was asked for."""
    if args.quick:
        return replace(row, **QUICK)
    return row if args.steps is None else replace(row, steps=args.steps)


def key(row: Row, seed: int, args: argparse.Namespace) -> str:
    """What a run is told by: all that makes its numbers."""
    parts = [
        row.name,
        seed,
        row.steps,
        row.queries,
        args.error_rate,
        args.action_repeat,
        args.episode,
        *sorted(args.set),
    ]
    return " ".join(map(str, parts))


def single(row: Row, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run in this process."""
    import torch

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.feedback.kinds import kind_named
    from erl_vlm_ros.sim.backend import backend_spaces, make_backend
    from erl_vlm_ros.sim.metaworld import RATE_HZ
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task, repeat, extra = load_task(row.task), 1, overrides(args.set)
    if task.world == "metaworld":
        repeat = args.action_repeat
        task = replace(task, control_hz=RATE_HZ / repeat, episode_steps=args.episode // repeat)
    learner = {**LEARNER, "max_ratings": row.queries, **row.learner, **(QUICK_LEARNER if args.quick else {})}
    given = {"learner": learner, "policy_controller": row.controller, "reward_trainer": row.reward}
    values = {node: node_values(node, task, own | extra.get(node, {})) for node, own in given.items()}
    arm = make_backend("", task, (32, 32))
    spaces = backend_spaces(arm, task)
    arm.close()
    kind = kind_named(values["learner"]["feedback"])
    config = LocalConfig(
        learner=learner_config(values["learner"], task, spaces),
        reward=reward_config(values["reward_trainer"], task, spaces),
        exploration=exploration_config(values["policy_controller"]), max_steps=row.steps // repeat,
        reward_source=row.source, eval_every=row.eval_every // repeat, eval_episodes=row.eval_episodes, demos=row.demos,
        image_size=IMAGE_SIZES.get(task.world, 128),
    )  # fmt: skip

    def teacher(truth: Any) -> TruthTeacher:
        return TruthTeacher(truth, config.reward.n_classes, args.error_rate, seed + 5, kind)

    def log(found: dict[str, Any]) -> None:
        print(row.name, seed, json.dumps(found), file=sys.stderr, flush=True)

    loop = LocalLoop(task, config, seed, teacher, log)
    if row.probed:
        loop.probe = HeldOut(loop.arm, task, loop.spaces, config.exploration)
    out = loop.run()
    history = [h | {"steps": h["env_steps"] * repeat} for h in out["history"]]
    first = next((h for h in history if h["success_in_any_step"] >= LEVEL), None)
    return {
        "key": key(row, seed, args), "row": row.name, "seed": seed, "teacher": "truth with errors",
        "steps": out["env_steps"] * repeat, "queries": out["ratings_requested"],
        "rating_accuracy": out["rating_accuracy"] if row.source == "model" else None,
        "any_step": history[-1]["success_in_any_step"],
        "last_step": history[-1]["success_rate"],
        "first": first and {k: first[k] for k in ("steps", "ratings", "wall_s")},
        "minutes": round(out["wall_s"] / 60, 2), "seconds": out["seconds"], "history": history,
    }  # fmt: skip


def child(row: Row, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own; SystemExit with its error text."""
    command = [sys.executable, __file__, args.table, "--single", "--rows", row.name, "--seeds", str(seed)]
    command += ["--error-rate", str(args.error_rate), "--action-repeat", str(args.action_repeat)]
    command += ["--episode", str(args.episode), "--steps", str(row.steps), "--set", *args.set]
    command += ["--quick"] if args.quick else []
    return in_process(f"{row.name} seed {seed}", command, loud=args.out is not None)


def said(result: dict[str, Any]) -> str:
    """A line about a run that has ended."""
    figures = {name: result[name] for name in ("any_step", "last_step", "steps", "queries")}
    return f"{result['row']} seed {result['seed']}: {figures}"


if __name__ == "__main__":
    main()
