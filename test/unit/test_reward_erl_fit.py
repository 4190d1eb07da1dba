# SPDX-License-Identifier: Apache-2.0
"""Learning with the ERL-VLM ensemble on synthetic images: where a bright square lies is the class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from erl_vlm_ros.reward.configs import ErlRewardConfig
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble

SIZE = 48
torch.set_num_threads(1)  # small tensors: more threads only wait for each other


def squares(count, n, rng, frames=1):
    """Images u8 [count, frames, s, s, 3] and classes [count]: the square's column band is the class."""
    classes = rng.integers(0, n, count)
    images = rng.integers(0, 40, (count, frames, SIZE, SIZE, 3), dtype=np.uint8)
    band = SIZE // n
    for m in range(count):
        for h in range(frames):
            row = rng.integers(0, SIZE - 8)
            column = classes[m] * band + rng.integers(0, band - 7)
            images[m, h, row : row + 8, column : column + 8] = 230
    return images, classes


def rank_correlation(values, classes):
    """Spearman's, ties averaged."""

    def ranks(x):
        _, code, counts = np.unique(x, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[code]

    return float(np.corrcoef(ranks(values), ranks(classes))[0, 1])


def learn(n, frames=1, count=160, seed=0, **overrides):
    """Fit, then the report and the rank correlation on 200 new images."""
    rng = np.random.default_rng(seed)
    images, classes = squares(count, n, rng, frames)
    defaults = {"image_size": SIZE, "n_classes": n, "lr": 1e-3, "passes": 30}
    model = ErlRewardEnsemble(ErlRewardConfig(**(defaults | overrides)), seed)
    report = model.fit(images, classes, rng)
    new_images, new_classes = squares(200, n, rng)
    return report, rank_correlation(model.predict(new_images[:, 0]), new_classes)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_learns_the_order_of_n_classes(n, frames):
    report, correlation = learn(n, frames, boundary="midpoint")
    assert report.passes <= 30 and len(report.losses) == report.passes
    assert correlation > 0.8


@pytest.mark.parametrize("n", [2, 3])
def test_learns_as_in_the_paper(n):
    report, correlation = learn(n)
    assert report.accuracy > 0.97 and report.passes < 30  # ended early
    assert correlation > 0.8


@pytest.mark.parametrize(
    "ablation",
    [
        {"loss": "ce"},
        {"loss": "ce", "stratified": False, "class_weights": False},
        {"loss": "ce", "label_smoothing": 0.1},
        {"stratified": False},
        {"class_weights": False},
        {"batch_size": 80},
    ],
)
def test_every_ablation_learns_when_ratings_are_right(ablation):
    _, correlation = learn(3, **ablation)
    assert correlation > 0.8


@pytest.mark.slow
def test_mae_withstands_wrong_ratings_better_than_ce():
    # The paper's reason for Eq. 3; 20% of 300 ratings are wrong. One network, three seeds.
    def correlation(loss, seed):
        rng = np.random.default_rng(seed)
        images, classes = squares(300, 2, rng)
        wrong = rng.random(300) < 0.2
        config = ErlRewardConfig(image_size=SIZE, n_classes=2, ensemble=1, lr=1e-3, passes=20, loss=loss)
        model = ErlRewardEnsemble(config, 0)
        model.fit(images, np.where(wrong, 1 - classes, classes), rng)
        new_images, new_classes = squares(300, 2, rng)
        return rank_correlation(model.predict(new_images[:, 0]), new_classes)

    mae, ce = (np.mean([correlation(loss, seed) for seed in range(3)]) for loss in ("mae", "ce"))
    assert mae > ce + 0.05


@pytest.mark.slow
def test_edge_boundaries_need_the_early_stop_and_midpoints_do_not():
    _, edge = learn(3, early_stop_accuracy=1.0, passes=60, boundary="edge", ensemble=1)
    _, midpoint = learn(3, early_stop_accuracy=1.0, passes=60, boundary="midpoint", ensemble=1)
    assert midpoint > 0.9
    assert midpoint > edge + 0.03


def test_a_segment_is_rated_by_the_sum_of_its_frames():
    # Class = number of frames out of 2 with the square on the right; single frames are never rated.
    rng = np.random.default_rng(0)
    images, right = squares(2 * 160, 2, rng)
    images, right = images[:, 0].reshape(160, 2, SIZE, SIZE, 3), right.reshape(160, 2)
    config = ErlRewardConfig(image_size=SIZE, n_classes=3, lr=1e-3, passes=30, boundary="midpoint")
    model = ErlRewardEnsemble(config, 0)
    model.fit(images, right.sum(axis=1), rng)
    new_images, new_right = squares(200, 2, rng)
    assert rank_correlation(model.predict(new_images[:, 0]), new_right) > 0.8


def test_batches_without_the_rarest_class_teach_the_others():
    # 4 of class 0 among 160 in 8 batches: half of them lack class 0, where the released boundary wraps.
    rng = np.random.default_rng(2)
    images, classes = squares(400, 3, rng)
    kept = [np.flatnonzero(classes == c)[:count] for c, count in enumerate((4, 78, 78))]
    keep = rng.permutation(np.concatenate(kept))
    config = ErlRewardConfig(image_size=SIZE, n_classes=3, batch_size=20, passes=4)
    model = ErlRewardEnsemble(config, 0)
    report = model.fit(images[keep], classes[keep], rng)
    assert report.counts == (4, 78, 78) and report.accuracy > 0.9
    new_images, new_classes = squares(300, 3, rng)
    known = new_classes > 0
    # Two classes of equal size reach at most sqrt(3) / 2 = .866.
    assert rank_correlation(model.predict(new_images[known, 0]), new_classes[known]) > 0.75
