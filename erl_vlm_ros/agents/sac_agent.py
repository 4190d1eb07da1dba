# SPDX-License-Identifier: Apache-2.0
"""Soft actor-critic as an agent: its parameters, what it draws, and the policy it exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from erl_vlm_ros.agents.base import NEEDS, Batches, Needs, Policy
from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.agents.sac_config import SIZES, SACConfig
from erl_vlm_ros.agents.saved import require_saved
from erl_vlm_ros.agents.warm_start import hidden_of, layers_in
from erl_vlm_ros.common.errors import Code, ConfigError


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

    def take_over(self, state: Mapping[str, Any], held: int) -> None:
        """Begin with the policy in another agent's saved state; for ``held`` updates the critics alone learn. A state
        without such a policy changes nothing.

        Raises:
            ConfigError: its networks have other sizes than these.
        """
        cfg, layers = self.sac.cfg, layers_in(state)
        if layers is None or not cfg.take_policy:
            return
        require_saved(state["config"], cfg, SIZES)
        hidden = hidden_of(layers)
        if hidden != cfg.hidden:
            text = (
                f"learner.sac.hidden is {list(cfg.hidden)}, but the policy to be taken over has {list(hidden)}: "
                "set it so, or learner.sac.take_policy=false to begin with new networks"
            )
            raise ConfigError(text, parameter="learner.sac.hidden", code=Code.DOES_NOT_FIT)
        self.sac.set_out_from(layers, held)

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
