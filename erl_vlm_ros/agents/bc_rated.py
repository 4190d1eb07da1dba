# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning of the best episodes by their rewards: what labels are worth without a value function."""

from __future__ import annotations

from typing import ClassVar

from erl_vlm_ros.agents.base import NEEDS, Batches, Needs
from erl_vlm_ros.agents.bc import BcAgent
from erl_vlm_ros.data.replay import TransitionBatch


class RatedBcAgent(BcAgent):
    """The share ``bc.best_share`` of the episodes, those of the highest mean reward (%BC of Chen et al. 2021, arXiv
    2106.01345)."""

    needs: ClassVar[Needs] = NEEDS["bc_rated"]

    def _drawn(self, batches: Batches) -> TransitionBatch:
        return batches.best(self.config.batch_size, self.config.best_share)
