# SPDX-License-Identifier: Apache-2.0
"""Parameters of reward_trainer: those under ``trunk.`` and ``heads.`` are the default's, under ``erl.`` the paper's."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param, group
from erl_vlm_ros.params.tables._shared import FEEDBACK, REWARD_MODEL, SOURCE, SOURCE_KEEP, SOURCE_PATH, SPACES, TRUNK
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig

PARAMETERS = (
    *SPACES,
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("run_id", "", "Episodes, ratings and weights of another run are refused; empty: none is."),
    Param("seed", 0, "Seed of networks and batches.", low=0, high=2**31 - 1),
    REWARD_MODEL,
    Param(
        "reward_cameras",
        None,
        "The cameras that the reward model sees, some of cameras; not set: all (erl_vlm: the first).",
        unset="str[]",
    ),
    SOURCE,
    SOURCE_PATH,
    SOURCE_KEEP,
    Param(
        "objective",
        "",
        "What a label costs: class_likelihood (trunk_heads), erl_mae or erl_ce (erl_vlm), or MODULE:NAME; empty: the "
        "model's own.",
    ),
    Param("n_classes", None, "Rating classes; not set: as the task file says.", low=2, high=5, unset="int"),
    FEEDBACK,
    Param("max_frames", 30_000, "Frames kept for the trunk's training.", low=100, high=1_000_000),
    Param(
        "soft_labels",
        False,
        "Learn from soft labels (votes of an ensemble, vlm_rater.logprobs), not from the class alone.",
    ),
    Param("checkpoint_dir", "", "Folder for reward_trainer.safetensors; empty: no checkpoint."),
    Param("resume", False, "Continue from checkpoint_dir; refused when there is nothing to continue from."),
    *TRUNK,
    *group("heads", HeadConfig),
    *group("erl", ErlRewardConfig, leave=("n_classes",)),
)
