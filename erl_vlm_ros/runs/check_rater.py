# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm check-rater`: its options, and the check from start to end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task, load_task
from erl_vlm_ros.feedback.check.check import ask, make_candidates
from erl_vlm_ros.feedback.check.frames import load_frames, read_reference
from erl_vlm_ros.feedback.check.report import CURVE, WORDS, CheckReport
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.limits.prices import load_prices
from erl_vlm_ros.feedback.vlm.answer import PROBLEMS
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.layers import parse_overrides
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.tables import PARAMETERS

HELP = "find out how far a model's ratings can be trusted, before a robot moves"


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `check-rater` to the command line."""
    p = commands.add_parser("check-rater", help=HELP, description=HELP[0].upper() + HELP[1:] + ".")
    p.add_argument("--task", required=True, help="a shipped task or a task YAML")
    p.add_argument(
        "--frames", required=True, metavar="DIR|BAG|sim",
        help="images along trajectories: a folder (a sub-folder a trajectory), a rosbag2 recording, or 'sim'",
    )  # fmt: skip
    p.add_argument("--repeats", type=int, default=10, metavar="N", help="queries about every frame (default 10)")
    p.add_argument("--count", type=int, default=150, metavar="N", help="frames at most (default 150)")
    p.add_argument("--classes", type=int, nargs="+", metavar="N", help="n to try (default 2, 3 and the task's own)")
    p.add_argument("--model", nargs="+", default=["stand-in"], metavar="M", help="models to compare")
    p.add_argument("--prompts", nargs="+", default=["default"], metavar="P", help="prompt sets to compare")
    p.add_argument(
        "--variation", nargs="+", default=[], metavar="V",
        help="reworded, mirrored, detail: how much of the first model's errors they share (for re-rating)",
    )  # fmt: skip
    p.add_argument("--reference", metavar="CSV", help="true classes: columns frame and class_N (or class)")
    p.add_argument("--good", action="store_true", help="the trajectories do the task well: ratings should rise")
    p.add_argument("--topic", default="", help="the bag's topic")
    p.add_argument("--out", metavar="DIR", help="folder to make or to go on in (default check/TASK)")
    p.add_argument("--base-url", default=RaterConfig.base_url, help="the endpoint (default %(default)s)")
    p.add_argument("--api-key-env", default="", help="NAME of the environment variable with the API key")
    p.add_argument("--temperature", type=float, default=0.0, help="as it will be in training (default 0)")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="any other setting of vlm_rater that concerns the model: max_tokens, reasoning_effort, ... (repeatable)",
    )  # fmt: skip
    p.add_argument("--one-stage", action="store_true", help="class and analysis in one query")
    p.add_argument("--concurrency", type=int, default=RaterConfig.concurrency, metavar="N", help="default %(default)s")
    p.add_argument("--max-queries", type=int, default=10_000, metavar="N", help="budget in ratings (default 10000)")
    p.add_argument("--prices", default="", metavar="YAML", help="price table (default: the shipped one)")
    p.add_argument("--seed", type=int, default=0, help="of simulated frames and of the tests' shuffles")


def run(arguments: argparse.Namespace) -> int:
    """Do the check. Prints the verdict; returns 0. Raises ConfigError for anything wrong with the options."""
    a, task = arguments, load_task(arguments.task)
    classes = _classes(a.classes, task)
    candidates = make_candidates(a.model, a.prompts, a.variation)
    prices = load_prices(a.prices)
    frames = load_frames(a.frames, task.name, a.count, a.seed, a.topic, a.good)
    if a.reference:
        frames.reference |= read_reference(a.reference, frames, {n: task.class_names(n) for n in classes})
    folder = Path(a.out or f"check/{task.name}")
    folder.mkdir(parents=True, exist_ok=True)
    config = RaterConfig(
        base_url=a.base_url, model=a.model[0], api_key_env=a.api_key_env, two_stage=not a.one_stage,
        concurrency=a.concurrency, max_queries=a.max_queries, temperature=a.temperature, prices=a.prices,
    )  # fmt: skip
    config = replace(config, **_settings(a.set))
    total = len(frames) * a.repeats * len(candidates) * len(classes)
    _say(f"{len(frames)} frames, {total:,} ratings to ask for; the ledger is {folder / 'ledger.sqlite'}")
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        answers = ask(frames, candidates, classes, a.repeats, config, task, ledger, _say)
    finally:
        ledger.close()
    if all((x.ratings < 0).all() for x in answers):
        reasons = ", ".join(sorted({reason for x in answers for reason in x.reasons}))
        advice = "; ".join(PROBLEMS[r] for x in answers for r, _ in x.reasons.most_common(1) if r in PROBLEMS)
        text = f"not one valid rating ({reasons}): {advice or 'see --model, --api-key-env and the ledger'}"
        raise ConfigError(text, code=Code.UNREACHABLE, parameter="model")
    report = CheckReport(frames, answers, task, prices, _full_run(task), a.seed)
    print("\n".join(report.write(folder)))
    print(f"report: {folder / WORDS}, curve: {folder / CURVE}")
    return 0


def _settings(texts: list[str]) -> dict[str, Any]:
    """``--set`` as fields of RaterConfig; ``vlm_rater.`` before a name is optional."""
    prefix = "vlm_rater."
    given = parse_overrides([text if text.startswith(prefix) else prefix + text for text in texts]).get("vlm_rater", {})
    values = resolve("vlm_rater", PARAMETERS["vlm_rater"], given)
    known = {field.name for field in fields(RaterConfig)}
    if given.keys() - known:
        wrong = sorted(given.keys() - known)[0]
        problem = f"--set {wrong}: no setting of how a model is asked; choose from {', '.join(sorted(known))}"
        raise ConfigError(problem, code=Code.UNKNOWN, parameter=f"vlm_rater.{wrong}")
    return {name: values[name] for name in given}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _classes(asked: list[int] | None, task: Task) -> list[int]:
    if asked:
        for n in asked:
            task.class_names(n)  # refuses an n that the task does not describe
        return sorted(set(asked))
    return sorted({n for n in (2, 3, task.n_classes) if n in task.classes})


def _full_run(task: Task) -> int:
    """Ratings of a whole training run, as the task or the table says."""
    default = next(p.default for p in PARAMETERS["learner"] if p.name == "max_ratings")
    return int(renamed.layer(task.parameters).get("learner", {}).get("max_ratings", default))
