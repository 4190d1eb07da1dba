# SPDX-License-Identifier: Apache-2.0
"""Soft actor-critic as an agent: its parameters, what it draws, and the policy it exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from erl_vlm_ros.agents.base import NEEDS, Batches, Needs, Policy
from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.agents.sac_config import SIZES, SACConfig


class SacAgent:
    """SAC on transitions with rewards."""

    needs: ClassVar[Needs] = NEEDS["sac"]

    def __init__(self, config: SACConfig, seed: int):
        self.sac = SAC(config, seed)

    @staticmethod
    def configure(values: Mapping[str, Any], obs_dim: int, act_dim: int) -> SACConfig:
        """SACConfig: the profile, with the parameters ``sac.*`` that are set in place of its values."""
        known = {f.name: values[f"sac.{f.name}"] for f in fields(SACConfig) if f.name not in SIZES}
        changed = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
        changed = {key: value for key, value in changed.items() if value is not None}
        return SACConfig.from_profile(values["profile"], obs_dim, act_dim, **changed)

    def update(self, batches: Batches) -> Mapping[str, float]:
        """One step of the critics and, as configured, of actor and temperature."""
        return self.sac.update(batches.transitions(self.sac.cfg.batch_size))

    def policy(self) -> Policy:
        """The actor, and its running mean where there is one."""
        return Policy("squashed_gaussian", self.sac.actor_arrays())

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return self.sac.finite()

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, random state."""
        return self.sac.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore in place. ConfigError when the saved networks have other sizes."""
        self.sac.load_state_dict(dict(state))
