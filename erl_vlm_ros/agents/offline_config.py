# SPDX-License-Identifier: Apache-2.0
"""Settings of the algorithms that learn from recordings. Without torch: parameter tables read them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from erl_vlm_ros.common.config import config, setting

_LEAST = 1e-12
BALANCE = "Errors of a gripper that is only ever open or shut count by the inverse frequency of the two."
AVERAGE = "Rate of the running mean of the actor that evaluation uses."
#: given by the spaces, not by a person
SIZES = ("obs_dim", "act_dim")


@config("iql")
class IqlConfig:
    """Implicit Q-learning (Kostrikov et al., arXiv 2110.06169). The papers' are expectile 0.7 and beta 3 on plain
    advantages; these do better on rewards learned from a few hundred labels (docs/offline.md)."""

    obs_dim: int
    act_dim: int
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = setting((128, 128), "Hidden layer sizes of all networks.")
    batch_size: int = setting(256, "Transitions per update.", low=1, high=65_536)
    lr: float = setting(1e-3, "Learning rate.", low=_LEAST, high=1.0)
    gamma: float = setting(0.97, "Discount (ERL-VLM's robot runs: 0.99).", low=0.0, high=0.9999)
    tau: float = setting(0.01, "Share of the critics that moves into their targets.", low=_LEAST, high=1.0)
    expectile: float = setting(0.9, "Expectile of the value (the papers': 0.7).", low=0.01, high=0.99)
    beta: float = setting(
        2.0, "Sharpness of the advantages' weights: exp(beta A) (the papers': 3).", low=0.0, high=1000.0
    )
    max_weight: float = setting(100.0, "Largest weight of a transition.", low=1.0, high=1e6)
    best_share: float = setting(
        1.0, "Share of the episodes, those of the highest mean reward, that the actor clones from; 1: all. Values are "
        "learned from all of them.", low=0.01, high=1.0,
    )  # fmt: skip
    normalise_advantages: bool = setting(True, "Divide advantages by their deviation in the batch (the papers do not).")
    balance: bool = setting(True, BALANCE)
    average_rate: float = setting(0.005, AVERAGE, low=0.0, high=1.0)


@config("iql")
class DiscreteIqlConfig(IqlConfig):
    """The same for discrete actions; ``takes``: of each action whether it takes an object, given by the spaces."""

    takes: tuple[bool, ...] = ()


@config("bc")
class BcConfig:
    """Behaviour cloning: the mean squared error of the actions."""

    obs_dim: int
    act_dim: int
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = setting((128, 128), "Hidden layer sizes.")
    batch_size: int = setting(256, "Transitions per update.", low=1, high=65_536)
    lr: float = setting(1e-3, "Learning rate.", low=_LEAST, high=1.0)
    balance: bool = setting(True, BALANCE)
    average_rate: float = setting(0.005, AVERAGE, low=0.0, high=1.0)
    best_share: float = setting(
        0.4, "Algorithm bc_rated: share of the episodes that are cloned, those of the highest mean reward.", low=0.01,
        high=1.0,
    )  # fmt: skip


@config("cpl")
class CplConfig:
    """Contrastive preference learning (Hejna et al., arXiv 2310.13639) as PLARE uses it (arXiv 2507.23391)."""

    obs_dim: int
    act_dim: int
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = setting((128, 128), "Hidden layer sizes.")
    batch_size: int = setting(256, "Transitions per update of the warm start.", low=1, high=65_536)
    warm_lr: float = setting(1e-3, "Learning rate of the warm start.", low=_LEAST, high=1.0)
    warm_updates: int = setting(1000, "Updates of behaviour cloning before those of comparisons.", low=0, high=10**7)
    lr: float = setting(3e-4, "Learning rate of the comparisons.", low=_LEAST, high=1.0)
    pairs: int = setting(96, "Pairs per update.", low=1, high=100_000)
    alpha: float = setting(0.1, "Weight of log pi in the advantage.", low=_LEAST, high=100.0)
    contrast: float = setting(0.5, "Lambda: share of the other segment's advantage that counts.", low=0.0, high=1.0)
    dropout: float = setting(0.1, "Share of units that are left out in training (PLARE: 0.25).", low=0.0, high=0.9)
    least_won: float = setting(
        0.0, "What is cloned: the segments that won at least this share of their comparisons, a tenth of them in any "
        "case; 0: every transition (PLARE).", low=0.0, high=0.99,
    )  # fmt: skip
    clone_weight: float = setting(0.0, "Weight of cloning beside the comparisons (PLARE: 0).", low=0.0, high=1000.0)
    average_rate: float = setting(0.005, AVERAGE, low=0.0, high=1.0)
