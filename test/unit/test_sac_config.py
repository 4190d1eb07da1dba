# SPDX-License-Identifier: Apache-2.0
"""SAC settings: profiles, overrides, and errors that name the setting."""

import pytest

from erl_vlm_ros.agents.sac import PROFILES, SACConfig
from erl_vlm_ros.errors import ConfigError


def test_profiles():
    fast = SACConfig.from_profile("fast", 19, 3)
    assert fast == SACConfig(19, 3) and fast.hidden == (128, 128) and fast.gamma == 0.97
    parity = SACConfig.from_profile("erl_vlm_parity", 19, 3, tau=0.01)
    assert (parity.hidden, parity.batch_size, parity.critic_lr, parity.target_delay) == (
        (256, 256, 256),
        512,
        3e-4,
        2,
    )
    assert (parity.gamma, parity.tau, parity.init_temperature, parity.critic_layer_norm) == (
        0.99,
        0.01,
        0.1,
        False,
    )
    assert set(PROFILES) == {"fast", "erl_vlm_parity"}


@pytest.mark.parametrize(
    "profile, overrides, message",
    [
        ("quick", {}, "unknown SAC profile 'quick'; known: fast, erl_vlm_parity"),
        ("fast", {"learning_rate": 1}, "unknown SAC setting learning_rate"),
        ("fast", {"gamma": "high"}, "gamma must be"),
        ("fast", {"policy_delay": 1.5}, "policy_delay must be"),
        ("fast", {"gamma": 1.0}, "gamma must be"),
        ("fast", {"tau": 0}, "tau must be"),
        ("fast", {"hidden": ()}, "hidden must be"),
        ("fast", {"hidden": (64, 0)}, "hidden must be"),
        ("fast", {"batch_size": 0}, "batch_size must be"),
        ("fast", {"actor_lr": -1.0}, "actor_lr must be"),
        ("fast", {"min_temperature": 0.5}, "min_temperature must be"),
        ("fast", {"initial_log_std": 3.0}, "initial_log_std must be"),
    ],
)
def test_wrong_settings_are_named(profile, overrides, message):
    with pytest.raises(ConfigError, match=message):
        SACConfig.from_profile(profile, 19, 3, **overrides)
