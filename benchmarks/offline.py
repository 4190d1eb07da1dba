# SPDX-License-Identifier: Apache-2.0
"""Success after learning from 50 recorded episodes of which half succeed, without a step of the policy's own.

    python benchmarks/offline.py --seeds 201 --algorithms bc bc_success iql_sparse iql

bc_success: behaviour cloning of the successful episodes only; bc_rated: of the best by the learned reward. iql_sparse:
the true reward, 1 on each frame of success; iql_sparse_final: on an episode's last frame alone, as the paper's. iql:
300 frames rated by the simulation's truth with 20% errors, learned through images. iql_pairs: 300 pairs compared. cpl:
1,000 pairs of whole episodes compared, cloning first; no reward model. --observe images: a policy from proprioception
and the camera's images, without the tracked object. --data slow: demonstrations that all succeed, at 0.35 to 0.7 of
full speed, with rests.
Prints one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

ALGORITHMS = ("bc", "bc_success", "bc_rated", "iql_sparse_final", "iql_sparse", "iql", "iql_pairs", "cpl")
TRUE_REWARDS = ("iql_sparse", "iql_sparse_final")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--seeds", nargs="+", type=int, default=[201, 202, 203])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=1000, help="of cpl")
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--observe", choices=("state", "images"), default="state")
    parser.add_argument("--data", choices=("mixed", "slow"), default="mixed")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="parameters of learner, as YAML"
    )
    parser.add_argument("--error-rate", type=float, default=0.2)
    parser.add_argument("--eval-episodes", type=int, default=20)
    args = parser.parse_args()
    for seed in args.seeds:
        from erl_vlm_ros.common.tasks import load_task
        from erl_vlm_ros.sim.demonstrations import mixed_demonstrations, slow_demonstrations

        task = load_task(args.task)
        collected = {"mixed": mixed_demonstrations, "slow": slow_demonstrations}[args.data]
        shown = collected(task, args.episodes, seed)
        for name in args.algorithms:
            print(json.dumps(run(args, name, seed, shown)), flush=True)


def run(args: argparse.Namespace, name: str, seed: int, shown: list) -> dict:
    """One run on the episodes ``shown``."""
    import numpy as np
    import torch
    import yaml

    from erl_vlm_ros.common.paths import resource
    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.data.sources import ListSource, SourcedEpisode
    from erl_vlm_ros.feedback.kinds import kind_named
    from erl_vlm_ros.graphs.offline import COMPARED_UPDATES
    from erl_vlm_ros.params.layers import flatten, read_parameter_file
    from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    started, cpu, task = time.monotonic(), time.process_time(), load_task(args.task)
    feedback = "preference" if name in ("iql_pairs", "cpl") else "rating"
    if name == "cpl":  # whole episodes; each may be compared with many others
        learner_more = {"segment_length": task.episode_steps, "selection.pairs": "uniform"}
        learner_more |= {
            "offline_updates": min(args.updates, COMPARED_UPDATES),
            "max_ratings": args.pairs,
            "first_ratings": args.pairs,
        }
    else:
        learner_more = {}
    learner = {
        "algorithm": name if name == "bc_rated" else name.partition("_")[0], "observe": args.observe,
        "offline_updates": args.updates, "catch_up": 0.0, "feedback": feedback,
        "first_ratings": args.labels // 2, "round_steps": 1, "max_ratings": args.labels, "updates_per_step": 0.0,
        "rewards_given": name in TRUE_REWARDS, "warmup_steps": 1,
    }  # fmt: skip
    asked = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in args.set)}
    reward = {"feedback": feedback, "observe": args.observe}
    graph = ["config/train_offline.yaml", *["config/params/images_offline.yaml"] * (args.observe == "images")]
    for file in map(resource, reversed(graph)):  # as the graph train_offline; the later of the two wins
        more = read_parameter_file(file)
        learner = flatten(more["learner"]) | learner
        reward |= flatten(more.get("reward_trainer", {}))
    values = node_values("reward_trainer", task, reward)
    config = LocalConfig(
        learner=learner_config(node_values("learner", task, learner | learner_more | asked), task),
        reward=reward_config(values, task),
        exploration=exploration_config(node_values("policy_controller", task)),
        eval_episodes=args.eval_episodes,
    )  # fmt: skip
    chosen = [d for d in shown if d.succeeded or name != "bc_success"]

    def rewards(success):
        """Of an episode's steps, [T], from success [T] after each; None: no true ones."""
        counts = np.arange(len(success)) == len(success) - 1 if name == "iql_sparse_final" else True
        return (success & counts).astype(np.float32) if name in TRUE_REWARDS else None

    source = ListSource([SourcedEpisode(d.episode, rewards(d.success[1:])) for d in chosen])

    def teacher(truth):
        for index, d in enumerate(chosen):
            truth.add(index, d)
        return TruthTeacher(truth, config.reward.n_classes, args.error_rate, seed, kind_named(feedback))

    loop = LocalLoop(task, config, seed, teacher, source=source)
    out = loop.run()
    return {
        "algorithm": name, "task": args.task, "observe": args.observe, "data": args.data, "seed": seed,
        "success_rate": out["success_rate"], "episodes": len(chosen), "succeeded": sum(d.succeeded for d in chosen),
        "labels": out["ratings_requested"], "updates": loop.learner.updates,
        "cpu_s": round(time.process_time() - cpu, 1), "wall_s": round(time.monotonic() - started, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
