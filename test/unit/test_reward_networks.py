# SPDX-License-Identifier: Apache-2.0
"""The convolutional ensemble: its arithmetic at every image size, against plain torch layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from erl_vlm_ros.reward.configs import MIN_IMAGE_SIZE
from erl_vlm_ros.reward.networks import ConvEnsemble, chunk_length, conv_sizes


def test_conv_arithmetic_by_hand():
    # (s - k) // stride + 1 with k 5 3 3 3 and strides 3 2 2 2: 48 -> 15 -> 7 -> 3 -> 1; 224 -> 74 -> 36 -> 17
    # -> 8.
    assert conv_sizes(48) == (15, 7, 3, 1)
    assert conv_sizes(64) == (20, 9, 4, 1)
    assert conv_sizes(84) == (27, 13, 6, 2)
    assert conv_sizes(224) == (74, 36, 17, 8)
    assert conv_sizes(MIN_IMAGE_SIZE)[-1] == 1
    assert conv_sizes(MIN_IMAGE_SIZE - 1)[-1] == 0


def plain_member(ensemble, member):
    """One member as torch layers on images scaled to [0, 1]."""
    layers = []
    for weight, bias, stride in zip(ensemble.conv_weights, ensemble.conv_biases, (3, 2, 2, 2)):
        conv = nn.Conv2d(weight.shape[2], weight.shape[1], weight.shape[3], stride)
        conv.weight.data, conv.bias.data = weight[member].detach(), bias[member].detach()
        layers += [conv, nn.ReLU()]
    linear = nn.Linear(ensemble.head_weight.shape[1], 1)
    linear.weight.data, linear.bias.data = (
        ensemble.head_weight[member][None].detach(),
        ensemble.head_bias[member][None].detach(),
    )
    return nn.Sequential(*layers, nn.Flatten(), linear, nn.Tanh())


@pytest.mark.parametrize("size", [47, 48, 64, 84, 224])
def test_forward_equals_plain_layers(size):
    ensemble = ConvEnsemble(2, size, torch.Generator().manual_seed(0))
    count = chunk_length(size) + 2 if size < 84 else 3  # more than one chunk where it is cheap
    images = torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        ensemble.head_weight.mul_(300.0)  # bring the outputs out of the linear range of tanh
        for member in range(2):
            expected = plain_member(ensemble, member)(images.permute(0, 3, 1, 2).float() / 255.0)[:, 0]
            np.testing.assert_allclose(ensemble(images, member).numpy(), expected.numpy(), rtol=1e-3, atol=1e-5)


def test_gradients_equal_plain_layers():
    ensemble = ConvEnsemble(2, 48, torch.Generator().manual_seed(0))
    images = torch.randint(0, 256, (5, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    plain = plain_member(ensemble, 1)
    plain(images.permute(0, 3, 1, 2).float() / 255.0).sum().backward()
    ensemble(images, 1).sum().backward()
    for layer, weight in enumerate(ensemble.conv_weights):
        assert not weight.grad[0].any()
        np.testing.assert_allclose(weight.grad[1].numpy(), plain[2 * layer].weight.grad.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        ensemble.head_weight.grad[1].numpy(), plain[-2].weight.grad[0].numpy(), rtol=1e-3, atol=1e-5
    )


def test_initial_weights_are_seeded_and_bounded():
    one, two, other = (ConvEnsemble(3, 48, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert not torch.equal(one.head_weight, other.head_weight)
    assert not torch.equal(one.conv_weights[0][0], one.conv_weights[0][1])
    # Fan-in of the first layer: 3 * 5 * 5 = 75, so the bound is 1 / sqrt(75) = .11547.
    assert 0.10 < one.conv_weights[0].abs().max().item() <= 0.11547
    assert one.head_weight.abs().max().item() <= 1e-3 and not one.conv_biases[0].any()


def test_no_images():
    ensemble = ConvEnsemble(1, 48, torch.Generator().manual_seed(0))
    assert ensemble(torch.zeros(0, 48, 48, 3, dtype=torch.uint8), 0).shape == (0,)
