# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning: the baseline of everything that learns from recordings. It asks nothing and needs no reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from erl_vlm_ros.agents.base import NEEDS, Batches, Needs
from erl_vlm_ros.agents.iql import Cloned
from erl_vlm_ros.agents.offline_config import BcConfig
from erl_vlm_ros.agents.sac import Metrics
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.data.replay import TransitionBatch


class BcAgent(Cloned):
    """All transitions alike."""

    needs: ClassVar[Needs] = NEEDS["bc"]

    @staticmethod
    def configure(values: Mapping[str, Any], obs_dim: int, act_dim: int) -> BcConfig:
        """From the parameters ``bc.*``."""
        return from_values(BcConfig, values, "bc.", obs_dim=obs_dim, act_dim=act_dim)

    @torch.no_grad()
    def update(self, batches: Batches) -> Mapping[str, float]:
        """One step of the actor."""
        self._fit(batches)
        batch = self._drawn(batches)
        self.updates += 1
        errors = self._clone(self.normaliser(batch.obs), batch.action, torch.ones(len(batch.obs)))
        return Metrics({"actor_error": errors.mean})

    def _drawn(self, batches: Batches) -> TransitionBatch:
        return batches.transitions(self.config.batch_size)
