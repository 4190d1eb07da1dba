# SPDX-License-Identifier: Apache-2.0
"""Success against steps, ratings and wall time: our default, the paper's reward model, its ablations, and truth.

Every run is the one-process loop (`training/local.py`): the same parts as the graph, without DDS. Ratings come
from the stand-in server over HTTP with the given error rate; `sparse` and `dense` use the simulator's truth.

    python benchmarks/learning.py --jobs 2 --out learning.jsonl
    python benchmarks/learning.py --task sweep_into --variants default --steps 25000

Rows that are in --out already are not run again. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from standin_process import StandinProcess, overrides

os.environ.setdefault("OMP_NUM_THREADS", "1")

ERL = {"reward_model": "erl_vlm"}
VARIANTS = {
    "default": ("trunk and heads (our default)", "model", {}),
    "erl_vlm": ("ERL-VLM: MAE, stratified, weights", "model", ERL),
    "no_mae": ("ERL-VLM without MAE (cross-entropy)", "model", ERL | {"erl.loss": "ce"}),
    "no_stratified": ("ERL-VLM without stratified batches", "model", ERL | {"erl.stratified": False}),
    "no_weights": ("ERL-VLM without class weights", "model", ERL | {"erl.class_weights": False}),
    "vanilla_rbrl": (
        "vanilla RbRL",
        "model",
        ERL | {"erl.loss": "ce", "erl.stratified": False, "erl.class_weights": False},
    ),
    "sparse": ("true sparse reward", "sparse", {}),
    "dense": ("true dense reward (upper bound)", "dense", {}),
}


def main() -> None:
    """Run what is asked for, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1, 2, 3], help="not the seeds 100 to 199 used for tuning"
    )
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--error-rate", type=float, default=0.2)
    parser.add_argument("--systematic-rate", type=float, default=0.0)
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="NODE.PARAM=VALUE",
        help="parameter overrides for every run",
    )
    parser.add_argument("--observe", default="state", choices=("state", "images"), help="what the policy sees")
    parser.add_argument("--cameras", nargs="+", default=[], help="simulated cameras by name; none: the scene's alone")
    parser.add_argument("--demos", type=int, default=0, help="rough scripted demonstrations before anything else")
    parser.add_argument("--eval-every", type=int, default=1000, help="steps between evaluations; 0: none")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="JSON lines, one a run; kept and continued")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.single:
        print(json.dumps(single(args)))
        return
    rows = load(args.out)
    wanted = [(v, s) for s in args.seeds for v in args.variants]
    todo = [(v, s) for v, s in wanted if not any(matches(row, args, v, s) for row in rows)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda job: child(args, *job), todo):
            rows.append(row)
            print(
                f"  {row['variant']} seed {row['seed']}: {row['success_rate']} after {row['env_steps']} steps",
                file=sys.stderr,
            )
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    rows = [row for row in rows if any(matches(row, args, v, s) for v, s in wanted)]
    if args.eval_every:
        print(table(rows, args))
    print(
        json.dumps(
            {
                "benchmark": "learning",
                "task": args.task,
                "error_rate": args.error_rate,
                "rows": summary(rows, args) if args.eval_every else [],
            }
        )
    )


def single(args: argparse.Namespace) -> dict:
    """One run in this process."""
    import torch

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    variant, seed = args.variants[0], args.seeds[0]
    _, source, reward = VARIANTS[variant]
    task, extra = load_task(args.task), overrides(args.set)
    seen = observing(args.observe, args.demos, args.cameras)
    values = {
        node: node_values(node, task, seen.get(node, {}) | own | extra.get(node, {}))
        for node, own in (("learner", {}), ("policy_controller", {}), ("reward_trainer", reward))
    }
    config = LocalConfig(
        learner=learner_config(values["learner"], task), reward=reward_config(values["reward_trainer"], task),
        demos=args.demos, cameras=tuple(args.cameras),
        exploration=exploration_config(values["policy_controller"]), max_steps=args.steps, reward_source=source,
        eval_every=args.eval_every,
    )  # fmt: skip
    standin = StandinProcess(seed, args.error_rate, args.systematic_rate)
    endpoint = standin if source == "model" else contextlib.nullcontext()
    with tempfile.TemporaryDirectory() as folder, endpoint as url:
        loop = LocalLoop(
            task, config, seed, lambda truth: teacher(url, task, config, folder, extra.get("vlm_rater", {}))
        )
        out = loop.run()
    return out | {
        "variant": variant,
        "error_rate": args.error_rate,
        "systematic_rate": args.systematic_rate,
        "set": args.set,
        "steps": args.steps,
        "observe": args.observe,
        "demos": args.demos,
        "cameras": args.cameras,
    }


def observing(what: str, demos: int, cameras: list[str]) -> dict:
    """Node -> parameters of a policy that sees this."""
    from erl_vlm_ros.params.layers import parse_overrides, settings_of

    file = "images" if demos else "images_alone"
    given = parse_overrides(settings_of(file)) if what == "images" else {}
    shared = {"observe": what} | ({"cameras": cameras} if cameras else {})
    return {node: given.get(node, {}) | shared for node in ("learner", "policy_controller", "reward_trainer")}


def teacher(url: str | None, task, config, folder: str, settings: dict):
    """Rates over HTTP, with these settings of vlm_rater; a run on the simulator's truth has no teacher."""
    if url is None:
        return None
    from erl_vlm_ros.feedback.ledger.ledger import Ledger
    from erl_vlm_ros.feedback.vlm.config import RaterConfig
    from erl_vlm_ros.feedback.vlm.rater import VlmRater

    rater_config = RaterConfig(
        **{"n_classes": config.reward.n_classes, "max_queries": 10**6} | settings | {"base_url": url}
    )
    return VlmRater(rater_config, task, Ledger(Path(folder) / "ledger.sqlite")).label_batch


def child(args: argparse.Namespace, variant: str, seed: int) -> dict:
    """One run in a process of its own; its error text on failure."""
    command = [
        sys.executable,
        __file__,
        "--single",
        "--task",
        args.task,
        "--variants",
        variant,
        "--seeds",
        str(seed),
        "--steps",
        str(args.steps),
        "--eval-every",
        str(args.eval_every),
    ]
    command += ["--observe", args.observe, "--demos", str(args.demos)]
    command += ["--cameras", *args.cameras] if args.cameras else []
    command += [
        "--error-rate",
        str(args.error_rate),
        "--systematic-rate",
        str(args.systematic_rate),
        "--set",
        *args.set,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{variant} seed {seed} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def load(path: Path | None) -> list[dict]:
    """Rows of earlier calls."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def matches(row: dict, args: argparse.Namespace, variant: str, seed: int) -> bool:
    """Whether a row is this run."""
    keys = {
        "variant": variant,
        "seed": seed,
        "task": args.task,
        "error_rate": args.error_rate,
        "systematic_rate": args.systematic_rate,
    }
    given = (row.get("observe", "state"), row.get("demos", 0), row.get("cameras", []))
    input_ = given == (args.observe, args.demos, args.cameras)
    return input_ and all(row[k] == v for k, v in (keys | {"set": args.set, "steps": args.steps}).items())


def first_at(row: dict, level: float) -> dict | None:
    """The first evaluation at or above a success rate; a noisy first crossing."""
    return next((h for h in row["history"] if h["success_rate"] >= level), None)


def summary(rows: list[dict], args: argparse.Namespace) -> list[dict]:
    """Per variant: final success of each seed (mean of the last three evaluations too), and first crossings of 80%."""
    out = []
    for variant in args.variants:
        own = sorted((r for r in rows if r["variant"] == variant), key=lambda r: r["seed"])
        crossings = [first_at(r, 0.8) for r in own]
        out.append({
            "variant": variant, "seeds": [r["seed"] for r in own], "final": [r["success_rate"] for r in own],
            "last3": [round(statistics.mean(h["success_rate"] for h in r["history"][-3:]), 3) for r in own],
            "steps_to_80": [c and c["env_steps"] for c in crossings],
            "ratings_to_80": [c and c["ratings"] for c in crossings],
            "wall_s_to_80": [c and c["wall_s"] for c in crossings], "wall_s": [round(r["wall_s"], 1) for r in own],
            "rating_accuracy": [round(r["rating_accuracy"], 3) for r in own],
        })  # fmt: skip
    return out


def table(rows: list[dict], args: argparse.Namespace) -> str:
    """Markdown table; `-` is 'not within the steps'."""
    head = ["variant", "final success, per seed", "mean of last 3", "steps to 80%", "ratings to 80%"]
    head += ["wall s to 80%", "wall s"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in summary(rows, args):
        cells = [VARIANTS[row["variant"]][0]]
        for key in ("final", "last3", "steps_to_80", "ratings_to_80", "wall_s_to_80", "wall_s"):
            cells.append(" / ".join("-" if v is None else f"{v:g}" for v in row[key]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
