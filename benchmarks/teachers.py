# SPDX-License-Identifier: Apache-2.0
"""What a teacher's errors do to learning, and what helps: success under independent and systematic errors.

Every cell is one run of the one-process loop (`training/local.py`), rated over HTTP by the stand-in, whose errors
are known. A *case* is how it errs, a *treatment* is what is done about it:

    none       ratings are believed as they come
    rerate     ratings in the upper half are put again in other ways (reworded, mirrored, detail), until two agree
    ensemble   every segment is put in three ways; the majority counts
    prior      the reward model holds view clusters together and keeps levels from jumping (reward_trainer.heads.*)
    both       rerate and prior
    object     prior, and frames with the tracked object in one place are of one level, wherever the end effector is
    ensemble_object: ensemble and object
    unanimous_object: three ways that must all agree, and object
    audited*: a share of the ratings (--audit-share) comes from an auditor, who errs as a person does (5%, by chance);
                the others once, or as the rest of the name says
    rerate_all, all_both, ensemble_prior: low ratings are put again, too; that and prior; ensemble and prior

Systematic errors belong to view clusters (8 cm cells of end effector and drawer); --sharing says how much another
way of asking has in common. Everything asked counts: the table tells the queries.

    python benchmarks/teachers.py --jobs 2 --out teachers.jsonl
    python benchmarks/teachers.py --cases systematic_20 --treatments audited_object --seeds 1 --out part1.jsonl
    python benchmarks/teachers.py --merge part1.jsonl part2.jsonl

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

from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.params.layers import read_parameter_file

os.environ.setdefault("OMP_NUM_THREADS", "1")

CASES = {  # independent errors, systematic errors
    "none": (0.0, 0.0),
    "independent_20": (0.20, 0.0),
    "independent_35": (0.35, 0.0),
    "systematic_10": (0.0, 0.10),
    "systematic_20": (0.0, 0.20),
    "systematic_30": (0.0, 0.30),
}
PRIOR = {"heads.cluster_size": 8, "heads.jump": 0.7, "heads.jump_weight": 10.0, "heads.start_weight": 5.0}
OBJECT = read_parameter_file(resource("config/params/systematic_errors.yaml"))["reward_trainer"]  # PRIOR is part of it
VARIED = ("reworded", "mirrored", "detail")
TREATMENTS = {  # how it is asked, changes to reward_trainer
    "none": ("once", {}),
    "rerate": ("again", {}),
    "ensemble": ("three", {}),
    "prior": ("once", PRIOR),
    "both": ("again", PRIOR),
    "rerate_all": ("all", {}),
    "all_both": ("all", PRIOR),
    "ensemble_prior": ("three", PRIOR),
    "object": ("once", OBJECT),
    "ensemble_object": ("three", OBJECT),
    "unanimous_object": ("unanimous", OBJECT),
    "audited": ("audited", {}),
    "audited_object": ("audited", OBJECT),
    "audited_ensemble_object": ("audited three", OBJECT),
}
AUDITOR_ERRORS = 0.05  # independent: a person is wrong now and then
GOAL = ("systematic_20", 0.8)


def main() -> None:
    """Run what is asked for, print the table and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", default="drawer_open")
    p.add_argument("--cases", nargs="+", default=list(CASES)[1:], choices=list(CASES))
    p.add_argument(
        "--treatments",
        nargs="+",
        default=["none", "rerate", "ensemble_object", "audited_object"],
        choices=list(TREATMENTS),
    )
    p.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="not the seeds 100 to 199 used for tuning")
    p.add_argument("--steps", type=int, default=15_000)
    p.add_argument("--ratings", type=int, default=1500, help="segments rated at most")
    p.add_argument("--sharing", type=float, default=0.5, help="of systematic errors, by other ways of asking")
    p.add_argument("--audit-share", type=float, default=0.1, help="of the ratings, by the auditor of audited*")
    p.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NODE.PARAM=VALUE", help="parameters of every run"
    )
    p.add_argument("--eval-every", type=int, default=1000, help="steps between evaluations")
    p.add_argument("--eval-episodes", type=int, default=20)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--out", type=Path, help="JSON lines, one a run; kept and continued")
    p.add_argument("--merge", nargs="+", type=Path, help="only print the table of these files' rows")
    p.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.single:
        print(json.dumps(single(args)))
        return
    if args.merge:
        rows = [row for path in args.merge for row in load(path)]
    else:
        rows = run_all(args)
    print(table(rows))
    print(json.dumps({"benchmark": "teachers", "task": args.task, "goal": goal(rows), "rows": cells(rows)}))


def run_all(args: argparse.Namespace) -> list[dict]:
    """The rows that are asked for; those in --out are taken from there."""
    known = load(args.out)
    wanted = [(c, t, s) for s in args.seeds for c in args.cases for t in args.treatments]
    rows = [row for row in known if any(matches(row, args, *job) for job in wanted)]
    todo = [job for job in wanted if not any(matches(row, args, *job) for row in rows)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda job: child(args, *job), todo):
            rows.append(row)
            name = f"{row['case']}, {row['treatment']}, seed {row['seed']}"
            print(f"  {name}: {row['success_rate']} after {row['env_steps']} steps", file=sys.stderr, flush=True)
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return rows


def single(args: argparse.Namespace) -> dict:
    """One run in this process."""
    import torch

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.feedback.teacher_configs import AuditConfig
    from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    case, treatment, seed = args.cases[0], args.treatments[0], args.seeds[0]
    task, extra = load_task(args.task), overrides(args.set)
    learner = {"max_ratings": args.ratings} | extra.get("learner", {})
    reward = TREATMENTS[treatment][1] | extra.get("reward_trainer", {})
    config = LocalConfig(
        learner=learner_config(node_values("learner", task, learner), task),
        reward=reward_config(node_values("reward_trainer", task, reward), task),
        exploration=exploration_config(node_values("policy_controller", task, extra.get("policy_controller"))),
        max_steps=args.steps, eval_every=args.eval_every, eval_episodes=args.eval_episodes,
    )  # fmt: skip
    how, n = TREATMENTS[treatment][0], config.reward.n_classes
    standin = StandinProcess(seed, *CASES[case], "--sharing", str(args.sharing))
    with contextlib.ExitStack() as stack:
        folder, url = Path(stack.enter_context(tempfile.TemporaryDirectory())), stack.enter_context(standin)
        teacher = make_teacher(how.removeprefix("audited").strip() or "once", url, task, n, folder)
        if how.startswith("audited"):
            expert = stack.enter_context(StandinProcess(seed + 1, AUDITOR_ERRORS, 0.0))
            (folder / "auditor").mkdir()
            teacher = AuditedTeacher(teacher, make_teacher("once", expert, task, n, folder / "auditor"),
                                     AuditConfig(share=args.audit_share))  # fmt: skip
        out = LocalLoop(task, config, seed, lambda truth: teacher.label_batch).run()
        stats = teacher.stats()
        teacher.close()
    keep = ("rerated", "rerate_queries", "rerate_disagreed", "rerate_changed", "rerate_undecided", "disagreement")
    keep += ("audits", "audit_agreement", "audit_too_high", "audit_too_low")
    return out | key(args, case, treatment, seed) | {
        "queries": stats["spent"],
        "teacher": {name: stats[name] for name in keep if name in stats},
    }  # fmt: skip


def make_teacher(how: str, url: str, task, n_classes: int, folder: Path):
    """Who rates: once, again where the rating is high, or three ways (the most votes, or all of them).

    All share one ledger and budget.
    """
    from erl_vlm_ros.feedback.ledger.ledger import Ledger
    from erl_vlm_ros.feedback.teacher_configs import ReratingConfig, VoteConfig
    from erl_vlm_ros.feedback.teachers.ensemble import EnsembleTeacher
    from erl_vlm_ros.feedback.teachers.rerating import ReratingTeacher
    from erl_vlm_ros.feedback.teachers.varied import VariedTeacher
    from erl_vlm_ros.feedback.vlm.config import RaterConfig
    from erl_vlm_ros.feedback.vlm.rater import VlmRater
    from erl_vlm_ros.feedback.vlm.variations import VARIATIONS

    ledger = Ledger(folder / "ledger.sqlite")

    def rater(prompts: str) -> VlmRater:
        return VlmRater(
            RaterConfig(base_url=url, n_classes=n_classes, max_queries=10**6, prompts=prompts), task, ledger
        )

    def varied(name: str) -> VariedTeacher:
        return VariedTeacher(rater(VARIATIONS[name].prompts), VARIATIONS[name])

    if how == "once":
        return rater("default")
    if how in ("again", "all"):
        config = ReratingConfig(from_class=0 if how == "all" else None)
        return ReratingTeacher(rater("default"), {name: varied(name) for name in VARIED}, config)
    votes = VoteConfig(min_margin=1.0 if how == "unanimous" else 0.0)
    return EnsembleTeacher({"default": rater("default")} | {name: varied(name) for name in VARIED[:2]}, votes)


def key(args: argparse.Namespace, case: str, treatment: str, seed: int) -> dict:
    """What makes a run: two rows of the same key are the same run."""
    return {
        "task": args.task, "case": case, "treatment": treatment, "seed": seed, "steps": args.steps,
        "ratings": args.ratings, "sharing": args.sharing, "set": args.set, "eval_every": args.eval_every,
        "eval_episodes": args.eval_episodes,
        "audit_share": args.audit_share if treatment.startswith("audited") else None,
    }  # fmt: skip


def child(args: argparse.Namespace, case: str, treatment: str, seed: int) -> dict:
    """One run in a process of its own; its error text on failure."""
    command = [sys.executable, __file__, "--single", "--cases", case, "--treatments", treatment, "--seeds", str(seed)]
    for name in ("task", "steps", "ratings", "sharing", "audit_share", "eval_every", "eval_episodes"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    done = subprocess.run([*command, "--set", *args.set], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case}, {treatment}, seed {seed} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def load(path: Path | None) -> list[dict]:
    """Rows of earlier calls."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def matches(row: dict, args: argparse.Namespace, case: str, treatment: str, seed: int) -> bool:
    """Whether a row is this run."""
    return all(row.get(name) == value for name, value in key(args, case, treatment, seed).items())


def cells(rows: list[dict]) -> list[dict]:
    """Per case, treatment, steps and sharing: final success of each seed, mean of the last three evaluations, and the
    first crossings of 80%."""
    out = []
    kinds = [(c, t, steps, share) for c in CASES for t in TREATMENTS for steps, share in sorted(
        {(r["steps"], r["sharing"]) for r in rows})]  # fmt: skip
    for kind in kinds:
        own = [r for r in rows if (r["case"], r["treatment"], r["steps"], r["sharing"]) == kind]
        if not own:
            continue
        own.sort(key=lambda r: r["seed"])
        first = [next((h["env_steps"] for h in r["history"] if h["success_rate"] >= 0.8), None) for r in own]
        out.append({
            "case": kind[0], "treatment": kind[1], "steps": kind[2], "sharing": kind[3],
            "seeds": [r["seed"] for r in own], "final": [r["success_rate"] for r in own],
            "last3": [round(statistics.mean(h["success_rate"] for h in r["history"][-3:]), 3) for r in own],
            "steps_to_80": first, "segments": [r["ratings_requested"] for r in own],
            "queries": [int(r["queries"]) for r in own],
            "rating_accuracy": [round(r["rating_accuracy"], 3) for r in own],
            "wall_s": [round(r["wall_s"]) for r in own],
        })  # fmt: skip
    return out


def goal(rows: list[dict]) -> dict | None:
    """Whether the goal is reached, by the treatment with the best mean final success; None without such rows."""
    own = [c for c in cells(rows) if c["case"] == GOAL[0]]
    if not own:
        return None
    best = max(own, key=lambda c: statistics.mean(c["final"]))
    mean = statistics.mean(best["final"])
    return {"case": GOAL[0], "treatment": best["treatment"], "mean_final": round(mean, 3), "reached": mean >= GOAL[1]}


def table(rows: list[dict]) -> str:
    """Markdown table; `-` is 'not within the steps'."""
    head = ["case", "treatment", "steps", "sharing", "final success, per seed", "mean of last 3", "steps to 80%"]
    head += ["segments", "queries", "ratings right"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in cells(rows):
        line = [cell["case"], cell["treatment"], str(cell["steps"]), f"{cell['sharing']:g}"]
        for name in ("final", "last3", "steps_to_80", "segments", "queries", "rating_accuracy"):
            line.append(" / ".join("-" if v is None else f"{v:g}" for v in cell[name]))
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
