# SPDX-License-Identifier: Apache-2.0
"""What the learner is told: sizes, budgets and paces."""

from __future__ import annotations

from dataclasses import dataclass, field

from erl_vlm_ros.agents.sac import SACConfig
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.errors import ConfigError


@dataclass(frozen=True)
class LearnerConfig:
    """Counts are environment steps unless said. ``max_ratings`` bounds the segments ever sent to the rater."""

    sac: SACConfig
    prop_dim: int = 10
    capacity: int = 100_000
    episode_steps: int = 50
    warmup_steps: int = 1500
    max_warmup_steps: int = 5000
    first_ratings: int = 150
    round_steps: int = 500
    round_ratings: int = 50
    max_ratings: int = 900
    segment_length: int = 1
    updates_per_step: float = 1.0
    catch_up: float = 0.5  # updates owed per warm-up step once the first reward model is there
    max_lag_episodes: int = 1
    min_skill: float = 0.02  # below it the ratings explain nothing yet: keep exploring
    std_bonus: float = 0.0
    demo_share: float = 0.25  # of each batch, from what a person drove, once there is any
    success_reward: float = 0.9  # learned reward of the last frame from which an episode counts as a success
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self) -> None:
        if self.capacity < self.episode_steps:
            raise ConfigError(f"capacity {self.capacity} does not hold one episode of {self.episode_steps} steps")
