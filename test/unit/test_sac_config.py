# SPDX-License-Identifier: Apache-2.0
"""SAC settings: profiles, overrides, and errors that name the setting."""

import pytest
from refusals import refused

from erl_vlm_ros.agents.sac_config import PROFILES, SACConfig
from erl_vlm_ros.common.errors import Code, ConfigError


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
    "overrides",
    [
        {"gamma": "high"}, {"policy_delay": 1.5}, {"gamma": 1.0}, {"tau": 0}, {"hidden": ()}, {"hidden": (64, 0)},
        {"batch_size": 0}, {"actor_lr": -1.0}, {"min_temperature": 0.5}, {"initial_log_std": 3.0},
        {"critic_lr": float("nan")},
    ],
)  # fmt: skip
def test_wrong_settings_are_named(overrides):
    with pytest.raises(ConfigError) as refused:
        SACConfig.from_profile("fast", 19, 3, **overrides)
    assert refused.value.parameter == f"sac.{next(iter(overrides))}"


def test_unknown_profiles_and_settings_are_named():
    with refused(ConfigError, parameter="sac.profile", code=Code.UNKNOWN):
        SACConfig.from_profile("quick", 19, 3)
    with refused(ConfigError, parameter="sac.learning_rate", code=Code.UNKNOWN):
        SACConfig.from_profile("fast", 19, 3, learning_rate=1)


def test_what_once_said_as_the_profile_says_still_does():
    from erl_vlm_ros.params import renamed
    from erl_vlm_ros.params.param import resolve
    from erl_vlm_ros.params.tables import PARAMETERS

    old = {"sac.gamma": 0.0, "sac.hidden": [0], "sac.average_rate": -1.0, "sac.critic_layer_norm": "profile"}
    with pytest.warns(renamed.RenamedWarning):
        values = resolve("learner", PARAMETERS["learner"], old | {"sac.backup_entropy": "off"})
    assert all(values[name] is None for name in old) and values["sac.backup_entropy"] is False
    assert resolve("learner", PARAMETERS["learner"], {"sac.average_rate": 0.0})["sac.average_rate"] == 0.0
