# SPDX-License-Identifier: Apache-2.0
"""The learner's configuration: sizes, budgets and paces."""

from __future__ import annotations

from dataclasses import dataclass, field

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.encoders.config import EncoderConfig
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.data.spaces import Spaces


@dataclass(frozen=True)
class LearnerConfig:
    """Counts are environment steps unless said. ``max_ratings`` bounds the queries ever sent to the rater.

    ``spaces``: what the episodes hold; others are refused. None: only sizes count. ``encoder``: of a policy from
    images, made from a reward trunk of ``trunk_channels`` that sees ``trunk_image_size`` px; None: the agent sees
    what is in the episodes. ``seen_cameras``: that it sees; none: the one without a name.
    """

    agent: AgentSpec
    obs_dim: int
    act_dim: int
    prop_dim: int
    spaces: Spaces | None = None
    encoder: EncoderConfig | None = None
    trunk_channels: tuple[int, ...] = ()
    trunk_image_size: int = 48
    seen_cameras: tuple[str, ...] = ()
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
    catch_up: float = 0.5  # updates per step from before learning began, due once it begins
    offline_updates: int = 0  # updates on what is there when learning begins, whatever is collected later
    live: bool = True  # False: what is there at the beginning is all there will be; no step has to be paid for
    rewards_given: bool = False  # every episode brings its rewards: no teacher is asked for them
    max_lag_episodes: int = 1
    min_skill: float = 0.02  # below it the ratings explain nothing yet: keep exploring
    std_bonus: float = 0.0
    feature_noise: float = 0.0  # on image features that are learned from, in their deviations
    demo_share: float = 0.25  # of each batch, from what a person drove, once there is any
    success_reward: float = 0.9  # learned reward of the last frame from which an episode counts as a success
    feedback: str = "rating"  # kind of feedback that is asked for
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self) -> None:
        if self.capacity < self.episode_steps:
            text = f"capacity {self.capacity} does not hold one episode of {self.episode_steps} steps"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="learner.capacity")
