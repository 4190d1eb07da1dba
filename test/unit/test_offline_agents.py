# SPDX-License-Identifier: Apache-2.0
"""IQL and behaviour cloning: formulas by numpy, a problem with a known answer, the policy that the robot runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import make_episode, make_segment

from erl_vlm_ros.agents.balance import Balance
from erl_vlm_ros.agents.base import AGENTS, AgentSpec
from erl_vlm_ros.agents.bc import BcAgent
from erl_vlm_ros.agents.cpl import CplAgent, contrastive_loss, preferred
from erl_vlm_ros.agents.iql import IqlAgent, advantage_weight, effective_share, expectile_weight
from erl_vlm_ros.agents.offline_config import BcConfig, CplConfig, IqlConfig
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.query import Label, Query
from erl_vlm_ros.data.replay import ReplayBuffer, TransitionBatch
from erl_vlm_ros.training.batches import ReplayBatches
from erl_vlm_ros.training.configs import node_values
from erl_vlm_ros.training.feature_noise import FeatureNoise


class Bandit:
    """One step: the reward is 1 for an action near the first number of the observation's sign, actions are random."""

    def __init__(self, seed=0, offset=5.0):
        self.rng, self.offset = np.random.default_rng(seed), offset

    def transitions(self, count):
        obs = self.rng.choice([-1.0, 1.0], (count, 2))
        action = self.rng.uniform(-0.9, 0.9, (count, 1))
        reward = (np.abs(action[:, 0] - 0.6 * obs[:, 0]) < 0.3).astype(float)
        arrays = (obs + self.offset, action, reward, obs + self.offset, np.ones(count))
        return TransitionBatch(*(torch.from_numpy(a.astype(np.float32)) for a in arrays))


def test_formulas_by_numpy():
    rng = np.random.default_rng(0)
    u = rng.normal(size=50).astype(np.float32)
    np.testing.assert_allclose(expectile_weight(torch.from_numpy(u), 0.7), np.abs(0.7 - (u < 0)), rtol=1e-6)
    expected = np.minimum(np.exp(3 * u), 100)
    np.testing.assert_allclose(advantage_weight(torch.from_numpy(u), 3.0, 100.0), expected, rtol=1e-5)
    w = torch.from_numpy(expected.astype(np.float32))
    assert effective_share(w).item() == pytest.approx(expected.sum() ** 2 / (50 * (expected**2).sum()), rel=1e-4)
    assert effective_share(torch.ones(9)).item() == pytest.approx(1.0)


def test_a_gripper_that_is_open_or_shut_counts_by_inverse_frequency():
    """3 in 4 are shut: weights 1 / (2 * 0.75) and 1 / (2 * 0.25); the continuous number keeps 1."""
    actions = torch.tensor([[0.2, -1.0], [1.0, -1.0], [-0.5, -1.0], [-1.0, 1.0]])
    balance = Balance(2)
    assert (balance(actions) == 1).all()
    balance.fit(actions)
    np.testing.assert_allclose(balance(actions)[:, 0], 1.0)
    np.testing.assert_allclose(balance(actions)[:, 1], [2 / 3, 2 / 3, 2 / 3, 2.0], rtol=1e-6)
    assert balance(actions).mean(0).tolist() == pytest.approx([1.0, 1.0])
    again = Balance(2)
    again.load_state_dict(balance.state_dict())
    assert torch.equal(again(actions), balance(actions))
    balance.fit(actions[:3])  # always shut: nothing to balance
    assert (balance(actions) == 1).all()


@pytest.mark.parametrize("on", [True, False])
def test_a_rare_opening_is_not_drowned_when_the_two_look_alike(on):
    """1 in 10 opens, and nothing in the observation says when: balanced, the clone is undecided, else it is at -0.8."""
    rng = np.random.default_rng(0)

    class Grip:
        def transitions(self, count):
            action = np.where(rng.random((count, 1)) < 0.1, 1.0, -1.0).astype(np.float32)
            obs = torch.zeros(count, 2)
            return TransitionBatch(obs, torch.from_numpy(action), torch.zeros(count), obs, torch.zeros(count))

    agent = BcAgent(BcConfig(2, 1, hidden=(8,), balance=on, average_rate=0.0), 0)
    for _ in range(300):
        agent.update(Grip())
    exported = agent.policy()
    said = make_policy(exported.kind, exported.arrays, exported.meta).act(np.zeros(2, np.float32), True)
    assert said[0] == pytest.approx(0.0 if on else -0.8, abs=0.15)


@pytest.mark.parametrize("papers", [{}, {"expectile": 0.7, "beta": 3.0, "normalise_advantages": False}])
def test_an_update_descends_the_papers_losses(papers):
    """Gradients of value, critics and actor against autograd on the losses written down independently."""
    agent = IqlAgent(IqlConfig(2, 1, hidden=(8,), lr=1e-3, batch_size=64, **papers), 0)
    batch, nets, cfg = Bandit(3).transitions(64), agent.networks, agent.config

    class Once:
        def transitions(self, count):
            return batch

    before = {name: {k: v.clone() for k, v in net.named.items()} for name, net in nets.items()}
    agent.normaliser.fit(Once())

    def run(name, x, member=0):
        p = {k: v[member].clone().requires_grad_() for k, v in before[name].items()}
        h = x @ p["w0"] + p["b0"]
        if "g0" in p:
            h = torch.nn.functional.layer_norm(h, h.shape[1:], p["g0"], p["s0"])
        return torch.relu(h) @ p["w1"] + p["b1"], p

    obs, then = agent.normaliser(batch.obs), agent.normaliser(batch.next_obs)
    both = torch.cat((obs, batch.action), 1)
    q = torch.minimum(run("target", both)[0], run("target", both, 1)[0]).detach()
    value, p_value = run("value", obs)
    (torch.abs(cfg.expectile - ((q - value) < 0).float()) * (q - value) ** 2).mean().backward()
    goal = (batch.reward + cfg.gamma * (1 - batch.terminated) * run("value", then)[0][:, 0]).detach()
    q0, p_q = run("critic", both)
    ((q0[:, 0] - goal) ** 2).mean().backward()
    advantage = (q - value).detach()
    weight = torch.exp(cfg.beta * advantage / (1.0 if papers else advantage.std())).clamp(max=100)
    mean, p_actor = run("actor", obs)
    (weight[:, 0] * ((torch.tanh(mean) - batch.action) ** 2).sum(1)).mean().backward()
    agent.update(Once())
    for name, expected in (("value", p_value), ("critic", p_q), ("actor", p_actor)):
        for key, tensor in expected.items():
            np.testing.assert_allclose(nets[name].named_grad[key][0], tensor.grad, atol=2e-6, rtol=2e-4, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["iql", "bc"])
def test_a_bandit_and_the_robots_reader(algorithm):
    config = {"iql": IqlConfig(2, 1, hidden=(32,), beta=10.0), "bc": BcConfig(2, 1, hidden=(32,))}[algorithm]
    agent, data = AGENTS.load(algorithm)(config, 0), Bandit()
    for _ in range(1200):
        metrics = agent.update(data)
    exported = agent.policy()
    policy = make_policy(exported.kind, exported.arrays, exported.meta)
    said = [float(policy.act(np.array([s + 5.0, 5.0], np.float32), True)[0]) for s in (-1.0, 1.0)]
    if algorithm == "iql":
        np.testing.assert_allclose(said, [-0.6, 0.6], atol=0.15)
        assert 0.1 < metrics["effective_share"] < 0.9
    else:  # the mean of what was done
        np.testing.assert_allclose(said, [0, 0], atol=0.1)
    assert agent.finite()


@pytest.mark.parametrize("algorithm", ["iql", "bc", "cpl"])
def test_a_checkpoint_goes_on_alike(algorithm, tmp_path):
    task = load_task("drawer_open")
    spec = AgentSpec.from_values(node_values("learner", task, {"algorithm": algorithm}), 2, 1)
    one, data = spec.make(1), Bandit(1)
    for _ in range(3):
        one.update(data)
    save_state(tmp_path / "agent.safetensors", one.state_dict(), "test")
    other = spec.make(2)
    other.load_state_dict(load_state(tmp_path / "agent.safetensors", "test"))
    one.update(Bandit(7)), other.update(Bandit(7))
    for key, array in one.policy().arrays.items():
        np.testing.assert_array_equal(array, other.policy().arrays[key])
    small = AgentSpec.from_values(node_values("learner", task, {"algorithm": algorithm}), 3, 1).make(0)
    with pytest.raises(ConfigError):
        small.load_state_dict(one.state_dict())


def test_demonstrations_of_any_skill():
    from erl_vlm_ros.sim.demonstrations import demonstrations

    task = load_task("drawer_open")
    good = demonstrations(task, [0.0, 0.05], 101, image_size=48)
    bad = demonstrations(task, [0.9], 101, image_size=48)
    assert good[0].succeeded and not bad[0].succeeded
    episode = good[0].episode
    assert episode.steps == task.episode_steps and len(episode.jpegs) == len(good[0].progress) == episode.steps + 1
    assert [d.episode.index for d in good] == [0, 1] and np.abs(episode.actions).max() <= 1
    again = demonstrations(task, [0.0], 101, image_size=48)[0].episode
    np.testing.assert_array_equal(again.observations, episode.observations)


@pytest.mark.parametrize("task", ["drawer_open", "sweep_into"])
def test_half_of_the_demonstrations_of_mixed_skill_succeed(task):
    from erl_vlm_ros.sim.demonstrations import mixed_demonstrations

    shown = mixed_demonstrations(load_task(task), 5, 103, image_size=48)
    assert sum(d.succeeded for d in shown) == 3
    assert [d.episode.index for d in shown] == list(range(5))


def test_demonstrations_of_which_none_can_fail_are_not_half_successful(monkeypatch):
    from erl_vlm_ros.sim import demonstrations

    monkeypatch.setattr(demonstrations, "disturbance", lambda share: 0.0)
    monkeypatch.setattr(demonstrations, "_TRIES", 2)
    with pytest.raises(ConfigError) as refused:
        demonstrations.mixed_demonstrations(load_task("drawer_open"), 2, 103, image_size=48)
    assert refused.value.code is Code.DOES_NOT_FIT


def test_contrastive_loss_by_numpy_and_by_order():
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(40, 2)), rng.integers(0, 2, 40)
    chosen, other = a[np.arange(40), y], a[np.arange(40), 1 - y]
    expected = -np.log(1 / (1 + np.exp(-(chosen - 0.5 * other))))
    found = contrastive_loss(torch.from_numpy(a), torch.from_numpy(y), 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    turned = contrastive_loss(torch.from_numpy(a).flip(1), torch.from_numpy(1 - y), 0.5)
    np.testing.assert_array_equal(found, turned)


def test_segments_are_found_in_the_buffer_by_their_ids():
    replay = ReplayBuffer(60, 19, 3, 10)
    episodes = [make_episode(i, steps=20, side=16) for i in range(4)]
    for episode in episodes:
        replay.add_episode(episode)
    batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0)
    obs, actions = batches.stretch("e2_t12_h5")
    np.testing.assert_array_equal(obs, episodes[2].observations[7:12])
    np.testing.assert_array_equal(actions, episodes[2].actions[7:12])
    whole = batches.stretch("e3_t20_h20")
    np.testing.assert_array_equal(whole[0], episodes[3].observations[:20])
    gone = ("e0_t12_h5", "e2_t21_h5", "e2_t4_h5", "e4_t9_h2", "check_1")
    assert [batches.stretch(name) for name in gone] == [None] * 5


def test_transitions_of_named_segments_alone():
    replay = ReplayBuffer(60, 19, 3, 10)
    episodes = [make_episode(i, steps=20, side=16) for i in range(4)]
    for episode in episodes[:3]:
        replay.add_episode(episode)
    batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0)
    names = ["e2_t12_h5", "e1_t20_h2", "e0_t3_h3"]
    expected = np.concatenate([episodes[2].actions[7:12], episodes[1].actions[18:20], episodes[0].actions[:3]])
    drawn = batches.among(names, 500)
    assert {tuple(a) for a in drawn.action.numpy()} == {tuple(a) for a in expected}
    at = int(np.flatnonzero((drawn.action.numpy() == episodes[2].actions[7]).all(1))[0])
    np.testing.assert_array_equal(drawn.obs[at], episodes[2].observations[7])
    np.testing.assert_array_equal(drawn.next_obs[at], episodes[2].observations[8])
    replay.add_episode(episodes[3])  # the oldest leaves
    assert {tuple(a) for a in batches.among(names, 500).action.numpy()} == {tuple(a) for a in expected[:7]}
    assert batches.among(["e0_t3_h3", "check_1"], 5) is None


def test_the_segments_that_won_most_of_their_comparisons():
    a, b, c, d = (make_segment(name, 1) for name in "abcd")
    said = [(a, b, 1), (a, b, 1), (c, b, 1), (c, a, 0), (d, a, 0)]  # won: b 3 of 3, c 1 of 2, d 1 of 1, a none
    labels = [Label(Query(one, two), value) for one, two, value in said]
    assert preferred(labels, 0.6) == ["b", "d"]  # 4 / 5 and 2 / 3
    assert preferred(labels, 0.7) == ["b"]
    assert preferred(labels, 0.95) == ["b"]  # one in any case
    assert preferred(labels, 0.1) == ["b", "d", "c", "a"]
    many = [Label(Query(make_segment(f"x{i}", 1), make_segment(f"y{i}", 1)), 1) for i in range(20)]
    assert preferred(many, 0.9) == ["y0", "y1", "y2", "y3"]  # a tenth in any case


@pytest.mark.slow
def test_comparisons_move_the_policy_to_what_is_preferred():
    """Random actions; the segment whose actions lie nearer to 0.5 is preferred."""
    rng, replay = np.random.default_rng(0), ReplayBuffer(10_000, 19, 3, 10)
    labels, means = [], []
    for i in range(60):
        actions = np.full((20, 3), rng.uniform(-0.8, 0.8), np.float32) + rng.normal(0, 0.1, (20, 3)).astype(np.float32)
        replay.add_episode(make_episode(i, steps=20, side=16, actions=actions))
        means.append(actions.mean())
    for _ in range(300):
        a, b = rng.choice(60, 2, replace=False)
        pair = Query(*(make_segment(f"e{i}_t20_h20", 1) for i in (a, b)))
        labels.append(Label(pair, int(abs(means[b] - 0.5) < abs(means[a] - 0.5))))
    agent = CplAgent(CplConfig(19, 3, hidden=(32,), warm_updates=100, lr=1e-3), 0)
    batches = ReplayBatches(replay, labels, rng, 0.0)

    def said():
        policy = agent.policy()
        actor = make_policy(policy.kind, policy.arrays, policy.meta)
        return np.mean([actor.act(o, True) for o in replay.frame_observations[::50]])

    for _ in range(100):
        agent.update(batches)
    cloned = said()
    for _ in range(300):
        figures = agent.update(batches)
    assert abs(cloned) < 0.2 and said() > cloned + 0.2 and figures["pair_accuracy"] > 0.7 and agent.finite()


@pytest.mark.slow
def test_what_is_cloned_may_be_the_preferred_segments_alone():
    """Four episodes, in each of which one action is done; two are preferred to the other two, first in one order, and
    with further labels in the other."""
    replay = ReplayBuffer(400, 19, 3, 10)
    for index, action in enumerate((-0.6, -0.5, 0.5, 0.6)):
        replay.add_episode(make_episode(index, 20, side=16, actions=np.full((20, 3), action, np.float32)))
    whole = [make_segment(f"e{i}_t20_h20", 1) for i in range(4)]
    labels = [Label(Query(whole[i], whole[j]), 1) for i in (0, 1) for j in (2, 3)]
    batches = ReplayBatches(replay, labels, np.random.default_rng(0), 0.0)

    def said(**changes):
        agent = CplAgent(CplConfig(19, 3, hidden=(32,), warm_lr=3e-3, average_rate=0.0, **changes), 0)
        for _ in range(200):
            figures = agent.update(batches)
        policy = make_policy(agent.policy().kind, agent.policy().arrays, {})
        return np.array([policy.act(obs, True) for obs in replay.frame_observations[::10]]), figures

    best, figures = said(least_won=0.6, warm_updates=200)
    assert best.mean() == pytest.approx(0.55, abs=0.1)
    assert "loss" not in figures
    assert abs(said(warm_updates=200)[0].mean()) < 0.15
    held, figures = said(least_won=0.6, warm_updates=100, clone_weight=30.0, lr=3e-3)
    assert held.mean() == pytest.approx(0.55, abs=0.15)  # comparisons alone drive it to the edge
    assert {"loss", "actor_error", "pair_accuracy"} <= set(figures)
    labels += [Label(Query(whole[j], whole[i]), 1) for i in (0, 1) for j in (2, 3) for _ in range(3)]
    assert said(least_won=0.6, warm_updates=200)[0].mean() < -0.4


def test_the_best_episodes_are_those_of_the_highest_mean_reward():
    """Five episodes of different lengths; cloning of the best two sees their actions alone."""
    replay = ReplayBuffer(100, 19, 3, 10)
    means, lengths = (0.2, 0.9, 0.1, 0.5, 0.8), (8, 4, 12, 20, 6)
    for index, (mean, length) in enumerate(zip(means, lengths)):
        episode = make_episode(index, length, side=16, actions=np.full((length, 3), index / 10, np.float32))
        replay.add_episode(episode, np.full(length, mean, np.float32))
    batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0)
    assert sorted(set(batches.best(200, 0.4).action[:, 0].tolist())) == pytest.approx([0.1, 0.4])
    assert sorted(set(batches.best(50, 0.01).action[:, 0].tolist())) == pytest.approx([0.1])
    assert len(replay.best_transitions(1.0)) == sum(lengths)
    agent = AGENTS.load("bc_rated")(BcConfig(19, 3, hidden=(32,), best_share=0.2, average_rate=0.0, lr=1e-2), 0)
    for _ in range(100):
        agent.update(batches)
    policy = make_policy(agent.policy().kind, agent.policy().arrays, {})
    said = np.array([policy.act(obs, True) for obs in replay.frame_observations[9:13]])
    np.testing.assert_allclose(said, 0.1, atol=0.05)


def test_noise_is_on_image_features_alone_and_the_buffer_stays_as_it_is():
    replay = ReplayBuffer(200, 19, 3, 10)
    for index in range(3):
        replay.add_episode(make_episode(index, steps=40, side=16))
    kept = replay.frame_observations.copy()

    def drawn(deviation):
        noise = FeatureNoise(deviation, slice(12, 19), np.random.default_rng(1))
        batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0, noise)
        batch, best, (obs, _) = batches.transitions(5000), batches.best(5000, 0.4), batches.stretch("e1_t40_h40")
        among = batches.among(["e2_t12_h9"], 5000)
        return [batch.obs, batch.next_obs, best.obs, among.obs, batches.windows(200, 10).obs, torch.from_numpy(obs)]

    for plain, noisy in zip(drawn(0.0), drawn(0.5)):
        moved = (noisy - plain).reshape(-1, 19)
        assert not moved[:, :12].any()
        assert float(moved[:, 12:].std()) == pytest.approx(0.5, rel=0.1)
    np.testing.assert_array_equal(replay.frame_observations, kept)


def test_the_actor_of_iql_may_be_shown_the_best_episodes_alone():
    """Ten episodes, in each of which one action is done; beta 0: all of those that are shown count alike."""
    replay = ReplayBuffer(400, 19, 3, 10)
    for index in range(10):
        actions = np.full((20, 3), -0.5 if index % 2 else 0.5, np.float32)
        replay.add_episode(make_episode(index, 20, side=16, actions=actions), np.full(20, index % 2, np.float32))
    batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0)

    def said(share):
        config = IqlConfig(19, 3, hidden=(32,), best_share=share, beta=0.0, average_rate=0.0, lr=3e-3)
        agent = IqlAgent(config, 0)
        for _ in range(150):
            agent.update(batches)
        policy = make_policy(agent.policy().kind, agent.policy().arrays, {})
        return np.array([policy.act(obs, True) for obs in replay.frame_observations[::10]])

    best, every = said(0.5), said(1.0)
    assert best.mean() == pytest.approx(-0.5, abs=0.1) and best.max() < 0
    assert abs(every.mean()) < 0.25 and every.max() > 0
