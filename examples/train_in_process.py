# SPDX-License-Identifier: Apache-2.0
"""Train a policy in this one process, without ROS: simulated arm, ratings, reward model, SAC.

    python examples/train_in_process.py --steps 12000 --out runs/local

The ratings are the simulation's truth with one error in ten; any object that turns a QueryBatch into a LabelBatch does
as well (write_a_teacher.py, a VlmRater's `label_batch`). Writes OUT/policy.bundle and OUT/checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.checkpoint import save_state
from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher


def main() -> None:
    """Train, evaluate, write the policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open", help="name or file of a task")
    parser.add_argument("--steps", type=int, default=12_000, help="control steps")
    parser.add_argument("--warmup", type=int, default=1000, help="steps of exploration before learning")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    args = parser.parse_args()

    task = load_task(args.task)
    # The parameters of the nodes (docs/nodes.md), with the task file's own values.
    learner = learner_config(node_values("learner", task, {"warmup_steps": args.warmup}), task)
    reward = reward_config(node_values("reward_trainer", task), task)
    exploration = exploration_config(node_values("policy_controller", task))
    config = LocalConfig(learner, reward, exploration, max_steps=args.steps, eval_every=args.steps, eval_episodes=5)
    loop = LocalLoop(task, config, 0, lambda truth: TruthTeacher(truth, reward.n_classes, 0.1, seed=1), log=print)
    print(loop.run())

    (args.out / "checkpoint").mkdir(parents=True, exist_ok=True)
    (args.out / "policy.bundle").write_bytes(encode(loop.learner.actor_bundle()))
    save_state(learner_state.path_in(args.out / "checkpoint"), loop.learner.state_dict(), learner_state.KIND)


if __name__ == "__main__":
    main()
