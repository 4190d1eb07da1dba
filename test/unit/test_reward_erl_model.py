# SPDX-License-Identifier: Apache-2.0
"""The ERL-VLM ensemble as an object: seeds, state, publishing, scales, bad input, nothing to learn."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.reward import erl_ensemble
from erl_vlm_ros.reward.configs import ErlRewardConfig
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble

SIZE = 48
torch.set_num_threads(1)  # small tensors: more threads only wait for each other
CONFIG = ErlRewardConfig(image_size=SIZE, n_classes=3, passes=3, batch_size=16, lr=1e-3, early_stop_accuracy=1.0)


def rated(count=24, n=3, seed=0, frames=1):
    rng = np.random.default_rng(seed)
    ratings = np.arange(count) % n
    images = rng.integers(0, 60, (count, frames, SIZE, SIZE, 3), dtype=np.uint8)
    for m in range(count):
        images[m, :, 10:20, 4 + 14 * ratings[m] : 14 + 14 * ratings[m]] = 230
    return images, ratings


def fitted(config=CONFIG, seed=0):
    model = ErlRewardEnsemble(config, seed)
    report = model.fit(*rated(), np.random.default_rng(5))
    return model, report


def finite(model):
    return all(bool(torch.isfinite(p).all()) for p in model.networks.parameters())


@pytest.mark.slow
def test_same_seed_same_numbers():
    images = rated(seed=9)[0][:, 0]
    (one, report), (two, again), (other, _) = fitted(), fitted(), fitted(seed=1)
    assert report.losses == again.losses and report.accuracy == again.accuracy
    np.testing.assert_array_equal(one.predict(images), two.predict(images))
    assert not np.array_equal(one.predict(images), other.predict(images))


def test_state_dict_continues_exactly():
    one, _ = fitted()
    two = ErlRewardEnsemble(CONFIG, seed=7)
    two.load_state_dict(one.state_dict())
    images, ratings = rated(seed=3)
    np.testing.assert_array_equal(one.predict(images[:, 0]), two.predict(images[:, 0]))
    first = one.fit(images, ratings, np.random.default_rng(1))
    second = two.fit(images, ratings, np.random.default_rng(1))
    assert first.losses == second.losses
    np.testing.assert_array_equal(one.predict(images[:, 0]), two.predict(images[:, 0]))


@pytest.mark.parametrize("loss", ["mae", "ce"])
@pytest.mark.parametrize(
    "change",
    [{}, {"label_smoothing": 0.1}, {"class_weights": False}, {"k": 10.0}, {"boundary": "midpoint"}],
)
def test_the_loss_of_the_first_pass_is_the_papers(loss, change):
    # One batch: the reported loss is that of the untrained networks: their outputs and the formulas.
    config = dataclasses.replace(CONFIG, batch_size=64, passes=1, loss=loss, **change)
    model = ErlRewardEnsemble(config, 3)
    with torch.no_grad():
        model.networks.head_weight.mul_(50.0)
    images, _ = rated(count=20, frames=2)
    ratings = np.array([0] * 12 + [1] * 5 + [2] * 3)
    outputs = model.raw_members(images.reshape(-1, SIZE, SIZE, 3)).reshape(3, 20, 2).astype(np.float64)
    weight = np.ones(20)
    if config.class_weights:  # (8, 15, 17) / 20 by the smallest
        weight = np.array([1.0, 15 / 8, 17 / 8])[ratings]
    expected = []
    for returns in outputs.sum(axis=2):
        scaled = (returns - returns.min()) / (returns.max() - returns.min() + 1e-6)
        ordered = np.sort(scaled)
        inner = [ordered[11], ordered[16]]
        if config.boundary == "midpoint":
            inner = [(ordered[11] + ordered[12]) / 2, (ordered[16] + ordered[17]) / 2]
        cuts = np.array([0.0, *inner, 1.0])
        odds = np.exp(-config.k * (scaled[:, None] - cuts[:-1]) * (scaled[:, None] - cuts[1:]))
        probability = odds / odds.sum(axis=1, keepdims=True)
        target = np.eye(3)[ratings] * (1 - config.label_smoothing) + config.label_smoothing / 3
        if loss == "mae":
            terms = np.abs(probability - target).sum(axis=1)
        else:
            terms = -(target * np.log(probability)).sum(axis=1)
        expected.append((weight * terms).sum() / weight.sum())
    report = model.fit(images, ratings, np.random.default_rng(0))
    assert report.losses[0] == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("stratified", [True, False])
def test_batches_follow_the_configuration(stratified, monkeypatch):
    called = []
    for name in ("stratified_batches", "uniform_batches"):
        real = getattr(erl_ensemble, name)

        def spy(labels, batch_size, generator, name=name, real=real):
            called.append((name, batch_size))
            return real(labels, batch_size, generator)

        monkeypatch.setattr(erl_ensemble, name, spy)
    fitted(dataclasses.replace(CONFIG, stratified=stratified, passes=1))
    name = "stratified_batches" if stratified else "uniform_batches"
    assert called == [(name, 16)] * 3  # every member has its own


def test_state_dict_is_a_copy():
    model, _ = fitted()
    state = model.state_dict()
    before = {name: value.clone() for name, value in state["networks"].items()}
    model.fit(*rated(seed=4), np.random.default_rng(2))
    assert all(torch.equal(before[name], value) for name, value in state["networks"].items())


def test_published_arrays_predict_the_same():
    model, _ = fitted()
    arrays, meta = model.to_arrays()
    assert all(array.dtype == np.float32 for array in arrays.values())
    copy = ErlRewardEnsemble.from_arrays(arrays, json.loads(json.dumps(meta)))
    images = rated(seed=9)[0][:, 0]
    np.testing.assert_array_equal(copy.predict(images), model.predict(images))
    assert copy.config == CONFIG


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda arrays, meta: arrays.pop("head_bias"), {"parameter": "arrays.head_bias", "code": Code.DOES_NOT_FIT}),
        (
            lambda arrays, meta: arrays.update(extra=np.zeros(1, np.float32)),
            {"parameter": "arrays.extra", "code": Code.DOES_NOT_FIT},
        ),
        (
            lambda arrays, meta: arrays.update(offsets=np.zeros(2, np.float32)),
            {"parameter": "arrays.offsets", "code": Code.DOES_NOT_FIT},
        ),
        (
            lambda arrays, meta: arrays.update(offsets=np.full(3, np.nan, np.float32)),
            {"parameter": "arrays.offsets", "code": Code.DOES_NOT_FIT},
        ),
        (lambda arrays, meta: meta["config"].pop("k"), {"parameter": "config.k", "code": Code.DOES_NOT_FIT}),
        (lambda arrays, meta: meta.clear(), {"parameter": "config.batch_size", "code": Code.DOES_NOT_FIT}),
    ],
)
def test_damaged_arrays_are_refused(change, fields):
    arrays, meta = ErlRewardEnsemble(CONFIG, 0).to_arrays()
    change(arrays, meta)
    with refused(ConfigError, **fields):
        ErlRewardEnsemble.from_arrays(arrays, meta)


def test_members_come_to_one_scale_before_averaging():
    # Member 1 of an untrained ensemble speaks louder and higher: its head is scaled by 20 and its bias raised
    # to .5.
    images = rated(seed=9)[0][:, 0]
    model = ErlRewardEnsemble(CONFIG, 0)
    with torch.no_grad():
        model.networks.head_weight[1] *= 20.0
        model.networks.head_bias[1] = 0.5
    raw = model.raw_members(images)
    # Unfitted, the scales are neutral: the plain average.
    np.testing.assert_allclose(model.predict(images), raw.mean(axis=0), rtol=1e-6)
    model.set_reference(images)
    scaled = (raw - raw.min(1, keepdims=True)) / (raw.max(1) - raw.min(1))[:, None]
    np.testing.assert_allclose(model.predict_members(images), scaled, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.predict(images), scaled.mean(axis=0), rtol=1e-3, atol=1e-5)

    released = ErlRewardEnsemble(dataclasses.replace(CONFIG, raw_average=True), 0)
    released.load_state_dict(model.state_dict())
    np.testing.assert_allclose(released.predict(images), raw.mean(axis=0), rtol=1e-6)
    # There the loud member decides alone.
    assert np.corrcoef(released.predict(images), raw[1])[0, 1] > np.corrcoef(model.predict(images), raw[1])[0, 1]
    assert np.corrcoef(released.predict(images), raw[1])[0, 1] > 0.99


def test_a_member_that_says_nothing_is_left_out():
    images = rated(seed=9)[0][:, 0]
    model = ErlRewardEnsemble(CONFIG, 0)
    with torch.no_grad():
        model.networks.head_weight[2] = 0.0
    model.set_reference(images)
    members = model.predict_members(images)
    assert not members[2].any()
    np.testing.assert_allclose(model.predict(images), members[:2].mean(axis=0), rtol=1e-6)
    assert model.predict(images).min() >= 0.0 and model.predict(images).max() <= 1.0 + 1e-5


def test_predictions_do_not_depend_on_the_batch():
    images = rated(count=70, seed=9)[0][:, 0]
    model, _ = fitted()
    np.testing.assert_allclose(model.predict(images, batch=7), model.predict(images), rtol=1e-4, atol=1e-5)
    assert model.predict(images).dtype == np.float32
    assert model.predict(images[:0]).shape == (0,)


@pytest.mark.filterwarnings("error")
def test_read_only_and_strided_arrays_are_taken():
    images, ratings = rated()
    images.flags.writeable = ratings.flags.writeable = False
    model = ErlRewardEnsemble(CONFIG, 0)
    model.fit(images, ratings, np.random.default_rng(0))
    np.testing.assert_array_equal(model.predict(images[::2, 0]), model.predict(images[:, 0].copy()[::2].copy()))


@pytest.mark.parametrize("ratings", [[], [2], [1, 1, 1]])
def test_fewer_than_two_classes_hold_no_order(ratings):
    images = rated(count=max(len(ratings), 1))[0][: len(ratings)]
    model = ErlRewardEnsemble(CONFIG, 0)
    before = model.predict(rated()[0][:, 0])
    report = model.fit(images, np.array(ratings, np.int64), np.random.default_rng(0))
    assert report.passes == 0 and np.isnan(report.accuracy) and report.losses == ()
    np.testing.assert_array_equal(model.predict(rated()[0][:, 0]), before)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mae", "ce"])
def test_equal_images_leave_the_networks_able_to_learn(loss):
    # A constant input has equal returns: no gradient, no early stop although 97.9% are rated alike, nothing
    # broken.
    config = dataclasses.replace(CONFIG, loss=loss, early_stop_accuracy=0.97)
    model = ErlRewardEnsemble(config, 0)
    images = np.full((48, 1, SIZE, SIZE, 3), 90, np.uint8)
    ratings = np.zeros(48, np.int64)
    ratings[7] = 2
    report = model.fit(images, ratings, np.random.default_rng(0))
    assert report.passes == config.passes and report.accuracy == 0.0
    assert report.spans == (0.0, 0.0, 0.0) and finite(model)
    assert np.isfinite(model.predict(images[:, 0])).all()
    later = dataclasses.replace(config, passes=20)

    def accuracy(order):
        learner = ErlRewardEnsemble(later, 1)
        learner.load_state_dict(model.state_dict())
        return learner.fit(*rated(), np.random.default_rng(order)).accuracy

    # Which orders of the batches are learned within 20 passes differs with a machine's arithmetic; broken networks
    # learn none.
    assert max(accuracy(order) for order in range(4)) > 0.8


@pytest.mark.parametrize("batch_size", [2, 7])
def test_tiny_batches_stay_finite(batch_size):
    model = ErlRewardEnsemble(dataclasses.replace(CONFIG, batch_size=batch_size), 0)
    report = model.fit(*rated(count=9), np.random.default_rng(0))
    assert np.isfinite(report.losses).all() and finite(model)


def test_no_batch_with_two_classes(monkeypatch):
    # Batches sorted by class: nothing to rank in any, so nothing changes.
    monkeypatch.setattr(erl_ensemble, "stratified_batches", lambda labels, size, rng: [np.arange(4), np.arange(4, 8)])
    model = ErlRewardEnsemble(CONFIG, 0)
    before = [parameter.detach().clone() for parameter in model.networks.parameters()]
    report = model.fit(rated(count=8)[0], np.repeat([0, 1], 4), np.random.default_rng(0))
    assert np.isnan(report.accuracy) and report.passes == CONFIG.passes
    assert all(torch.equal(a, b) for a, b in zip(before, model.networks.parameters()))


def test_more_classes_than_rated_segments():
    model = ErlRewardEnsemble(dataclasses.replace(CONFIG, n_classes=5), 0)
    images, _ = rated(count=3)
    report = model.fit(images, np.array([0, 2, 4]), np.random.default_rng(0))
    assert report.counts == (1, 0, 1, 0, 1) and finite(model)


@pytest.mark.parametrize(
    ("images", "ratings", "fields"),
    [
        (
            np.zeros((2, 1, 48, 48, 3), np.float32),
            [0, 1],
            {"parameter": "images", "code": Code.DOES_NOT_FIT, "shows": "float32"},
        ),
        (np.zeros((2, 1, 64, 64, 3), np.uint8), [0, 1], {"parameter": "images", "code": Code.DOES_NOT_FIT}),
        (np.zeros((2, 48, 48, 3), np.uint8), [0, 1], {"parameter": "images", "code": Code.DOES_NOT_FIT}),
        (np.zeros((2, 0, 48, 48, 3), np.uint8), [0, 1], {"parameter": "ratings", "code": Code.DOES_NOT_FIT}),
        (np.zeros((2, 1, 48, 48, 3), np.uint8), [0, 1, 1], {"parameter": "ratings", "code": Code.DOES_NOT_FIT}),
        (np.zeros((2, 1, 48, 48, 3), np.uint8), [0, 3], {"parameter": "ratings", "shows": "0..2"}),
        (np.zeros((2, 1, 48, 48, 3), np.uint8), [-1, 0], {"parameter": "ratings"}),
        (np.zeros((2, 1, 48, 48, 3), np.uint8), [0.0, 0.5], {"parameter": "ratings.dtype", "code": Code.DOES_NOT_FIT}),
    ],
)
def test_bad_rated_sets_are_refused(images, ratings, fields):
    with refused(ConfigError, **fields):
        ErlRewardEnsemble(CONFIG, 0).fit(images, np.array(ratings), np.random.default_rng(0))


def test_bad_images_are_refused():
    with refused(ConfigError, parameter="images", code=Code.DOES_NOT_FIT, shows="48, 48, 3"):
        ErlRewardEnsemble(CONFIG, 0).predict(np.zeros((1, 50, 48, 3), np.uint8))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "mse"),
        ("boundary", "mean"),
        ("image_size", 46),
        ("n_classes", 1),
        ("n_classes", 6),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("k", 0.0),
        ("lr", float("nan")),
        ("ensemble", 0),
        ("batch_size", 1),
        ("passes", 0),
        ("early_stop_accuracy", -0.5),
    ],
)
def test_bad_configuration_names_the_field(field, value):
    with refused(ConfigError, parameter=f"erl.{field}"):
        dataclasses.replace(CONFIG, **{field: value})


@pytest.mark.parametrize("size", [47, 64, 84])
def test_other_image_sizes_fit_and_predict(size):
    model = ErlRewardEnsemble(ErlRewardConfig(image_size=size, n_classes=2, passes=1), 0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 1, size, size, 3), dtype=np.uint8)
    assert model.fit(images, np.arange(6) % 2, rng).passes == 1
    assert np.isfinite(model.predict(images[:, 0])).all()
