# SPDX-License-Identifier: Apache-2.0
"""Parameters of sac_learner. Those under ``sac.`` replace a value of the profile when they are not 0 (or "profile")."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

_BIG = 10**9
_SWITCH = ("profile", "on", "off")

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("seed", 0, "Seed of networks, batches and the choice of segments.", low=0, high=2**31 - 1),
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
    Param("max_ratings", 900, "Segments ever sent to the rater.", low=0, high=_BIG),
    Param("segment_length", 1, "Frames in a segment (H).", low=1, high=64),
    Param("updates_per_step", 1.0, "Gradient updates per environment step.", low=0.0, high=64.0),
    Param(
        "catch_up",
        0.5,
        "Updates per warm-up step, made up once the first reward model is there.",
        low=0.0,
        high=64.0,
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
    Param("checkpoint_dir", "", "Folder for sac_learner.safetensors; empty: no checkpoint."),
    Param("checkpoint_every", 2500, "Steps between checkpoints.", low=1, high=_BIG),
    Param(
        "resume",
        False,
        "Continue from checkpoint_dir, once vlm_rater and reward_trainer are there; refused when it holds nothing.",
    ),
    Param(
        "sac.hidden",
        [0],
        "Hidden layer sizes of actor and critics; [0]: as the profile says.",
        low=0,
        any_length=True,
    ),
    Param("sac.batch_size", 0, "Transitions per update; 0: as the profile says.", low=0, high=65_536),
    Param("sac.actor_lr", 0.0, "Actor's learning rate; 0: as the profile says.", low=0.0, high=1.0),
    Param("sac.critic_lr", 0.0, "Critics' learning rate; 0: as the profile says.", low=0.0, high=1.0),
    Param("sac.alpha_lr", 0.0, "Temperature's learning rate; 0: as the profile says.", low=0.0, high=1.0),
    Param("sac.gamma", 0.0, "Discount; 0: as the profile says.", low=0.0, high=0.9999),
    Param(
        "sac.tau",
        0.0,
        "Share of the critics that moves into their targets; 0: as the profile says.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "sac.init_temperature", 0.0, "Temperature at the start; 0: as the profile says.", low=0.0, high=100.0
    ),
    Param(
        "sac.policy_delay", 0, "Critic updates per actor update; 0: as the profile says.", low=0, high=1000
    ),
    Param(
        "sac.target_delay",
        0,
        "Updates per step of the target critics; 0: as the profile says.",
        low=0,
        high=1000,
    ),
    Param("sac.critic_layer_norm", "profile", "LayerNorm in the critics.", choices=_SWITCH),
    Param("sac.backup_entropy", "profile", "Entropy bonus in the critics' target.", choices=_SWITCH),
    Param(
        "sac.average_rate",
        -1.0,
        "Rate of the running mean of the actor that evaluation uses; 0: the last weights; -1: as the profile says.",
        low=-1.0,
        high=1.0,
    ),
    Param(
        "selection.bins_share",
        0.4,
        "Share of a round spread evenly over the levels of predicted reward.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "selection.novelty_share",
        0.25,
        "Share of a round far from everything rated so far.",
        low=0.0,
        high=1.0,
    ),
    Param("selection.top_share", 0.1, "Share of a round most probably of the top class.", low=0.0, high=1.0),
    Param(
        "selection.disagreement_share",
        0.0,
        "Share of a round where the ensemble disagrees most.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "selection.recent_frames",
        5000,
        "Frames among which the shares by predicted reward choose.",
        low=1,
        high=_BIG,
    ),
    Param("selection.bins", 6, "Levels of predicted reward.", low=1, high=1000),
    Param("selection.novelty_power", 4.0, "Sharpness of the choice by novelty.", low=0.0, high=100.0),
    Param(
        "selection.novelty_clip",
        12.0,
        "Standard deviations beyond which an observation is not more novel.",
        low=0.1,
        high=1000.0,
    ),
)
