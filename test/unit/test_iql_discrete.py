# SPDX-License-Identifier: Apache-2.0
"""Discrete IQL: losses by hand and by autograd, known answers, an (action, object) world, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import refused
from toy_grid import Shelf, shelf_spaces

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.iql_discrete import DiscreteIqlAgent
from erl_vlm_ros.agents.offline_config import DiscreteIqlConfig
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.choices import Moves
from erl_vlm_ros.data.replay import TransitionBatch
from erl_vlm_ros.data.spaces import spaces_of
from erl_vlm_ros.training.configs import node_values

TAKES, OBJECTS = (False, True, True), 2


def batch_of(obs, moves, reward, next_obs, terminated) -> TransitionBatch:
    arrays = (obs, moves, reward, next_obs, terminated)
    return TransitionBatch(*(torch.from_numpy(np.asarray(a, np.float32)) for a in arrays))


class Drawn:
    """Any move in any of two states; the reward is 1 for move 0 in the first and for move 4 in the second."""

    def __init__(self, seed=0):
        self.rng, self.moves = np.random.default_rng(seed), Moves(TAKES, OBJECTS)

    def transitions(self, count):
        obs = np.eye(2)[self.rng.integers(2, size=count)]
        move = self.rng.integers(len(self.moves), size=count)
        reward = move == np.where(obs[:, 0] > 0, 0, 4)
        actions = np.stack([self.moves.vector(m) for m in move])
        return batch_of(obs, actions, reward, obs, np.ones(count))


def agent_of(seed=0, **more) -> DiscreteIqlAgent:
    given = {"hidden": (8,), "batch_size": 64, "balance": False, "takes": TAKES, **more}
    return DiscreteIqlAgent(DiscreteIqlConfig(2, 5, **given), seed)


def test_cross_entropy_by_hand():
    """Zero weights: every action has probability 1/3 and every object 1/2, so a move with an object costs log 6."""
    agent = agent_of()
    for net in ("actor", "average"):
        agent.networks[net].flat.zero_()
    moves = agent.moves
    actions = torch.from_numpy(np.stack([moves.vector(m) for m in (0, 1, 4)]))
    lost = agent._clone(torch.zeros(3, 2), actions, torch.tensor([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(lost, np.log([3, 6, 6]), rtol=1e-6)
    slope = agent.networks["actor"].named_grad["b1"][0].numpy()  # mean of weight * (p - one-hot)
    third = (1 / 3, 1 / 3, 1 / 3)
    by_hand = np.array([[*third, 0, 0], [*third, 0.5, 0.5], [*third, 0.5, 0.5]])
    by_hand -= np.array([[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1]])
    np.testing.assert_allclose(slope, (by_hand * np.array([[1], [2], [3]])).mean(0), atol=1e-6)


def test_an_update_descends_the_papers_losses():
    """Gradients of value, critics and actor against autograd on the losses written down independently."""
    agent, batch = agent_of(expectile=0.7, beta=2.0, normalise_advantages=False), Drawn(3).transitions(64)
    nets, cfg = agent.networks, agent.config

    class Once:
        def transitions(self, count):
            return batch

    agent.normaliser.fit(Once())
    before = {name: {k: v.clone() for k, v in net.named.items()} for name, net in nets.items()}

    def run(name, x, member=0):
        p = {k: v[member].clone().requires_grad_() for k, v in before[name].items()}
        h = x @ p["w0"] + p["b0"]
        if "g0" in p:
            h = torch.nn.functional.layer_norm(h, h.shape[1:], p["g0"], p["s0"])
        return torch.relu(h) @ p["w1"] + p["b1"], p

    obs, done = agent.normaliser(batch.obs), agent.moves.numbers(batch.action.numpy())
    rows = torch.arange(64)
    q = torch.minimum(run("target", obs)[0], run("target", obs, 1)[0])[rows, done].detach()
    value, p_value = run("value", obs)
    error = q - value[:, 0]
    (torch.abs(cfg.expectile - (error < 0).float()) * error**2).mean().backward()
    goal = (batch.reward + cfg.gamma * (1 - batch.terminated) * run("value", obs)[0][:, 0]).detach()
    found, p_q = run("critic", obs)
    ((found[rows, done] - goal) ** 2).mean().backward()
    weight = torch.exp(cfg.beta * error).clamp(max=100).detach()
    logits, p_actor = run("actor", obs)
    pairs = agent.moves.pairs[done]
    log_p = torch.log_softmax(logits[:, :3], 1)[rows, pairs[:, 0]]
    log_o = torch.log_softmax(logits[:, 3:], 1)[rows, pairs[:, 1].clip(0)]
    takes = torch.from_numpy(pairs[:, 1] >= 0)
    (-weight * (log_p + torch.where(takes, log_o, 0.0))).mean().backward()
    agent.update(Once())
    for name, expected in (("value", p_value), ("critic", p_q), ("actor", p_actor)):
        for key, tensor in expected.items():
            np.testing.assert_allclose(nets[name].named_grad[key][0], tensor.grad, atol=2e-6, rtol=2e-4, err_msg=key)


def said(agent, obs):
    exported = agent.policy()
    return make_policy(exported.kind, exported.arrays, exported.meta).act(np.asarray(obs, np.float32), True)


def test_a_bandit_of_moves():
    agent, data = agent_of(hidden=(32,), beta=10.0), Drawn()
    for _ in range(600):
        figures = agent.update(data)
    numbers = [int(agent.moves.numbers(said(agent, obs))[0]) for obs in np.eye(2)]
    assert numbers == [0, 4] and agent.finite() and figures["effective_share"] < 0.9
    q = agent.networks["critic"].forward(agent.normaliser(torch.eye(2)))[0][0]
    np.testing.assert_allclose(q, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0, 1])
def test_an_action_object_world_is_solved_for_each_mission(wanted):
    """Random play of a world where one of two things is to be taken and put down; the policy does it in two moves."""
    spaces, moves = shelf_spaces(), Moves.of(shelf_spaces().action)
    rng, world, rows = np.random.default_rng(0), Shelf(None), []
    for seed in range(300):
        world.reset(seed)
        for _ in range(6):
            obs, move = world.observation(), int(rng.integers(len(moves)))
            world.do(moves.vector(move))
            rows.append((obs, moves.vector(move), world.truth()["success"], world.observation(), 0.0))
    columns = [np.array(column) for column in zip(*rows)]

    class Recorded:
        def transitions(self, count):
            index = rng.integers(len(rows), size=count)
            return batch_of(*(column[index] for column in columns))

    values = node_values("learner", load_task("drawer_open"), {"iql.hidden": [32], "iql.tau": 0.05})
    agent = AgentSpec.from_values(values, spaces.observation.size, spaces.action.size, spaces.action).make(0)
    assert isinstance(agent, DiscreteIqlAgent)
    for _ in range(800):
        agent.update(Recorded())
    world.reset(wanted)
    for _ in range(2):
        world.do(said(agent, world.observation()))
    assert world.truth()["success"] == 1.0


def test_the_algorithm_follows_from_the_action():
    task, spaces = load_task("drawer_open"), shelf_spaces()

    def made(name, action):
        values = node_values("learner", task, {"algorithm": name})
        return AgentSpec.from_values(values, 4, action.size, action).algorithm

    assert {made(name, spaces.action) for name in ("sac", "iql", "iql_discrete")} == {"iql_discrete"}
    arm = spaces_of(task, 6).action
    assert [made(name, arm) for name in ("sac", "iql", "bc")] == ["sac", "iql", "bc"]
    for name, action in (("bc", spaces.action), ("cpl", spaces.action), ("iql_discrete", arm)):
        with refused(ConfigError, parameter="learner.algorithm", code=Code.DOES_NOT_FIT):
            made(name, action)


def test_a_checkpoint_goes_on_alike(tmp_path):
    one, data = agent_of(1), Drawn(1)
    for _ in range(3):
        one.update(data)
    save_state(tmp_path / "agent.safetensors", one.state_dict(), "test")
    other = agent_of(2)
    other.load_state_dict(load_state(tmp_path / "agent.safetensors", "test"))
    one.update(Drawn(7)), other.update(Drawn(7))
    for key, array in one.policy().arrays.items():
        np.testing.assert_array_equal(array, other.policy().arrays[key])
    with refused(ConfigError, parameter="agent.takes"):
        agent_of(takes=(True, False, True)).load_state_dict(one.state_dict())
