# SPDX-License-Identifier: Apache-2.0
"""SAC that sets out from another algorithm's policy: what it does before any update, when it moves, and how far."""

import dataclasses

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.agents.iql import IqlAgent
from erl_vlm_ros.agents.normaliser import LOG_STD
from erl_vlm_ros.agents.offline_config import IqlConfig
from erl_vlm_ros.agents.sac_agent import SacAgent
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.agents.warm_start import Guide, hidden_of, layers_in
from erl_vlm_ros.common.errors import Code
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.replay import TransitionBatch

OBS, ACT, HIDDEN, HELD = 5, 2, (16, 24), 4
SIZES = SACConfig(OBS, ACT, hidden=HIDDEN, batch_size=32)
MIDDLE = sum(LOG_STD) / 2


class Drawn:
    """Batches of observations far from mean 0 and deviation 1."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def transitions(self, count):
        def numbers(size):
            return torch.randn(count, size, generator=self.generator)

        obs, after = (numbers(OBS) * torch.tensor([0.01, 1, 3, 0.1, 2]) + 4 for _ in range(2))
        return TransitionBatch(obs, torch.tanh(numbers(ACT)), numbers(1)[:, 0], after, torch.zeros(count))


@pytest.fixture(scope="module")
def learned():
    """IQL after some updates."""
    agent, batches = IqlAgent(IqlConfig(OBS, ACT, hidden=HIDDEN, batch_size=32), 1), Drawn()
    for _ in range(30):
        agent.update(batches)
    return agent


def took_over(learned, held=HELD, **settings):
    agent = SacAgent(dataclasses.replace(SIZES, **settings), 2)
    agent.take_over(learned.state_dict(), held)
    return agent


def acts(agent, obs):
    policy = agent.policy()
    policy = make_policy(policy.kind, policy.arrays, policy.meta)
    return np.stack([policy.act(o, True) for o in obs])


def observations():
    return Drawn().transitions(64).obs.numpy()


@pytest.mark.parametrize("average_rate", [0.0, 0.005])
def test_it_acts_as_the_other_did_until_the_critics_have_learned(learned, average_rate):
    obs, agent, batches = observations(), took_over(learned, average_rate=average_rate), Drawn()
    before = acts(learned, obs)
    assert np.abs(before).max() > 0.1 and before.std() > 0.05  # not a policy that does nothing
    np.testing.assert_allclose(acts(agent, obs), before, atol=1e-6)
    np.testing.assert_allclose(agent.sac.act(obs, deterministic=True), before, atol=1e-5)
    critics, alpha = agent.sac.critic.flat.clone(), float(agent.sac.log_alpha)
    for _ in range(HELD):
        agent.update(batches)
    np.testing.assert_allclose(acts(agent, obs), before, atol=1e-6)
    assert not torch.equal(agent.sac.critic.flat, critics) and float(agent.sac.log_alpha) == alpha
    agent.update(batches)
    assert np.abs(acts(agent, obs) - before).max() > 1e-6 and float(agent.sac.log_alpha) != alpha


@pytest.mark.parametrize("bounds, log_std", [((-5.0, 2.0), MIDDLE), ((-2.0, 2.0), 0.0)])
def test_its_deviation_is_that_of_the_policy_as_it_was_exported(learned, bounds, log_std):
    agent = took_over(learned, log_std_min=bounds[0], log_std_max=bounds[1])
    _, _, (_, mean, raw, spread) = agent.sac._policy(torch.as_tensor(observations()))
    assert mean.shape == spread.shape
    assert (raw * agent.sac._std_half + agent.sac._std_middle).numpy() == pytest.approx(log_std, abs=1e-5)


def test_layers_are_those_of_the_exported_policy(learned):
    layers = layers_in(learned.state_dict())
    assert hidden_of(layers) == HIDDEN
    x = observations()
    for weights, bias in layers[:-1]:
        x = np.maximum(x @ weights + bias, 0)
    np.testing.assert_allclose(np.tanh(x @ layers[-1][0] + layers[-1][1]), acts(learned, observations()), atol=1e-6)
    assert layers_in({"action": np.zeros(2)}) is None


def constant(action, held=10, weight=0.5, updates=100):
    """A guide that always does ``action`` [A]."""
    layers = [(np.zeros((OBS, 3), np.float32), np.zeros(3, np.float32)), (np.zeros((3, ACT)), np.arctanh(action))]
    return Guide([(w.astype(np.float32), b.astype(np.float32)) for w, b in layers], held, weight, updates)


@pytest.mark.parametrize(
    "update, holds, share, over",
    [(1, True, 1.0, False), (10, True, 1.0, False), (11, False, 1.0, False), (61, False, 0.5, False),
     (110, False, 0.01, False), (111, False, 0.0, True), (10**6, False, 0.0, True)],
)  # fmt: skip
def test_the_pull_fades_evenly_once_the_actor_moves(update, holds, share, over):
    guide = constant([0.1, 0.2])
    assert (guide.holds(update), guide.over(update)) == (holds, over)
    assert holds or guide.share(update) == pytest.approx(share)


@pytest.mark.parametrize("weight, updates", [(0.0, 100), (0.5, 0)])
def test_without_a_pull_it_is_over_as_soon_as_the_actor_moves(weight, updates):
    guide = constant([0.0, 0.0], weight=weight, updates=updates)
    assert not guide.over(10) and guide.over(11)


def test_the_slope_is_that_of_autograd():
    guide, obs = constant([0.5, -0.25]), torch.randn(8, OBS, generator=torch.Generator().manual_seed(3))
    mean = torch.randn(8, ACT, generator=torch.Generator().manual_seed(4)).requires_grad_(True)
    values = torch.linspace(-3, 5, 8).unsqueeze(1)
    aim = torch.tensor([0.5, -0.25])
    loss = 0.5 * 0.5 * values.abs().mean() * ((torch.tanh(mean) - aim) ** 2).sum(1).mean()
    loss.backward()
    torch.testing.assert_close(guide.slope(61, obs, mean.detach(), values), mean.grad, rtol=1e-5, atol=1e-6)
    at_aim = torch.atanh(aim).expand(8, ACT)
    assert guide.slope(61, obs, at_aim, values).abs().max() < 1e-6


def test_a_strong_pull_keeps_the_actor_where_it_was_and_none_does_not(learned):
    obs, apart = observations(), {}
    for weight in (0.0, 50.0):
        agent, batches = took_over(learned, guide_weight=weight, guide_updates=10**6), Drawn()
        for _ in range(HELD + 60):
            agent.update(batches)
        apart[weight] = np.abs(acts(agent, obs) - acts(learned, obs)).mean()
    assert apart[50.0] < 0.5 * apart[0.0]


def test_a_run_that_is_resumed_goes_on_bit_for_bit_and_forgets_the_guide_at_its_end(learned, tmp_path):
    def go_on(agent, batches, count):
        for _ in range(count):
            agent.update(batches)
        return agent

    first, batches = took_over(learned, guide_updates=6), Drawn()
    for count in (HELD - 1, 3):  # saved while the actor is held, and while it is pulled
        go_on(first, batches, count)
        save_state(tmp_path / "state", first.state_dict(), "learner")
        again = SacAgent(dataclasses.replace(SIZES, guide_updates=6), 7)
        again.load_state_dict(load_state(tmp_path / "state", "learner"))
        assert again.sac.guide.held == HELD
        drawn = batches.generator.get_state()
        go_on(again, batches, 2)
        batches.generator.set_state(drawn)
        go_on(first, batches, 2)
        assert torch.equal(first.sac.actor.flat, again.sac.actor.flat)
        assert torch.equal(first.sac.critic.flat, again.sac.critic.flat)
    go_on(first, batches, 10)
    assert first.sac.guide is None and first.state_dict()["guide"] is None


def test_a_state_from_before_there_were_guides_is_taken(learned):
    agent = SacAgent(SIZES, 2)
    state = agent.state_dict()
    del state["guide"]
    again = took_over(learned)
    again.load_state_dict(state)
    assert again.sac.guide is None and torch.equal(again.sac.actor.flat, agent.sac.actor.flat)


def test_other_sizes_are_refused_by_name_and_new_networks_are_there_for_the_asking(learned):
    with refused(code=Code.DOES_NOT_FIT, parameter="learner.sac.hidden", shows=("[16, 24]", "take_policy")):
        took_over(learned, hidden=(16, 16))
    with refused(code=Code.DOES_NOT_FIT, parameter="agent.obs_dim"):
        SacAgent(SACConfig(OBS + 1, ACT, hidden=HIDDEN), 0).take_over(learned.state_dict(), 0)
    for agent in (took_over(learned, take_policy=False), took_over(learned, hidden=(16, 16), take_policy=False)):
        fresh = SacAgent(agent.sac.cfg, 2)
        assert agent.sac.guide is None and torch.equal(agent.sac.actor.flat, fresh.sac.actor.flat)
    agent = SacAgent(SIZES, 2)
    agent.take_over({"action": np.zeros(ACT)}, HELD)  # of an algorithm that has no such networks
    assert agent.sac.guide is None and torch.equal(agent.sac.actor.flat, SacAgent(SIZES, 2).sac.actor.flat)
