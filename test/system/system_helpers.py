# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of whole graphs."""

from __future__ import annotations

import os
import sys

# A run that is over in a minute: little exploration, few ratings, small evaluations.
QUICK = {
    "learner.warmup_steps": 300,
    "learner.max_warmup_steps": 300,
    "learner.first_ratings": 40,
    "learner.round_steps": 200,
    "learner.round_ratings": 15,
    "policy_controller.eval_every": 400,
    "policy_controller.eval_episodes": 2,
    "policy_controller.final_eval_episodes": 3,
    "reward_trainer.trunk.first_iterations": 60,
    "reward_trainer.trunk.iterations": 20,
}


def quick_settings(**more):
    return [f"--set={key}={value}" for key, value in {**QUICK, **more}.items()]


def environment():
    """This process's variables less what would lead nodes elsewhere."""
    return {k: v for k, v in os.environ.items() if k not in ("ROS_DOMAIN_ID", "DISPLAY", "WAYLAND_DISPLAY")}


def command(*arguments):
    return [sys.executable, "-m", "erl_vlm_ros.cli", *map(str, arguments)]
