# SPDX-License-Identifier: Apache-2.0
"""The numpy actor gives the torch actor's actions, without torch, and refuses weights that do not fit."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.control.policies.squashed_gaussian import SquashedGaussian
from erl_vlm_ros.data.bundle import Bundle, decode, encode


def make_sac():
    return SAC(SACConfig(19, 4, hidden=(32, 16)), seed=2)


def test_same_mean_action_as_torch_through_a_bundle():
    sac = make_sac()
    arrays = decode(encode(Bundle("actor", sac.actor_arrays(), {"version": 1})), "actor").arrays
    actor = SquashedGaussian(arrays)
    assert (actor.obs_dim, actor.act_dim) == (19, 4)
    for seed in range(5):
        obs = np.random.default_rng(seed).normal(size=19)
        action = actor.act(obs, deterministic=True)
        assert action.dtype == np.float32
        np.testing.assert_allclose(action, sac.act(obs, deterministic=True), atol=1e-5)


def test_samples_have_the_distribution_of_the_torch_actor():
    sac = make_sac()
    actor, obs, rng = SquashedGaussian(sac.actor_arrays()), np.full(19, 0.3, np.float32), np.random.default_rng(0)
    ours = np.stack([actor.act(obs, False, rng) for _ in range(4000)])
    theirs = sac.act(np.tile(obs, (4000, 1)))
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.06)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.04)
    np.testing.assert_array_equal(
        actor.act(obs, False, np.random.default_rng(7)), actor.act(obs, False, np.random.default_rng(7))
    )
    with refused(DataError, field="rng"):
        actor.act(obs, False)


def test_deterministic_actions_come_from_the_averaged_weights():
    sac = make_sac()
    sac.actor.flat.add_(0.05)
    obs = np.ones(sac.cfg.obs_dim, np.float32)
    both, last = (
        sac.actor_arrays(),
        {k: v for k, v in sac.actor_arrays().items() if not k.startswith("average.")},
    )
    averaged, current = (SquashedGaussian(arrays).act(obs, deterministic=True) for arrays in (both, last))
    assert np.abs(averaged - current).max() > 1e-3
    sample = [SquashedGaussian(arrays).act(obs, False, np.random.default_rng(0)) for arrays in (both, last)]
    np.testing.assert_array_equal(*sample)
    both["average.w0"] = both["average.w0"][:, :-1]
    with refused(DataError, field="layer 0"):
        SquashedGaussian(both)


def test_arrays_are_copies():
    sac = make_sac()
    before = sac.actor_arrays()["w0"].copy()
    arrays = sac.actor_arrays()
    with torch.no_grad():
        sac.actor.flat.zero_()
    np.testing.assert_array_equal(arrays["w0"], before)


@pytest.mark.parametrize(
    "change, field",
    [
        (lambda a: a.pop("b1"), "b1"),
        (lambda a: a.update(extra=np.zeros(1)), "extra"),
        (lambda a: a.update(w1=np.zeros((31, 16))), "layer 1"),
        (lambda a: a.update(b0=np.zeros(31)), "layer 0"),
        (lambda a: a.update(w0=np.full((19, 32), np.nan)), "w0"),
        (lambda a: a.update(log_std_bounds=np.zeros(3)), "log_std_bounds"),
        (lambda a: a.clear(), ""),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, field):
    arrays = make_sac().actor_arrays()
    change(arrays)
    with refused(DataError, field=field):
        SquashedGaussian(arrays)


def test_wrong_observation_size():
    with refused(DataError, field="observation", shows="[19]"):
        SquashedGaussian(make_sac().actor_arrays()).act(np.zeros(18), True)


def test_torch_is_not_imported():
    code = "import sys; import erl_vlm_ros.control.policies.squashed_gaussian; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
