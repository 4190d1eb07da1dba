# SPDX-License-Identifier: Apache-2.0
"""From recordings to the world: IQL learns from 50 episodes of mixed skill, then another algorithm takes over.

    python benchmarks/takeover.py --seeds 341 342 343
    python benchmarks/takeover.py --seeds 341 --algorithms sac iql --set sac.take_policy=false

One process; 300 ratings by the simulation's truth with 20% errors, learned from through images, then 50 further ones
every 500 steps of its own. Evaluates before the first of these and every 500. Prints one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

EVERY = 500  # steps between evaluations
OFFLINE = {
    "algorithm": "iql", "catch_up": 0.0, "first_ratings": 150, "round_steps": 1, "max_ratings": 300,
    "updates_per_step": 0.0, "warmup_steps": 1,
}  # fmt: skip


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--seeds", nargs="+", type=int, default=[341, 342, 343])
    parser.add_argument("--algorithms", nargs="+", choices=("sac", "iql"), default=["sac"], help="online")
    parser.add_argument("--episodes", type=int, default=50, help="recorded ones")
    parser.add_argument("--updates", type=int, default=4000, help="of IQL on the recordings")
    parser.add_argument("--steps", type=int, default=2000, help="online")
    parser.add_argument("--eval-episodes", type=int, default=20)
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="parameters of learner online, YAML"
    )
    parser.add_argument("--error-rate", type=float, default=0.2)
    args = parser.parse_args()
    for seed in args.seeds:
        learned = offline(args, seed)
        for algorithm in args.algorithms:
            print(json.dumps(online(args, algorithm, seed, learned)), flush=True)


def loop_of(args: argparse.Namespace, learner: dict[str, Any], seed: int, shown: list, source: Any = None) -> Any:
    """The one-process loop; it knows the truth of the episodes ``shown``. Without a source it goes on from them."""
    import torch

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = load_task(args.task)
    config = LocalConfig(
        learner=learner_config(node_values("learner", task, learner), task),
        reward=reward_config(node_values("reward_trainer", task), task),
        exploration=exploration_config(node_values("policy_controller", task)),
        max_steps=sum(d.episode.steps for d in shown) + args.steps,
        eval_every=EVERY,
        eval_episodes=args.eval_episodes,
    )

    def teacher(truth):
        for index, d in enumerate(shown):
            truth.add(index, d)
        errors = seed if source is not None else seed + 1000
        return TruthTeacher(truth, config.reward.n_classes, args.error_rate, errors)

    return LocalLoop(task, config, seed, teacher, source=source)


def offline(args: argparse.Namespace, seed: int) -> tuple[list, dict, dict]:
    """Episodes, and the states of learner and reward trainer after IQL has learned from them."""
    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.data.sources import ListSource, SourcedEpisode
    from erl_vlm_ros.sim.demonstrations import mixed_demonstrations

    shown = mixed_demonstrations(load_task(args.task), args.episodes, seed)
    source = ListSource([SourcedEpisode(d.episode, None) for d in shown])
    loop = loop_of(args, OFFLINE | {"offline_updates": args.updates}, seed, shown, source)
    loop.run()
    return shown, loop.learner.state_dict(), loop.trainer.state_dict()


def online(args: argparse.Namespace, algorithm: str, seed: int, learned: tuple[list, dict, dict]) -> dict:
    """One run on from there."""
    import yaml

    shown, learner_state, trainer_state = learned
    chosen = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in args.set)}
    values = {"algorithm": algorithm, "max_ratings": OFFLINE["max_ratings"] + args.steps // 10, **chosen}
    loop, cpu = loop_of(args, values, seed, shown), time.process_time()
    loop.go_on_from(learner_state, trainer_state)
    first = loop.learner.env_steps
    loop.run()
    return {
        "algorithm": algorithm, "seed": seed, "set": chosen,
        "steps": [row["env_steps"] - first for row in loop.history],
        "success_rate": [row["success_rate"] for row in loop.history],
        "ratings": loop.learner.schedule.requested, "cpu_s": round(time.process_time() - cpu, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
