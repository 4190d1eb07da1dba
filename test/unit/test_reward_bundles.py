# SPDX-License-Identifier: Apache-2.0
"""Both reward models survive the way over the graph and say clearly when they did not."""

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.data.bundle import Bundle, BundleError, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig, TrunkConfig
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig

P = 10


def trained(name, classes=(0, 1, 2)):
    rng = np.random.default_rng(0)
    config = RewardTrainerConfig(
        reward_model=name, n_classes=3, prop_dim=P, heads=HeadConfig(iterations=10),
        trunk=TrunkConfig(image_size=48, channels=(8, 8), features=16, first_iterations=3, iterations=3),
        erl=ErlRewardConfig(image_size=48, n_classes=3, passes=2),
    )  # fmt: skip
    trainer = RewardTrainer(config, 0)
    jpegs = [encode_jpeg(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)) for _ in range(21)]
    observations = rng.normal(size=(21, 19)).astype(np.float32)
    trainer.add_episode(Episode(observations, np.zeros((20, 3)), jpegs, np.arange(21), False, True, False, 0, 0, -1, P))
    rated = []
    for i, jpeg in enumerate(jpegs):
        segment = Segment(
            f"e0_t{i}_h1", [jpeg], observations[i : i + 1, :P], np.zeros((1, 3), np.float32), np.array([i])
        )
        rated.append(Label.of(segment, classes[i % len(classes)], ""))
    trainer.add_labels(LabelBatch(0, 3, len(rated), rated))
    return trainer.train(), rng.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8), observations[:6, :P]


@pytest.mark.parametrize("name", ["trunk_heads", "erl_vlm"])
def test_the_same_rewards_on_the_other_side(name):
    model, images, proprio = trained(name)
    other = load_reward_model(decode(encode(model.to_bundle()), "reward_model"))
    a, b = (m.predict(m.features(images), proprio) for m in (model, other))
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.std, b.std)
    assert (other.version, other.features_version, other.n_classes) == (
        model.version,
        model.features_version,
        3,
    )
    assert other.health["round"] == 1 and other.health["ratings"] == 21


@pytest.mark.parametrize("name", ["trunk_heads", "erl_vlm"])
def test_all_bad_ratings_give_a_finite_model_without_skill(name):
    model, images, proprio = trained(name, classes=(0,))
    assert np.isfinite(model.predict(model.features(images), proprio).mean).all()
    assert all(np.isfinite(v) for v in model.health.values())
    assert model.health["skill"] <= 0.02


@pytest.mark.parametrize("name", ["trunk_heads", "erl_vlm"])
def test_damaged_models_are_refused(name):
    bundle = trained(name)[0].to_bundle()
    first = next(iter(bundle.arrays))
    with pytest.raises(BundleError):
        load_reward_model(Bundle(bundle.kind, {k: v for k, v in bundle.arrays.items() if k != first}, bundle.meta))
    with pytest.raises(BundleError):
        load_reward_model(Bundle(bundle.kind, bundle.arrays, {"type": bundle.meta["type"]}))
    with refused(BundleError, field="reward_model.meta.type"):
        load_reward_model(Bundle(bundle.kind, bundle.arrays, {"type": "pickle"}))
