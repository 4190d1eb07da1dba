# SPDX-License-Identifier: Apache-2.0
"""Ratings, preferences and both, online, at an equal number of queries; the simulation's truth answers, 20% wrong.

    python benchmarks/preferences.py --feedback preference rating --seeds 201 202 203 --steps 9000
    python benchmarks/preferences.py --feedback both rating preference --seeds 1 2 3 --steps 6000 --queries 300

Wrong is another class of a rating, and the other side of a comparison. Prints the evaluations and one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument(
        "--feedback", nargs="+", choices=("rating", "preference", "both"), default=["rating", "preference"]
    )
    parser.add_argument("--pairs", default="frames", help="learner.selection.pairs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[201, 202, 203])
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--queries", type=int, default=900, help="learner.max_ratings")
    parser.add_argument("--error-rate", type=float, default=0.2)
    args = parser.parse_args()
    for seed in args.seeds:
        for feedback in args.feedback:
            print(json.dumps(run(args, feedback, seed)), flush=True)


def run(args: argparse.Namespace, feedback: str, seed: int) -> dict:
    """One run."""
    import torch

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, truth_teacher

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = load_task(args.task)
    given = {"feedback": feedback, "selection.pairs": args.pairs, "max_ratings": args.queries}
    learner = node_values("learner", task, given)
    config = LocalConfig(
        learner=learner_config(learner, task),
        reward=reward_config(node_values("reward_trainer", task, {"feedback": feedback}), task),
        exploration=exploration_config(node_values("policy_controller", task)),
        max_steps=args.steps,
    )
    loop = LocalLoop(
        task, config, seed, lambda truth: truth_teacher(feedback, task, 0, args.error_rate, seed, truth),
        log=lambda row: print(row, file=sys.stderr, flush=True),
    )  # fmt: skip
    return {"feedback": feedback, "pairs": args.pairs, **loop.run()}


if __name__ == "__main__":
    main()
