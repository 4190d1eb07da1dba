# SPDX-License-Identifier: Apache-2.0
"""What exploration comes to before anything is learned: true classes reached by kinds of waypoints. Physics alone.

    python benchmarks/exploration.py --seeds 701 702 703 704 705 706 707 708 --steps 3000

uniform: anywhere in the workspace. held_up: half of them near where the arm was held up before (training/held_up.py),
as without demonstrations. object: half of them near the tracked object, as with observe: state.
Prints a line for each run, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np

from erl_vlm_ros.agents.exploration import RolloutPolicy
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.spaces import LINEAR
from erl_vlm_ros.sim.backend import backend_spaces, make_backend, obey
from erl_vlm_ros.sim.rollout import observed
from erl_vlm_ros.training.configs import exploration_config, node_values
from erl_vlm_ros.training.held_up import held_up

KINDS = ("uniform", "held_up", "object")


def main() -> None:
    """Explore, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[701])
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    rows = [explore(args, kind, seed) for seed in args.seeds for kind in args.kinds]
    print(json.dumps({"benchmark": "exploration", "task": args.task, "steps": args.steps, "rows": rows}))


def explore(args: argparse.Namespace, kind: str, seed: int) -> dict:
    """Frames of each true class, and in how many episodes each was the best."""
    task = load_task(args.task)
    arm = make_backend("", task, (64, 64))
    spaces = backend_spaces(arm, task, 64)
    config = exploration_config(node_values("policy_controller", task))
    policy = RolloutPolicy(config if kind == "object" else replace(config, object_share=0.0), task, spaces, seed)
    linear, n = spaces.action.slice(LINEAR), task.n_classes
    before, after, commands, first = [], [], [], []
    frames, best = np.zeros(n, int), np.zeros(n, int)
    for episode in range(args.steps // task.episode_steps):
        if kind == "held_up" and episode:
            places = np.array(after)[held_up(*map(np.array, (before, after, commands, first)))]
            policy.demonstrated(places.astype(np.float32))
        policy.begin_episode(explore=True, evaluation=False)
        arm.reset(int(np.random.SeedSequence([seed, episode]).generate_state(1)[0]))
        reached = 0
        for step in range(task.episode_steps):
            before.append(arm.observe().ee_position.copy())
            action = policy.act(observed(arm, spaces.observation), None)
            obey(arm, action, spaces.action)
            after.append(arm.observe().ee_position.copy())
            commands.append(action[linear])
            first.append(step == 0)
            level = int(arm.truth()[f"class_{n}"])
            frames[level] += 1
            reached = max(reached, level)
        best[reached] += 1
    arm.close()
    row = {"kind": kind, "seed": seed, "frames": frames.tolist(), "episodes": best.tolist()}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
