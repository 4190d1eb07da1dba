# SPDX-License-Identifier: Apache-2.0
"""What trains a reward model, by the name that ``reward_trainer.reward_model`` gives it; loaded when asked for."""

from __future__ import annotations

from erl_vlm_ros.common.registry import Registry

REWARD_MODELS: Registry = Registry(
    "reward_model",
    {
        "trunk_heads": "erl_vlm_ros.reward.models.trunk_heads:TrunkHeads",
        "erl_vlm": "erl_vlm_ros.reward.models.erl_vlm:ErlVlm",
    },
)
