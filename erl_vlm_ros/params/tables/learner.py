# SPDX-License-Identifier: Apache-2.0
"""Parameters of learner. Those under ``sac.`` replace a value of the profile when they are set."""

from __future__ import annotations

from erl_vlm_ros.agents.offline_config import BcConfig, CplConfig, IqlConfig
from erl_vlm_ros.agents.sac_config import SIZES, SACConfig
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.params.param import Param, group
from erl_vlm_ros.params.tables._shared import (
    ENCODER,
    FEEDBACK,
    MAX_RATINGS,
    REWARD_MODEL,
    SOURCE,
    SOURCE_KEEP,
    SOURCE_PATH,
    SPACES,
    TRUNK_SEEN,
)

_BIG = 10**9

PARAMETERS = (
    *SPACES,
    *ENCODER,
    Param(
        "policy_cameras",
        None,
        "observe images: the cameras that the policy sees, some of cameras; not set: all.",
        unset="str[]",
    ),
    *TRUNK_SEEN,
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("run_id", "", "Episodes, ratings and weights of another run are refused; empty: none is."),
    Param("seed", 0, "Seed of networks, batches and the choice of segments.", low=0, high=2**31 - 1),
    Param(
        "algorithm",
        "sac",
        "Algorithm that learns the policy: sac, iql, bc, bc_rated or cpl (from recordings), or package.module:Class. "
        "With discrete actions sac and iql are iql_discrete.",
    ),
    Param(
        "algorithm_options",
        "",
        "Settings of an algorithm of another package, as a YAML mapping; ours have parameters of their own.",
    ),
    SOURCE,
    SOURCE_PATH,
    SOURCE_KEEP,
    Param("rewards_given", False, "The source brings the reward of every step: no teacher is asked for them."),
    Param(
        "demonstrations",
        False,
        "The source's episodes are demonstrations: demo_share of each batch is drawn from them.",
    ),
    Param("live", True, "Episodes of the running graph come; false: the source is all there is. Set by the graph."),
    Param(
        "profile",
        "fast",
        "fast: small networks, high learning rate; erl_vlm_parity: the paper's numbers.",
        choices=("fast", "erl_vlm_parity"),
    ),
    Param(
        "capacity",
        100_000,
        "Transitions in the replay buffer; whole episodes leave it, oldest first.",
        low=100,
        high=10_000_000,
    ),
    Param("warmup_steps", 1500, "Exploration steps before the first round of ratings.", low=1, high=_BIG),
    Param(
        "max_warmup_steps",
        5000,
        "Learning begins after this many steps, or with the last rating, even if the ratings explain nothing yet.",
        low=1,
        high=_BIG,
    ),
    Param("first_ratings", 150, "Segments rated in the first round.", low=1, high=100_000),
    Param("round_steps", 500, "Steps between rounds of ratings.", low=1, high=_BIG),
    Param("round_ratings", 50, "Segments rated in each later round.", low=1, high=100_000),
    MAX_RATINGS,
    Param("segment_length", 1, "Frames in a segment (H).", low=1, high=64),
    REWARD_MODEL,
    FEEDBACK,
    Param("updates_per_step", 1.0, "Gradient updates per environment step.", low=0.0, high=64.0),
    Param(
        "catch_up",
        0.5,
        "Updates per warm-up step, made up once the first reward model is there.",
        low=0.0,
        high=64.0,
    ),
    Param(
        "offline_updates",
        0,
        "Updates on what is there when learning begins: all there are where no step is collected.",
        low=0,
        high=_BIG,
    ),
    Param(
        "max_lag_episodes",
        1,
        "Episodes the controller may be ahead of learning before it holds still.",
        low=0,
        high=1000,
    ),
    Param(
        "min_skill",
        0.02,
        "Share of the ratings' entropy that the reward model must explain before learning begins.",
        low=-1.0,
        high=1.0,
    ),
    Param(
        "std_bonus",
        0.0,
        "Ensemble deviations added to the reward: optimism about what is not known.",
        low=-10.0,
        high=10.0,
    ),
    Param(
        "feature_noise",
        0.0,
        "observe images: noise on the features of each batch, in their deviations, so that a policy from a few "
        "recordings does not know their frames by heart.",
        low=0.0,
        high=10.0,
    ),
    Param(
        "demo_share",
        0.25,
        "Share of each batch drawn from what a person drove, once there is any.",
        low=0.0,
        high=0.9,
    ),
    Param(
        "success_reward",
        0.9,
        "Learned reward (0 to 1) of an episode's last frame from which the episode counts as a success.",
        low=0.0,
        high=1.0,
    ),
    Param("update_chunk", 25, "Updates between looks at the message queue.", low=1, high=10_000),
    Param("checkpoint_dir", "", "Folder for learner.safetensors; empty: no checkpoint."),
    Param("checkpoint_every", 2500, "Steps between checkpoints.", low=1, high=_BIG),
    Param(
        "resume",
        False,
        "Continue from checkpoint_dir, once vlm_rater and reward_trainer are there; refused when it holds nothing.",
    ),
    *group("sac", SACConfig, leave=SIZES, unset="as the profile says"),
    *group("iql", IqlConfig, leave=SIZES),
    *group("bc", BcConfig, leave=SIZES),
    *group("cpl", CplConfig, leave=SIZES),
    *group("selection", SelectionConfig),
)
