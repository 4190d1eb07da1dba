# SPDX-License-Identifier: Apache-2.0
"""Configuration of the reward trainer: which model, what it costs, and the settings of each. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.spaces import Spaces
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig, TrunkConfig

SEES_SEVERAL = "trunk_heads"  # the model that takes images of several cameras; others see one


@dataclass(frozen=True)
class RewardTrainerConfig:
    """``reward_model`` names the model; ``trunk`` and ``heads`` configure the default, ``erl`` the paper's.

    ``objective``: what a label costs, by name (``objectives``); empty: the model's own.
    ``segments``: of a query: 1, ratings of n classes; 2, comparisons, of which the classes 0 and 1 teach something.
    ``compared``: kind and number of classes of comparisons that are learned from besides the ratings; None: none are.
    ``spaces``: what observations and actions hold; others are refused. None: only sizes count.
    ``cameras``: that the model sees; none: the one without a name.
    ``soft_labels``: learn from the shares of an ensemble's votes where labels carry them, not from the class alone.
    """

    reward_model: str = "trunk_heads"
    objective: str = ""
    n_classes: int = 5
    segments: int = 1
    compared: tuple[str, int] | None = None
    prop_dim: int = 10
    spaces: Spaces | None = None
    cameras: tuple[str, ...] = ()
    max_frames: int = 30_000
    soft_labels: bool = False
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    erl: ErlRewardConfig = field(default_factory=ErlRewardConfig)

    def __post_init__(self) -> None:
        if self.erl.n_classes != self.n_classes:  # one number of classes for the whole trainer
            object.__setattr__(self, "erl", replace(self.erl, n_classes=self.n_classes))
        if (self.segments == 2 or self.compared) and self.heads.noise >= 0.5:
            raise ConfigError(
                f"heads.noise {self.heads.noise} says that comparisons are no better than guesses; "
                "it must be below 0.5",
                parameter="reward_trainer.heads.noise",
            )
        if self.heads.noise >= 1 - 1 / self.n_classes:
            raise ConfigError(
                f"heads.noise {self.heads.noise} says that ratings of {self.n_classes} classes are worse than guesses; "
                f"it must be below {1 - 1 / self.n_classes:.2f}",
                parameter="reward_trainer.heads.noise",
            )
