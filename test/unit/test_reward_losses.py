# SPDX-License-Identifier: Apache-2.0
"""Eq. 2, Eq. 3, label smoothing and class weights against hand-computed numbers; gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.reward.boundaries import BOUNDARIES, class_boundaries, class_logits, min_max
from erl_vlm_ros.reward.losses import (
    TERMS,
    ce_terms,
    class_weights,
    mae_terms,
    rating_loss,
    rating_targets,
)

# Softmax of these rows: (.2, .3, .5) and (.7, .2, .1).
LOGITS = torch.tensor([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]).log()
LABELS = torch.tensor([2, 1])


def test_mae_by_hand():
    # |.2| + |.3| + |.5 - 1| = 1.0 and .7 + |.2 - 1| + .1 = 1.6; their mean is 1.3.
    targets = rating_targets(LABELS, 3)
    np.testing.assert_allclose(mae_terms(LOGITS, targets).numpy(), [1.0, 1.6], rtol=1e-6)
    assert rating_loss("mae", LOGITS, targets).item() == pytest.approx(1.3)


def test_weighted_mae_by_hand():
    # (1 * 1.0 + 3 * 1.6) / (1 + 3) = 5.8 / 4 = 1.45.
    targets = rating_targets(LABELS, 3)
    loss = rating_loss("mae", LOGITS, targets, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(1.45)


def test_ce_by_hand():
    # -ln .5 = .693147 and -ln .2 = 1.609438; mean 1.151293; weighted 1:3, (.693147 + 4.828314) / 4 =
    # 1.380365.
    targets = rating_targets(LABELS, 3)
    np.testing.assert_allclose(ce_terms(LOGITS, targets).numpy(), [0.693147, 1.609438], rtol=1e-6)
    assert rating_loss("ce", LOGITS, targets).item() == pytest.approx(1.151293, rel=1e-6)
    weighted = rating_loss("ce", LOGITS, targets, torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx(1.380365, rel=1e-6)


def test_label_smoothing_by_hand():
    # r = .1, n = 3: .9 + .1/3 = .933333 for the rated class, .033333 for the others.
    smooth = rating_targets(LABELS, 3, 0.1)
    third = 0.1 / 3
    expected = [[third, third, 0.9 + third], [third, 0.9 + third, third]]
    np.testing.assert_allclose(smooth.numpy(), expected, rtol=1e-6)
    # CE of row 1: -(.033333 ln .2 + .033333 ln .3 + .933333 ln .5).
    ce = -(third * math.log(0.2) + third * math.log(0.3) + (0.9 + third) * math.log(0.5))
    assert ce_terms(LOGITS, smooth)[0].item() == pytest.approx(ce, rel=1e-6)
    # MAE of row 1: (.2 - .033333) + (.3 - .033333) + (.933333 - .5) = .866667.
    assert mae_terms(LOGITS, smooth)[0].item() == pytest.approx(0.866667, rel=1e-6)


@pytest.mark.parametrize("kind", list(TERMS))
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_equal_weights_change_nothing(kind, weight):
    # The released MAE is smaller by the factor n without weights; here both forms have one scale.
    targets = rating_targets(LABELS, 3)
    weighted = rating_loss(kind, LOGITS, targets, torch.full((2,), weight))
    assert weighted.item() == pytest.approx(rating_loss(kind, LOGITS, targets).item(), rel=1e-6)


def test_class_weights_by_hand():
    # N = 100, counts 80, 20: (20, 80) / 100, by the smallest: 1 and 4 = n_major / n_minor.
    np.testing.assert_allclose(class_weights([80, 20]).numpy(), [1.0, 4.0], rtol=1e-6)
    # N = 600, counts 500, 80, 20: 100, 520, 580 over 600, by the smallest: 1, 5.2, 5.8.
    np.testing.assert_allclose(class_weights([500, 80, 20]).numpy(), [1.0, 5.2, 5.8], rtol=1e-6)


@pytest.mark.parametrize("counts", [[0, 5], [5, 0], [3, 0, 2], [0, 0], [0, 0, 0, 0, 7]])
def test_class_weights_are_one_while_a_class_is_empty(counts):
    assert class_weights(counts).tolist() == [1.0] * len(counts)


def test_unknown_loss_is_refused():
    with refused(DataError, field="kind", shows=("mae", "ce")):
        rating_loss("mse", LOGITS, rating_targets(LABELS, 3))


@pytest.mark.parametrize("kind", list(TERMS))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_matches_finite_differences(kind, smoothing):
    # The boundaries are held, as the loss holds them; the gradient passes the minimum and the maximum.
    generator = torch.Generator().manual_seed(3)
    returns = torch.rand(9, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2])
    boundaries = class_boundaries(min_max(returns), [3, 3, 3])
    targets = rating_targets(labels, 3, smoothing).double()
    weights = torch.tensor([1.0, 2.0, 1.5]).double()[labels]

    def loss(values):
        return rating_loss(kind, class_logits(min_max(values), boundaries, 30.0), targets, weights)

    assert torch.autograd.gradcheck(loss, (returns,), eps=1e-7, atol=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    st.data(),
    st.integers(1, 30),
    st.integers(2, 5),
    st.sampled_from(list(TERMS)),
    st.sampled_from(BOUNDARIES),
    st.sampled_from([0.0, 0.1]),
)
def test_loss_and_gradient_are_finite_for_any_batch(data, size, n, kind, boundary, smoothing):
    value = st.one_of(st.floats(-5, 5, width=32), st.sampled_from([0.0, 1.0, 1e-6, 2e-6, 1e-7]))
    returns = torch.tensor(data.draw(st.lists(value, min_size=size, max_size=size)), requires_grad=True)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=size, max_size=size)))
    counts = torch.bincount(labels, minlength=n)
    scaled = min_max(returns)
    logits = class_logits(scaled, class_boundaries(scaled, counts, boundary), 30.0)
    loss = rating_loss(kind, logits, rating_targets(labels, n, smoothing), class_weights(counts)[labels])
    loss.backward()
    assert math.isfinite(loss.item()) and loss.item() >= 0.0
    assert bool(torch.isfinite(returns.grad).all())
