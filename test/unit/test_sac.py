# SPDX-License-Identifier: Apache-2.0
"""SAC: derivatives against autograd, targets by hand, seeding, saving, and learning a small task."""

import math

import numpy as np
import pytest
import torch
from refusals import refused
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.nn import functional as F

from erl_vlm_ros.agents import linear
from erl_vlm_ros.agents.networks import EnsembleMlp
from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.replay import ReplayBuffer, TransitionBatch

torch.set_num_threads(1)


def make_batch(size=32, obs=5, act=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return TransitionBatch(
        torch.randn(size, obs, generator=rng),
        torch.rand(size, act, generator=rng) * 2 - 1,
        torch.randn(size, generator=rng),
        torch.randn(size, obs, generator=rng),
        (torch.rand(size, generator=rng) < 0.3).float(),
    )


def plain_mlp(named, x, member):
    """The same network written with autograd."""
    i = 0
    while f"w{i + 1}" in named:
        x = x @ named[f"w{i}"][member] + named[f"b{i}"][member]
        if f"g{i}" in named:
            x = F.layer_norm(x, x.shape[1:], named[f"g{i}"][member], named[f"s{i}"][member])
        x, i = x.relu(), i + 1
    return x @ named[f"w{i}"][member] + named[f"b{i}"][member]


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("hidden, batch, outputs", [((16, 24), 8, 3), ((256, 192), 128, 6), ((128,), 300, 1)])
def test_forward_and_backward_agree_with_autograd(layer_norm, onednn, hidden, batch, outputs, monkeypatch):
    if not onednn:
        monkeypatch.setattr(linear, "_ONEDNN", None)
    rng = torch.Generator().manual_seed(1)
    net = EnsembleMlp(7, hidden, outputs, members=2, layer_norm=layer_norm, generator=rng)
    for name, value in net.named.items():
        if name[0] in "gs":
            value.add_(torch.randn(value.shape, generator=rng) * 0.3)
    x = torch.randn(batch, 7, generator=rng)
    grads = [torch.randn(batch, outputs, generator=rng) for _ in range(2)]
    outputs_, record = net.forward(x)
    net.backward(record, grads)
    grad_x, grad_tail = net.input_gradient(record, grads), net.input_gradient(record, grads, first=4)

    leaf_x = x.clone().requires_grad_(True)
    leaves = {k: v.clone().requires_grad_(True) for k, v in net.named.items()}
    expected = [plain_mlp(leaves, leaf_x, e) for e in range(2)]
    sum((y * g).sum() for y, g in zip(expected, grads)).backward()
    close = {"rtol": 1e-3, "atol": 2e-4}
    for got, want in zip(outputs_, expected):
        torch.testing.assert_close(got, want.detach(), **close)
    for name, leaf in leaves.items():
        assert leaf.grad.abs().max() > 0
        torch.testing.assert_close(net.named_grad[name], leaf.grad, **close)
    torch.testing.assert_close(grad_x, leaf_x.grad, **close)
    torch.testing.assert_close(grad_tail, leaf_x.grad[:, 4:], **close)


class Reference:
    """SAC written plainly with autograd, torch.distributions and one Adam a network."""

    def __init__(self, sac):
        self.cfg, self.generator = sac.cfg, torch.Generator()
        self.generator.set_state(sac.generator.get_state())
        nets = {n: getattr(sac, n).named for n in ("actor", "critic", "target")}
        self.nets = {
            n: {k: v.clone().requires_grad_(n != "target") for k, v in named.items()} for n, named in nets.items()
        }
        self.log_alpha = sac.log_alpha.detach().clone().requires_grad_(True)
        cfg = sac.cfg
        self.opt = {
            "critic": torch.optim.Adam(self.nets["critic"].values(), cfg.critic_lr),
            "actor": torch.optim.Adam(self.nets["actor"].values(), cfg.actor_lr),
            "alpha": torch.optim.Adam([self.log_alpha], cfg.alpha_lr),
        }

    def policy(self, obs):
        mean, raw = plain_mlp(self.nets["actor"], obs, 0).chunk(2, 1)
        low, high = self.cfg.log_std_min, self.cfg.log_std_max
        log_std = low + (high - low) * (torch.tanh(raw) + 1) / 2
        distribution = TransformedDistribution(
            Independent(Normal(mean, log_std.exp()), 1), [TanhTransform(cache_size=1)]
        )
        u = mean + log_std.exp() * torch.randn(mean.shape, generator=self.generator)
        action = distribution.transforms[0](u)
        return action, distribution.log_prob(action)

    def q(self, name, obs, action):
        return torch.stack([plain_mlp(self.nets[name], torch.cat((obs, action), 1), e)[:, 0] for e in range(2)])

    def step(self, name, loss):
        self.opt[name].zero_grad()
        loss.backward(inputs=[p for g in self.opt[name].param_groups for p in g["params"]], retain_graph=True)
        self.opt[name].step()

    def update(self, batch, with_actor, with_target):
        cfg, alpha = self.cfg, self.log_alpha.exp().detach()
        with torch.no_grad():
            next_action, next_log_prob = self.policy(batch.next_obs)
            value = self.q("target", batch.next_obs, next_action).min(0).values
            if cfg.backup_entropy:
                value = value - alpha * next_log_prob
            goal = batch.reward + cfg.gamma * (1 - batch.terminated) * value
        self.step("critic", 0.5 * ((self.q("critic", batch.obs, batch.action) - goal) ** 2).mean(1).sum())
        if with_actor:
            action, log_prob = self.policy(batch.obs)
            loss = (alpha * log_prob - self.q("critic", batch.obs, action).min(0).values).mean()
            alpha_loss = -(self.log_alpha * (log_prob.detach() - cfg.act_dim)).mean()
            self.step("actor", loss)
            self.step("alpha", alpha_loss)
        if with_target:
            with torch.no_grad():
                for key, value in self.nets["target"].items():
                    value.lerp_(self.nets["critic"][key], cfg.tau)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"critic_layer_norm": False, "backup_entropy": False, "gamma": 0.9},
        {"policy_delay": 2, "target_delay": 3, "hidden": (64, 64, 64)},
    ],
)
def test_updates_agree_with_a_plain_autograd_implementation(overrides):
    cfg = SACConfig.from_profile("fast", 5, 2, **{"hidden": (64, 64), **overrides})
    sac = SAC(cfg, seed=3)
    reference = Reference(sac)
    for i in range(1, 7):
        batch = make_batch(seed=i)
        metrics = sac.update(batch)
        reference.update(batch, i % cfg.policy_delay == 0, i % cfg.target_delay == 0)
        assert all(math.isfinite(v) for v in dict(metrics).values())
    for name in ("actor", "critic", "target"):
        for key, value in getattr(sac, name).named.items():
            # Adam's first steps are lr * sign(gradient): rounding may flip where a gradient is nearly zero.
            difference = (value - reference.nets[name][key].detach()).abs()
            assert difference.mean() < 2e-6, (name, key)
    torch.testing.assert_close(sac.log_alpha.detach(), reference.log_alpha.detach(), rtol=1e-5, atol=1e-5)


def test_target_is_bootstrapped_through_truncation_and_cut_at_termination():
    cfg = SACConfig(4, 2, hidden=(8,), gamma=0.9, backup_entropy=False, critic_layer_norm=False)
    replay = ReplayBuffer(10, 4, 2, 2)
    for terminated in (True, False):  # the second ends by its time limit
        replay.add_episode(
            Episode(
                np.ones((2, 4)),
                np.zeros((1, 2)),
                [b"", b""],
                np.arange(2),
                terminated,
                not terminated,
                False,
                0,
                0,
                -1,
                2,
            ),
            rewards=np.array([2.0]),
        )
    errors = []
    for index in (0, 1):
        sac = SAC(cfg, 0)
        for net, bias in ((sac.target, 5.0), (sac.critic, 0.0)):
            for value in net.named.values():
                value.zero_()
            net.named["b1"].fill_(bias)
        errors.append(sac.update(replay.gather(np.array([index])))["critic_error"])
    assert errors == pytest.approx([2.0, 2.0 + 0.9 * 5.0])


def test_log_probability_is_finite_and_exact_far_in_the_tails():
    sac = SAC(SACConfig(3, 1, hidden=(4,)), 0)
    for value in sac.actor.named.values():
        value.zero_()
    for mean in (0.0, 8.0, 40.0, -300.0):
        sac.actor.named["b1"][0, 0] = mean
        state = sac.generator.get_state()
        action, log_prob, _ = sac._policy(torch.zeros(16, 3))
        sac.generator.set_state(state)
        noise = torch.randn(16, 1, generator=sac.generator).double()
        std = math.exp((sac.cfg.log_std_min + sac.cfg.log_std_max) / 2)
        u = mean + std * noise
        exact = Normal(mean, std).log_prob(u) - 2 * (math.log(2) - u.abs() - F.softplus(-2 * u.abs()))
        torch.testing.assert_close(log_prob.double(), exact[:, 0], rtol=1e-5, atol=1e-4)
        assert torch.isfinite(action).all() and action.abs().max() <= 1


def run_updates(sac, count, first_seed=0):
    for i in range(count):
        sac.update(make_batch(seed=first_seed + i))
    return sac


def flat_numbers(sac):
    return torch.cat([sac.actor.flat, sac.critic.flat, sac.target.flat, sac.log_alpha])


def test_two_seeded_runs_are_equal_bit_for_bit_and_seeds_differ():
    cfg = SACConfig(5, 2, hidden=(64, 64))
    a, b, c = (run_updates(SAC(cfg, seed), 8) for seed in (1, 1, 2))
    assert torch.equal(flat_numbers(a), flat_numbers(b))
    assert not torch.equal(flat_numbers(a), flat_numbers(c))
    assert (a.act(np.ones(5)) == b.act(np.ones(5))).all()


def test_saved_and_loaded_learner_continues_bit_for_bit(tmp_path):
    cfg = SACConfig(5, 2, hidden=(64, 64), policy_delay=2)
    sac = run_updates(SAC(cfg, 1), 5)
    save_state(tmp_path / "sac", sac.state_dict(), "sac")
    copy = SAC(cfg, 99)
    flat = copy.critic.flat
    copy.load_state_dict(load_state(tmp_path / "sac", "sac"))
    assert copy.critic.flat is flat and copy.updates == 5
    run_updates(sac, 5, first_seed=50)
    run_updates(copy, 5, first_seed=50)
    assert torch.equal(flat_numbers(sac), flat_numbers(copy))
    assert (sac.act(np.ones(5)) == copy.act(np.ones(5))).all()


def test_optimisers_hold_the_parameters_of_the_networks():
    sac = run_updates(SAC(SACConfig(5, 2, hidden=(8,)), 0), 1)
    sac.load_state_dict(sac.state_dict())
    assert sac.critic_optimizer.param_groups[0]["params"][0] is sac.critic.flat
    assert sac.actor_optimizer.param_groups[0]["params"][0] is sac.actor.flat
    assert sac.actor_optimizer.param_groups[1]["params"][0] is sac.log_alpha
    for net in (sac.actor, sac.critic):
        for name, view in net.named.items():
            assert view.untyped_storage().data_ptr() == net.flat.untyped_storage().data_ptr(), name
            assert net.named_grad[name].untyped_storage().data_ptr() == net.flat.grad.untyped_storage().data_ptr(), name


def test_the_saved_average_does_not_replace_the_actor_of_a_run_without_one():
    sac = run_updates(SAC(SACConfig(5, 2, hidden=(8, 8)), 0), 5)
    other = SAC(SACConfig(5, 2, hidden=(8, 8), average_rate=0.0), 1)
    other.load_state_dict(sac.state_dict())
    torch.testing.assert_close(other.actor.flat, sac.actor.flat, rtol=0, atol=0)


def test_divergence_is_noticed():
    sac = SAC(SACConfig(5, 2, hidden=(8, 8)), 0)
    assert sac.finite()
    sac.critic.flat[3] = float("nan")
    assert not sac.finite()


def test_loading_other_sizes_is_refused():
    state = SAC(SACConfig(5, 2, hidden=(8,)), 0).state_dict()
    for name, other in (
        ("sac.hidden", SACConfig(5, 2, hidden=(9,))),
        ("sac.obs_dim", SACConfig(6, 2, hidden=(8,))),
        ("sac.critic_layer_norm", SACConfig(5, 2, hidden=(8,), critic_layer_norm=False)),
    ):
        with refused(ConfigError, parameter=name, code=Code.DOES_NOT_FIT):
            SAC(other, 0).load_state_dict(state)


def test_temperature_floor_and_direction():
    cfg = SACConfig(5, 2, hidden=(16,), init_temperature=0.1, min_temperature=0.05, target_entropy=-50.0, alpha_lr=0.1)
    sac = run_updates(SAC(cfg, 0), 30)
    assert float(sac.log_alpha.exp()) == pytest.approx(0.05)  # entropy above its target: alpha falls to the floor
    rising = run_updates(SAC(SACConfig(5, 2, hidden=(16,), target_entropy=50.0, alpha_lr=0.1), 0), 30)
    assert float(rising.log_alpha.exp()) > 0.2


def test_it_learns_to_move_a_point_to_the_middle():
    """x' = x + 0.2 a, reward -|x'|, 15 steps cut by a time limit: best return from |x| = 1 about -2."""
    sac = SAC(SACConfig(1, 1, hidden=(32, 32), batch_size=64, gamma=0.9, average_rate=0.0), seed=0)
    replay, rng = ReplayBuffer(2000, 1, 1, 1), np.random.default_rng(0)

    def episode(start, choose):
        x, positions, actions = start, [start], []
        for _ in range(15):
            actions.append(choose(np.array([x], np.float32)))
            x = float(np.clip(x + 0.2 * actions[-1][0], -2, 2))
            positions.append(x)
        observations = np.array(positions)[:, None]
        parts = Episode(observations, np.array(actions), [b""] * 16, np.arange(16), False, True, False, 0, 0, -1, 1)
        return parts, -np.abs(observations[1:, 0])

    for number in range(30):
        parts, rewards = episode(rng.uniform(-1.5, 1.5), sac.act if number >= 10 else lambda _: rng.uniform(-1, 1, 1))
        replay.add_episode(parts, rewards)
        for _ in range(15 if number >= 10 else 0):
            sac.update(replay.sample(64, rng))
    for start in (-1.0, 1.0):
        parts, rewards = episode(start, lambda obs: sac.act(obs, deterministic=True))
        assert rewards.sum() > -4 and abs(parts.observations[-1, 0]) < 0.2, (start, rewards.sum())
