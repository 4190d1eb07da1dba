# SPDX-License-Identifier: Apache-2.0
"""The convolutional reward networks of ERL-VLM, an ensemble with its weights stacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = (5, 3, 3, 3)
STRIDES = (3, 2, 2, 2)
CHANNELS = (3, 16, 32, 64, 128)
HEAD_BOUND = 1e-3
_CACHED_PIXELS = 64 * 84 * 84


def conv_sizes(image_size: int) -> tuple[int, ...]:
    """Side of the feature map after each convolution (no padding), pixels; below 1 nothing is left."""
    sizes = []
    side = image_size
    for kernel, stride in zip(KERNELS, STRIDES):
        side = (side - kernel) // stride + 1
        sizes.append(side)
    return tuple(sizes)


def chunk_length(image_size: int) -> int:
    """Images to push through the network together, so that their activations stay in the CPU's cache."""
    return min(128, max(8, _CACHED_PIXELS // image_size**2))


class ConvEnsemble(nn.Module):
    """E networks: four convolutions with ReLU, linear, tanh.

    Kernels 5 3 3 3, strides 3 2 2 2, channels 16 32 64 128, no padding. Parameters carry the members on their
    first axis. Initial weights are uniform within 1 / sqrt(fan-in), convolution biases 0 and the linear layer
    uniform within 1e-3, as released.

    Args:
        members: E.
        image_size: side of the square images, pixels.
        generator: source of the initial weights.
    """

    def __init__(self, members: int, image_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.members = members
        self.image_size = image_size
        self.conv_weights = nn.ParameterList()
        self.conv_biases = nn.ParameterList()
        for kernel, channels_in, channels_out in zip(KERNELS, CHANNELS[:-1], CHANNELS[1:]):
            bound = (channels_in * kernel**2) ** -0.5
            shape = (members, channels_out, channels_in, kernel, kernel)
            self.conv_weights.append(_uniform(shape, bound, generator))
            self.conv_biases.append(nn.Parameter(torch.zeros(members, channels_out)))
        features = CHANNELS[-1] * conv_sizes(image_size)[-1] ** 2
        self.head_weight = _uniform((members, features), HEAD_BOUND, generator)
        self.head_bias = _uniform((members,), HEAD_BOUND, generator)

    def forward(self, images: Tensor, member: int) -> Tensor:
        """Rewards [N] in (-1, 1) of one member for images u8 [N, s, s, 3]."""
        # Scaling the first kernel by 1/255 spares a pass over the pixels; a permuted NHWC array is
        # channels_last.
        weights = [
            weight[member].mul(1.0 / 255.0) if layer == 0 else weight[member]
            for layer, weight in enumerate(self.conv_weights)
        ]
        weights = [weight.contiguous(memory_format=torch.channels_last) for weight in weights]
        biases = [bias[member] for bias in self.conv_biases]
        head_weight, head_bias = self.head_weight[member], self.head_bias[member]
        rewards = []
        for chunk in images.split(chunk_length(self.image_size)):
            features = chunk.permute(0, 3, 1, 2).to(torch.float32)
            for weight, bias, stride in zip(weights, biases, STRIDES):
                features = functional.conv2d(features, weight, bias, stride).relu_()
            rewards.append(torch.tanh(features.flatten(1) @ head_weight + head_bias))
        return torch.cat(rewards) if rewards else images.new_zeros(0, dtype=torch.float32)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))
