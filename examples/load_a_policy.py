# SPDX-License-Identifier: Apache-2.0
"""Let a trained policy drive the simulated arm for some episodes, and count the successes.

python examples/load_a_policy.py runs/train_sim --episodes 5           a run directory
python examples/load_a_policy.py runs/local/policy.bundle --episodes 5 a file (train_in_process.py, erl-vlm export)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.actor_source import read_file
from erl_vlm_ros.runs.export import export_actor
from erl_vlm_ros.sim.env import ArmEnv


def main() -> None:
    """Load, drive, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="run directory, or file of an actor bundle")
    parser.add_argument("--task", default="drawer_open", help="name or file of a task")
    parser.add_argument("--episodes", type=int, default=5)
    args = parser.parse_args()

    env = ArmEnv(args.task)
    with tempfile.TemporaryDirectory() as folder:
        file = args.policy
        if file.is_dir():
            file = Path(folder) / "policy.bundle"
            export_actor(args.policy, file)
        policy, version = read_file(str(file), env.spaces)  # refused where its spaces are not the arm's
    print(f"policy, version {version}: {policy.obs_dim} observations, {policy.act_dim} actions")
    successes = 0
    for episode in range(args.episodes):
        observation, info = env.reset(seed=1_000_000 + episode)
        for _ in range(load_task(args.task).episode_steps):
            observation, _, _, _, info = env.step(policy.act(observation, deterministic=True))
        successes += info["success"]
    env.close()
    print(f"{successes} of {args.episodes} episodes succeeded")


if __name__ == "__main__":
    main()
