# SPDX-License-Identifier: Apache-2.0
"""Eq. 1 of ERL-VLM against hand-computed numbers, and the batches that break the released code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.reward.boundaries import (
    BOUNDARIES,
    class_boundaries,
    class_logits,
    class_probabilities,
    min_max,
    rate,
)

K = 30.0
torch.set_num_threads(1)  # small tensors: more threads only wait for each other


def accuracy(returns, labels, n, kind="edge"):
    returns, labels = torch.tensor(returns, dtype=torch.float32), torch.tensor(labels)
    counts = torch.bincount(labels, minlength=n)
    scaled = min_max(returns)
    logits = class_logits(scaled, class_boundaries(scaled, counts, kind), K)
    return float((rate(logits, counts) == labels).float().mean())


def test_min_max_by_hand():
    # min 1, max 5: (3 - 1) / (4 + 1e-6) and so on.
    scaled = min_max(torch.tensor([3.0, 1.0, 2.0, 5.0], dtype=torch.float64))
    expected = np.array([2.0, 0.0, 1.0, 4.0]) / 4.000001
    np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-12)


def test_boundaries_by_hand():
    # Sorted: 0, .1, .25, .5, .8, 1. Counts 2, 3, 1: class 0 is [0, .1], class 1 up to the 5th smallest, .8.
    scaled = torch.tensor([0.5, 0.0, 0.25, 1.0, 0.1, 0.8])
    np.testing.assert_allclose(class_boundaries(scaled, [2, 3, 1]).numpy(), [0.0, 0.1, 0.8, 1.0])
    # Half-way to the next larger return: (.1 + .25) / 2 and (.8 + 1) / 2.
    midpoint = class_boundaries(scaled, [2, 3, 1], "midpoint")
    np.testing.assert_allclose(midpoint.numpy(), [0.0, 0.175, 0.9, 1.0], rtol=1e-6)


def test_probabilities_by_hand():
    # Two classes cut at .25. For R = .5 the exponents are -30 * .5 * .25 = -3.75 and -30 * .25 * -.5 = +3.75,
    # so P(1) = 1 / (1 + exp(-7.5)) = 0.99944722. For R = .25 both are 0. For R = 0: 0 and -30 * -.25 * -1 =
    # -7.5. For R = 1: -30 * 1 * .75 = -22.5 and 0.
    scaled = torch.tensor([0.5, 0.25, 0.0, 1.0], dtype=torch.float64)
    boundaries = class_boundaries(scaled, [2, 2])
    assert boundaries.tolist() == [0.0, 0.25, 1.0]
    logits = class_logits(scaled, boundaries, K)
    np.testing.assert_allclose(logits.numpy(), [[-3.75, 3.75], [0, 0], [0, -7.5], [-22.5, 0]], atol=1e-12)
    upper = class_probabilities(scaled, boundaries, K)[:, 1].numpy()
    expected = [1 / (1 + math.exp(-7.5)), 0.5, 1 / (1 + math.exp(7.5)), 1 / (1 + math.exp(-22.5))]
    np.testing.assert_allclose(upper, expected, rtol=1e-12)
    assert upper[0] == pytest.approx(0.99944722, abs=1e-8)


def test_three_classes_by_hand():
    # Cut at .2 and .6, R = .4, k = 10: exponents -10 * .4 * .2 = -.8, -10 * .2 * -.2 = .4, -10 * -.2 * -.6 =
    # -1.2; exponentials .449329, 1.491825, .301194 with sum 2.242348.
    logits = class_logits(torch.tensor([0.4]), torch.tensor([0.0, 0.2, 0.6, 1.0]), 10.0)
    np.testing.assert_allclose(logits.numpy(), [[-0.8, 0.4, -1.2]], atol=1e-6)
    expected = np.array([[0.449329, 1.491825, 0.301194]]) / 2.242348
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-6)


def test_empty_lowest_class_does_not_wrap():
    # Ordered batch without class 0: the released index c_0 - 1 = -1 picks the maximum as boundary.
    returns, labels = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1, 1, 1, 2, 2, 2]
    scaled = min_max(torch.tensor(returns))
    boundaries = class_boundaries(scaled, [0, 3, 3])
    assert boundaries[:2].tolist() == [0.0, 0.0]
    assert boundaries[2] == pytest.approx(0.4, abs=1e-5)
    assert accuracy(returns, labels, 3) == 1.0
    released = torch.stack([torch.tensor(0.0), scaled[0 - 1], scaled[3 - 1], torch.tensor(1.0)])
    wrong = class_logits(scaled, released, K).argmax(1)
    assert (wrong == torch.tensor(labels)).float().mean() < 0.4


@pytest.mark.parametrize("kind", BOUNDARIES)
@pytest.mark.parametrize("counts", [[0, 3, 4], [3, 0, 4], [3, 4, 0], [0, 0, 7], [0, 7, 0], [7, 0, 0], [1, 5, 1]])
def test_empty_classes_have_no_width_and_an_ordered_batch_scores_one(counts, kind):
    returns = [0.1 * i for i in range(7)]
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    boundaries = class_boundaries(min_max(torch.tensor(returns)), counts, kind)
    for i, count in enumerate(counts):
        if count == 0:
            assert boundaries[i + 1] - boundaries[i] == pytest.approx(0.0, abs=1e-5)
    assert accuracy(returns, labels, 3, kind) == 1.0


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_equal_returns_are_finite_and_without_gradient(kind):
    returns = torch.full((6,), 0.037, requires_grad=True)
    scaled = min_max(returns)
    boundaries = class_boundaries(scaled, [2, 2, 2], kind)
    probabilities = class_probabilities(scaled, boundaries, K)
    # R = 0 everywhere, cut at 0: every exponent is 0, so the classes are equally likely.
    np.testing.assert_allclose(probabilities.detach().numpy(), np.full((6, 3), 1 / 3), atol=1e-6)
    probabilities[:, 0].sum().backward()
    assert returns.grad.tolist() == [0.0] * 6


@pytest.mark.parametrize("kind", BOUNDARIES)
@pytest.mark.parametrize("label", range(5))
def test_one_sample(label, kind):
    assert accuracy([0.4], [label], 5, kind) == 1.0


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_more_classes_than_samples(kind):
    assert accuracy([0.1, 0.5, 0.9], [0, 3, 4], 5, kind) == 1.0
    assert accuracy([0.1, 0.5], [1, 3], 5, kind) == 1.0


def test_a_return_on_a_boundary_belongs_to_the_class_below():
    scaled = torch.tensor([0.0, 0.3, 0.6, 1.0])
    logits = class_logits(scaled, class_boundaries(scaled, [2, 2]), K)
    assert logits[1, 0] == logits[1, 1]
    assert rate(logits, [2, 2]).tolist() == [0, 0, 1, 1]


def test_boundaries_carry_no_gradient_but_min_max_does():
    returns = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64, requires_grad=True)
    assert not class_boundaries(min_max(returns), [1, 1, 1]).requires_grad
    # Middle value m = (R1 - R0) / (R2 - R0 + e), d = .6 + 1e-6: dm/dR1 = 1/d, dm/dR0 = -1/d + .1/d^2, dm/dR2
    # = -.1/d^2.
    min_max(returns)[1].backward()
    d = 0.600001
    expected = [-1 / d + 0.1 / d**2, 1 / d, -0.1 / d**2]
    np.testing.assert_allclose(returns.grad.numpy(), expected, rtol=1e-9)


def test_wrong_counts_and_kind_are_refused():
    scaled = torch.tensor([0.0, 1.0])
    with refused(DataError, field="counts"):
        class_boundaries(scaled, [2, 1])
    with refused(DataError, field="kind", shows=("edge", "midpoint")):
        class_boundaries(scaled, [1, 1], "mean")
    with refused(DataError, field="returns"):
        class_boundaries(torch.zeros(0), [0, 0])


def drift(kind, steps=400):
    """Accuracy after gradient descent on 60 free returns that start apart, 20 of each of three classes."""
    labels = torch.arange(3).repeat_interleave(20)
    noise = 0.1 * torch.rand(60, generator=torch.Generator().manual_seed(0))
    returns = (0.4 * labels + noise).requires_grad_()
    optimiser = torch.optim.Adam([returns], lr=0.01)
    for _ in range(steps):
        scaled = min_max(returns)
        logits = class_logits(scaled, class_boundaries(scaled, [20, 20, 20], kind), K)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float((rate(logits, [20, 20, 20]) == labels).float().mean()), loss.item()


def test_edge_boundaries_drift_and_midpoints_do_not():
    _, edge_loss = drift("edge")
    accuracy_midpoint, midpoint_loss = drift("midpoint")
    assert accuracy_midpoint == 1.0
    assert midpoint_loss < 0.1
    assert edge_loss > 3 * midpoint_loss


@st.composite
def batches(draw):
    size = draw(st.integers(1, 40))
    n = draw(st.integers(2, 5))
    value = st.one_of(st.floats(-30, 30, width=32), st.sampled_from([0.0, 0.5, 1e-30, 1e-7]))
    returns = draw(st.lists(value, min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, n - 1), min_size=size, max_size=size))
    return returns, labels, n


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(batches(), st.sampled_from(BOUNDARIES), st.floats(0.1, 100.0))
def test_any_batch_gives_probabilities_and_ordered_boundaries(batch, kind, k):
    returns, labels, n = batch
    counts = torch.bincount(torch.tensor(labels), minlength=n)
    scaled = min_max(torch.tensor(returns))
    assert scaled.min() >= 0.0 and scaled.max() <= 1.0
    boundaries = class_boundaries(scaled, counts, kind)
    assert boundaries[0] == 0.0 and boundaries[-1] == 1.0
    assert bool((boundaries.diff() >= 0).all())
    probabilities = class_probabilities(scaled, boundaries, k)
    assert bool(torch.isfinite(probabilities).all())
    np.testing.assert_allclose(probabilities.sum(1).numpy(), 1.0, atol=1e-5)
    rated = rate(class_logits(scaled, boundaries, k), counts)
    assert bool((counts[rated] > 0).all())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.sampled_from(BOUNDARIES))
def test_a_batch_in_the_order_of_its_ratings_scores_one(labels, kind):
    labels = sorted(labels)
    assert accuracy([0.5 * i for i in range(len(labels))], labels, 5, kind) == 1.0
