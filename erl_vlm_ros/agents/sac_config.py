# SPDX-License-Identifier: Apache-2.0
"""SAC's hyper-parameters and their two profiles. Without torch: parameter tables read it."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import Code, ConfigError

# "fast" is what SACConfig defaults to. "erl_vlm_parity" holds the numbers of the ERL-VLM paper's MetaWorld
# runs (arXiv 2506.12822 and its released sac.yaml).
PROFILES: dict[str, dict[str, Any]] = {
    "fast": {},
    "erl_vlm_parity": {
        "hidden": (256, 256, 256),
        "batch_size": 512,
        "actor_lr": 3e-4,
        "critic_lr": 3e-4,
        "alpha_lr": 1e-4,  # as the released sac.yaml has it; actor and critic have 3e-4
        "gamma": 0.99,
        "tau": 0.005,
        "target_delay": 2,
        "critic_layer_norm": False,
        "initial_log_std": -1.5,
        "average_rate": 0.0,
    },
}
#: given by the spaces, not by a person
SIZES = ("obs_dim", "act_dim")
_LEAST = 1e-12  # of what must be above 0


@config("sac")
class SACConfig:
    """Sizes and hyper-parameters."""

    obs_dim: int
    act_dim: int
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = setting((128, 128), "Hidden layer sizes of actor and critics.")
    batch_size: int = setting(128, "Transitions per update.", low=1, high=65_536)
    actor_lr: float = setting(1e-3, "Actor's learning rate.", low=_LEAST, high=1.0)
    critic_lr: float = setting(1e-3, "Critics' learning rate.", low=_LEAST, high=1.0)
    alpha_lr: float = setting(1e-3, "Temperature's learning rate.", low=_LEAST, high=1.0)
    gamma: float = setting(0.97, "Discount.", low=0.0, high=0.9999)
    tau: float = setting(0.01, "Share of the critics that moves into their targets.", low=_LEAST, high=1.0)
    init_temperature: float = setting(0.1, "Temperature at the start.", low=_LEAST, high=100.0)
    min_temperature: float = setting(
        0.0, "Floor of the temperature: keeps some exploration late in training.", low=0.0, high=100.0
    )
    target_entropy: float | None = setting(
        None,
        "Entropy that the temperature aims at; the profiles: minus the size of an action.",
        low=-1e3,
        high=1e3,
    )
    critic_layer_norm: bool = setting(True, "LayerNorm in the critics.")
    policy_delay: int = setting(1, "Critic updates per update of actor and temperature.", low=1, high=1000)
    target_delay: int = setting(1, "Updates per step of the target critics.", low=1, high=1000)
    backup_entropy: bool = setting(True, "Entropy bonus in the critics' target.")
    log_std_min: float = setting(-5.0, "Least log standard deviation of the actor.", low=-20.0, high=5.0)
    log_std_max: float = setting(2.0, "Largest log standard deviation of the actor.", low=-20.0, high=5.0)
    initial_log_std: float = setting(
        0.0, "Log standard deviation of the untrained actor, before the action's tanh.", low=-20.0, high=5.0
    )
    average_rate: float = setting(
        0.005,
        "Rate of the running mean of the actor that evaluation uses; 0: the last weights.",
        low=0.0,
        high=1.0,
    )
    take_policy: bool = setting(
        True, "Where it takes over from another algorithm: begin with that one's policy; false: with new networks."
    )
    guide_weight: float = setting(
        0.4, "Pull of the actor to a policy that it took over, in mean values for a squared distance of 1.", low=0.0,
        high=1000.0,
    )  # fmt: skip
    guide_updates: int = setting(2000, "Updates in which that pull fades.", low=0, high=10**9)

    def __post_init__(self) -> None:
        if self.obs_dim < 1 or self.act_dim < 1 or not self.hidden:
            raise ConfigError(
                f"SAC: obs_dim {self.obs_dim} and act_dim {self.act_dim} must be at least 1, and sac.hidden "
                f"{list(self.hidden)} must name a layer",
                parameter="sac.hidden",
            )
        if self.min_temperature > self.init_temperature:
            text = (
                f"sac.min_temperature is {self.min_temperature}; it must be at most sac.init_temperature, "
                f"{self.init_temperature}"
            )
            raise ConfigError(text, parameter="sac.min_temperature", code=Code.DOES_NOT_FIT)
        if not self.log_std_min < self.initial_log_std < self.log_std_max:
            text = (
                f"sac.initial_log_std is {self.initial_log_std}; it must lie between sac.log_std_min and "
                f"sac.log_std_max, {self.log_std_min} and {self.log_std_max}"
            )
            raise ConfigError(text, parameter="sac.initial_log_std", code=Code.DOES_NOT_FIT)

    @staticmethod
    def from_profile(profile: str, obs_dim: int, act_dim: int, **overrides: Any) -> SACConfig:
        """A named profile with some fields replaced. Raises ConfigError for an unknown profile or field."""
        if profile not in PROFILES:
            text = f"unknown SAC profile '{profile}'; known: {', '.join(PROFILES)}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="sac.profile")
        known = {f.name for f in fields(SACConfig)} - set(SIZES)
        unknown = set(overrides) - known
        if unknown:
            text = f"unknown SAC setting {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter=f"sac.{min(unknown)}")
        return SACConfig(obs_dim, act_dim, **{**PROFILES[profile], **overrides})
