# SPDX-License-Identifier: Apache-2.0
"""Soft labels: accepted by both recipes, equal to ratings when they are one-hot, and of use when votes are split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig, TrunkConfig
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble
from erl_vlm_ros.reward.heads import fit_heads
from erl_vlm_ros.reward.losses import rating_loss, rating_targets
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.training.configs import node_values, reward_config

HEADS = HeadConfig(members=3, hidden=16, iterations=60, noise=0.2)


def split_votes(count=400, seed=0):
    """Inputs [M, 1], true class 0/1, and 5 votes of raters who are wrong in 35% of cases."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (count, 1)).astype(np.float32)
    truth = (x[:, 0] > 0).astype(np.int64)
    votes = truth[:, None] ^ (rng.random((count, 5)) < 0.35)
    share = votes.mean(1)
    return x, truth, (share > 0.5).astype(np.int64), np.stack([1 - share, share], 1).astype(np.float32)


def test_one_hot_soft_labels_change_nothing():
    x, _, ratings, _ = split_votes()
    hard, report = fit_heads(x, ratings, 2, HEADS, seed=1)
    soft, same = fit_heads(x, ratings, 2, HEADS, seed=1, soft=np.eye(2, dtype=np.float32)[ratings])
    np.testing.assert_allclose(hard.probabilities(x), soft.probabilities(x), atol=1e-3)
    assert report["held_out_accuracy"] == pytest.approx(same["held_out_accuracy"], abs=0.02)


def test_heads_learn_the_shares_of_the_votes():
    x, _, ratings, soft = split_votes()
    config = HeadConfig(members=3, hidden=16, iterations=150, noise=0.0)
    hard_p = fit_heads(x, ratings, 2, config, seed=1)[0].probabilities(x).mean(0)[:, 1]
    soft_p = fit_heads(x, ratings, 2, config, seed=1, soft=soft)[0].probabilities(x).mean(0)[:, 1]
    expected = np.where(x[:, 0] > 0, 0.65, 0.35)  # the mean share of votes
    far = np.abs(x[:, 0]) > 0.3
    assert np.abs(soft_p - expected)[far].mean() < 0.06
    assert np.abs(soft_p - expected)[far].mean() < 0.5 * np.abs(hard_p - expected)[far].mean()


def test_targets_of_the_papers_losses():
    soft = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    torch.testing.assert_close(rating_targets(soft, 2), soft)
    torch.testing.assert_close(rating_targets(soft, 2, 0.1)[0], torch.tensor([0.23, 0.77]))
    logits = torch.log(soft.clamp_min(1e-9))
    assert float(rating_loss("mae", logits, rating_targets(soft, 2))) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("loss", ["mae", "ce"])
def test_the_papers_model_takes_them(loss):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (24, 1, 48, 48, 3), dtype=np.uint8)
    ratings = np.arange(24) % 3
    config = ErlRewardConfig(image_size=48, loss=loss, ensemble=1, passes=2)
    outputs = []
    for soft in (None, np.eye(3, dtype=np.float32)[ratings], np.full((24, 3), 1 / 3, np.float32)):
        model = ErlRewardEnsemble(config, seed=0)
        model.fit(images, ratings, np.random.default_rng(1), soft)
        outputs.append(model.raw_members(images[:, 0]))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-4
    with refused(ConfigError, parameter="soft", code=Code.DOES_NOT_FIT):
        ErlRewardEnsemble(config, 0).fit(images, ratings, np.random.default_rng(1), np.ones((24, 2)))


def trainer(**changes):
    config = RewardTrainerConfig(
        n_classes=3, prop_dim=10, heads=HEADS, trunk=TrunkConfig(first_iterations=2, iterations=1), **changes
    )
    return RewardTrainer(config, seed=0)


def rated_batch(soft, teacher="ensemble"):
    rng, rated = np.random.default_rng(0), []
    for i in range(12):
        jpeg = encode_jpeg(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8))
        segment = Segment(f"e0_t{i}_h1", [jpeg], np.full((1, 10), i / 12), np.zeros((1, 3)), np.array([i]))
        label = np.array([0.4, 0.6, 0.0]) if soft and i % 3 == 1 else None
        rated.append(Label.of(segment, i % 3, "", label))
    return LabelBatch(0, 3, 12, rated, teacher)


def test_the_trainer_uses_them_by_option_and_keeps_them():
    predictions = {}
    for on in (False, True):
        for soft in (False, True):
            t = trainer(soft_labels=on)
            assert t.add_labels(rated_batch(soft)) == 12
            model = t.train()
            predictions[on, soft] = model.predict(model.features(t.images[:, 0]), t.proprio[:, 0]).mean
    np.testing.assert_array_equal(predictions[False, False], predictions[False, True])
    assert np.abs(predictions[True, False] - predictions[True, True]).max() > 1e-5
    copy = trainer(soft_labels=True)
    copy.load_state_dict(t.state_dict())
    np.testing.assert_array_equal(copy.soft, t.soft)
    assert t.soft[1] == pytest.approx([0.4, 0.6, 0.0])
    old = {k: v for k, v in t.state_dict().items() if k not in ("soft", "scripted")}
    copy.load_state_dict(old)
    np.testing.assert_array_equal(copy.soft.argmax(1), copy.ratings)


def test_a_model_taught_by_the_simulations_truth_says_so():
    t = trainer()
    t.add_labels(rated_batch(False, "scripted"))
    assert t.train().health["scripted_ratings"] == 12
    plain = trainer()
    plain.add_labels(rated_batch(False))
    assert "scripted_ratings" not in plain.train().health


def test_it_is_a_parameter():
    task = load_task("drawer_open")
    assert not reward_config(node_values("reward_trainer", task), task).soft_labels
    assert reward_config(node_values("reward_trainer", task, {"soft_labels": True}), task).soft_labels
