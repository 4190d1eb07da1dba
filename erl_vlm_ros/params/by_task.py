# SPDX-License-Identifier: Apache-2.0
"""What a task file may set. A task may come from another user: all that is not named here belongs to run and robot.

A new parameter is therefore not a task's to set until it is added here. Never to be added: addresses, keys and names
of their variables, files, folders, ports, devices, joints, who rates, what may be spent, and any limit of the guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.param import file_of

#: node -> parameters, or ``group.*``
BY_TASK: dict[str, tuple[str, ...]] = {
    "policy_controller": (
        "exploration.*", "max_steps", "eval_every", "eval_episodes", "final_eval_episodes", "end_on_label",
    ),
    "learner": (
        "profile", "warmup_steps", "max_warmup_steps", "first_ratings", "round_steps", "round_ratings", "max_ratings",
        "segment_length", "updates_per_step", "min_skill", "std_bonus", "demo_share", "success_reward",
        "policy_cameras", "sac.*",
        "iql.*", "bc.*", "cpl.*",
        "selection.*",
    ),
    "reward_trainer": ("reward_model", "reward_cameras", "objective", "soft_labels", "trunk.*", "heads.*", "erl.*"),
    "vlm_rater": (
        "two_stage", "class_words", "frames", "feedback", "rater_cameras", "both_orders", "shown_frames",
        "modalities", "modality_form", "rerate.*",
    ),
}  # fmt: skip
_NAMES = ("feedback", "reward_model", "objective")  # of members of a seam; a module's is not a task's to give


def allowed(node: str, key: str) -> bool:
    """Whether a task file may set ``key`` of ``node``."""
    return any(key.startswith(name[:-1]) if name.endswith(".*") else key == name for name in BY_TASK.get(node, ()))


def check_task(layer: Mapping[str, Mapping[str, Any]], origin: str) -> None:
    """Refuse what is not a task's to set. ConfigError names the parameter and the way out.

    Args:
        layer: node -> dotted name -> value.

    Values are not shown: a key may stand in the place of its variable's name.
    """
    for node, values in layer.items():
        for key, value in renamed.parameters(node, values).items():
            if key in _NAMES and ":" in str(value):
                text = (
                    f"{origin}: {node}.{key} names a Python module, which a task may not load: give it by "
                    f"--set {node}.{key}=MODULE:NAME or in a --params-file"
                )
                raise ConfigError(text, code=Code.NOT_BY_TASK, parameter=f"{node}.{key}", file=file_of(origin))
            if not allowed(node, key):
                ours = ", ".join(BY_TASK.get(node, ())) or "nothing"
                text = (
                    f"{origin}: {node}.{key} is not a task's to set: it belongs to the run or the robot. Remove it "
                    f"and give it by --set {node}.{key}=VALUE or in a --params-file (of {node} a task may set: {ours})"
                )
                raise ConfigError(text, code=Code.NOT_BY_TASK, parameter=f"{node}.{key}", file=file_of(origin))
