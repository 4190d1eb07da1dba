# SPDX-License-Identifier: Apache-2.0
"""Where the second convolution of the reward model's trunk finds what it looks for: a spatial soft-argmax, in numpy.

Spatial soft-argmax: Finn et al. 2016, "Deep spatial autoencoders for visuomotor learning", section IV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from erl_vlm_ros.agents.encoders import CLIP, check_images

SHARPNESS = 10.0  # of the softmax over a map that was divided by its maximum
SMALLEST = 1e-6  # what a map without any activation is divided by
_FLOOR = 0.01  # of a deviation: a keypoint that never moved must not blow up its noise
_CHUNK = 64  # images at once: bounds the memory of the unrolled windows
_LAYERS = (("weight_1", "bias_1"), ("weight_2", "bias_2"))


@dataclass(frozen=True)
class Keypoints:
    """Two convolutions of stride 2 with ReLU, then the expected x and y of each map, standardised and clipped.

    ``weights``: ``weight_1`` [C1, 3, k, k], ``bias_1`` [C1], ``weight_2`` [C2, C1, k, k], ``bias_2`` [C2], ``mean`` and
    ``deviation`` [2 * C2], float32. Raises ValueError for arrays that are not such an encoder.
    """

    image_size: int
    weights: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        wanted = {name for layer in _LAYERS for name in layer} | {"mean", "deviation"}
        if set(self.weights) != wanted:
            raise ValueError(f"keypoints need the arrays {sorted(wanted)}, got {sorted(self.weights)}")
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in self.weights.items()}
        inputs = 3
        for weight, bias in _LAYERS:
            shape = arrays[weight].shape
            if len(shape) != 4 or shape[1] != inputs or shape[2] != shape[3] or shape[2] % 2 == 0 or shape[0] < 1:
                raise ValueError(f"keypoints: {weight} must be [C, {inputs}, k, k] with an odd k, got {list(shape)}")
            inputs = shape[0]
            if arrays[bias].shape != (inputs,):
                raise ValueError(f"keypoints: {bias} must be [{inputs}], got {list(arrays[bias].shape)}")
        for name in ("mean", "deviation"):
            if arrays[name].shape != (2 * inputs,):
                raise ValueError(f"keypoints: {name} must be [{2 * inputs}], got {list(arrays[name].shape)}")
        if not all(np.isfinite(array).all() for array in arrays.values()) or (arrays["deviation"] <= 0).any():
            raise ValueError("keypoints: arrays must be finite, and deviations above 0")
        if not 8 <= self.image_size <= 512:
            raise ValueError(f"keypoints: image_size is {self.image_size}, it must be 8 to 512 px")
        object.__setattr__(self, "weights", arrays)

    @classmethod
    def from_trunk(cls, image_size: int, trunk: Mapping[str, np.ndarray]) -> Keypoints:
        """Of a reward trunk's arrays by their names in its state dict; not standardised yet.

        Raises:
            ValueError: the trunk has fewer than two convolutions.
        """
        names = [f"convolutions.{at}.{kind}" for at in (0, 2) for kind in ("weight", "bias")]
        missing = [name for name in names if name not in trunk]
        if missing:
            raise ValueError(f"keypoints need a trunk of two convolutions at least; it lacks {', '.join(missing)}")
        weights = dict(zip(("weight_1", "bias_1", "weight_2", "bias_2"), (np.asarray(trunk[name]) for name in names)))
        numbers = 2 * len(weights["bias_2"])
        return cls(image_size, weights | {"mean": np.zeros(numbers), "deviation": np.ones(numbers)})

    def standardised(self, images: np.ndarray) -> Keypoints:
        """The same with mean and deviation of these images uint8 [N, s, s, 3]. ValueError: there are none."""
        if not len(images):
            raise ValueError("keypoints cannot be standardised without any image")
        places = self.places(images)
        scales = {"mean": places.mean(0), "deviation": np.maximum(places.std(0), _FLOOR)}
        return replace(self, weights={**self.weights, **scales})

    @property
    def size(self) -> int:
        """How many features an image has."""
        return len(self.weights["mean"])

    @property
    def version(self) -> str:
        """Of the weights and the size of the image."""
        digest = hashlib.sha256(str(self.image_size).encode())
        for name in sorted(self.weights):
            digest.update(self.weights[name].tobytes())
        return digest.hexdigest()[:16]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 [N, s, s, 3], RGB -> features float32 [N, F] in -5..5. ValueError for another shape or dtype."""
        return np.clip((self.places(images) - self.weights["mean"]) / self.weights["deviation"], -CLIP, CLIP)

    def places(self, images: np.ndarray) -> np.ndarray:
        """Expected x, then y, of each map, -1..1, float32 [N, 2 * C2]. ValueError for another shape or dtype."""
        check_images(images, self.image_size)
        parts = [self._places(images[at : at + _CHUNK]) for at in range(0, len(images), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.size), np.float32)

    def _places(self, images: np.ndarray) -> np.ndarray:
        maps = (images.astype(np.float32) - 127.5) / 64.0
        for weight, bias in _LAYERS:
            maps = _convolve(maps, self.weights[weight], self.weights[bias])
        n, height, width, channels = maps.shape
        maps = maps.reshape(n, height * width, channels)
        logits = SHARPNESS * maps / np.maximum(maps.max(1, keepdims=True), SMALLEST)
        share = np.exp(logits - SHARPNESS)  # maps are >= 0, so that no logit is above SHARPNESS
        share /= share.sum(1, keepdims=True)
        share = share.reshape(n, height, width, channels)
        across, down = (np.linspace(-1, 1, side, dtype=np.float32) for side in (width, height))
        x = np.einsum("nhwc,w->nc", share, across)
        return np.concatenate([x, np.einsum("nhwc,h->nc", share, down)], 1)


def _convolve(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[N, h, w, I] -> [N, (h+1)//2, (w+1)//2, O]: stride 2, zero padding of half the kernel, ReLU."""
    kernel = weight.shape[2]
    edge = (kernel // 2, kernel // 2)
    padded = np.pad(maps, ((0, 0), edge, edge, (0, 0)))
    windows = sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::2, ::2]  # [N, h, w, I, k, k]
    flat = windows.reshape(*windows.shape[:3], -1)
    return np.maximum(flat @ weight.reshape(len(weight), -1).T + bias, 0.0)
