# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.reward.heads import fit_heads, folds, rating_noise
from erl_vlm_ros.reward.trunk import TrunkTrainer, encode

SMALL = TrunkConfig(
    image_size=32, target_size=16, channels=(8, 16, 16), features=32, first_iterations=150, iterations=20
)


def scene(n, seed=0, size=32):
    """A bright square whose place is in the proprioception; its height is the class."""
    rng = np.random.default_rng(seed)
    images = np.full((n, size, size, 3), 90, np.uint8)
    at = rng.integers(2, size - 6, (n, 2))
    for image, (y, x) in zip(images, at):
        image[y : y + 4, x : x + 4] = (220, 40, 40)
    return images, at.astype(np.float32), np.minimum(at[:, 0] * 5 // size, 4).astype(np.int64)


def test_folds_spread_every_class():
    ratings = np.array([0] * 50 + [1] * 5)
    fold = folds(ratings, 5, np.random.default_rng(0))
    assert [int((fold[ratings == 1] == f).sum()) for f in range(5)] == [1] * 5


def test_heads_survive_wrong_ratings():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = np.digitize(x[:, 0], [-0.8, -0.2, 0.3, 0.9])
    noisy = np.where(rng.random(400) < 0.2, (y + rng.integers(1, 5, 400)) % 5, y)
    heads, report = fit_heads(x, noisy, 5, HeadConfig(), seed=1)
    fresh = rng.normal(size=(500, 6)).astype(np.float32)
    value = heads.probabilities(fresh).mean(0) @ np.arange(5)
    assert np.corrcoef(value, np.digitize(fresh[:, 0], [-0.8, -0.2, 0.3, 0.9]))[0, 1] > 0.9
    assert 0.4 < report["held_out_accuracy"] < 0.9  # it may not claim more than the noise allows


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.35, 0.45])
def test_far_off_ratings_tell_how_many_are_wrong(noise):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 4000)
    ratings = np.where(rng.random(4000) < noise, (truth + rng.integers(1, 5, 4000)) % 5, truth)
    blurred = np.clip(truth + rng.integers(-1, 2, 4000) * (rng.random(4000) < 0.1), 0, 4)  # a model a little off
    assert rating_noise(truth, ratings, 5) == pytest.approx(noise, abs=0.03)
    assert rating_noise(blurred, ratings, 5) == pytest.approx(noise, abs=0.06)


def test_noise_that_cannot_be_told_is_not_told():
    assert rating_noise(np.zeros(500, int), np.ones(500, int), 2) is None  # no class is two classes off
    assert rating_noise(np.zeros(50, int), np.zeros(50, int), 5) is None
    assert rating_noise(np.full(500, 1), np.zeros(500, int), 3) is None


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_heads_report_the_noise_of_their_ratings(noise):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    y = np.digitize(x[:, 0], [-0.8, -0.2, 0.3, 0.9])
    noisy = np.where(rng.random(600) < noise, (y + rng.integers(1, 5, 600)) % 5, y)
    _, report = fit_heads(x, noisy, 5, HeadConfig(), seed=1)
    assert report["rating_noise"] == pytest.approx(noise, abs=0.1)


@pytest.mark.parametrize("count,classes", [(1, 5), (3, 2), (12, 3)])
def test_few_ratings_and_missing_classes(count, classes):
    heads, _ = fit_heads(
        np.ones((count, 4), np.float32), np.zeros(count, np.int64), classes, HeadConfig(iterations=20), 0
    )
    p = heads.probabilities(np.zeros((7, 4), np.float32))
    assert p.shape == (5, 7, classes) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-4)


def test_heads_round_trip():
    heads, _ = fit_heads(
        np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 3, 3, HeadConfig(iterations=20), 0
    )
    again = type(heads).from_arrays(heads.arrays())
    x = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_array_equal(heads.probabilities(x), again.probabilities(x))


@pytest.mark.slow
def test_trunk_features_carry_what_no_label_told():
    images, at, rating = scene(1500)
    trainer = TrunkTrainer(SMALL, 2, seed=0)
    trainer.train(images, at)
    train, test = slice(0, 120), slice(1000, 1500)
    features = encode(trainer.trunk, images)
    heads, _ = fit_heads(features[train], rating[train], 5, HeadConfig(), 0)
    value = heads.probabilities(features[test]).mean(0) @ np.arange(5)
    assert np.corrcoef(value, rating[test])[0, 1] > 0.8


def test_trunk_is_due_when_frames_have_grown():
    trainer = TrunkTrainer(SMALL, 2, seed=0)
    images, at, _ = scene(64)
    assert not trainer.due(0) and trainer.due(64)
    trainer.train(images, at)
    assert not trainer.due(70) and trainer.due(80)
    trainer.config = dataclasses.replace(SMALL, enough_frames=64)
    assert not trainer.due(10_000)


@pytest.mark.slow
def test_trunk_resumes_bit_for_bit():
    images, at, _ = scene(128)
    a, b = TrunkTrainer(SMALL, 2, seed=0), TrunkTrainer(SMALL, 2, seed=9)
    a.train(images, at)
    b.load_state_dict(a.state_dict())
    a.train(images, at), b.train(images, at)
    for x, y in zip(a.trunk.parameters(), b.trunk.parameters()):
        assert torch.equal(x, y)


def test_a_checkpoint_of_other_sizes_is_refused():
    state = TrunkTrainer(SMALL, 2, seed=0).state_dict()
    with refused(ConfigError, parameter="trunk", code=Code.DOES_NOT_FIT):
        TrunkTrainer(TrunkConfig(), 2, seed=0).load_state_dict(state)
