# SPDX-License-Identifier: Apache-2.0
"""Image trunk of the default reward model: learned on ALL replay frames, rated or not.

A small CNN is trained to rebuild a down-sampled frame (each pixel divided by its own deviation, so that the few
pixels that move weigh as much as the many that don't) and to tell the proprioception from the image alone (so
that the small tool is kept). The rating heads (`heads.py`) then need few labels.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.reward.configs import TrunkConfig


class Trunk(nn.Module):
    """uint8 images [N, s, s, 3] -> features [N, F]."""

    def __init__(self, config: TrunkConfig, prop_dim: int):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        previous, side = 3, config.image_size
        for i, channels in enumerate(config.channels):
            kernel = 5 if i == 0 else 3
            layers += [nn.Conv2d(previous, channels, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
            previous, side = channels, (side + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.neck = nn.Sequential(
            nn.Linear(previous * side * side, config.features), nn.LayerNorm(config.features), nn.Tanh()
        )
        self.decoder = nn.Linear(config.features, 3 * config.target_size**2)
        self.proprio = nn.Sequential(nn.Linear(config.features, 64), nn.ReLU(), nn.Linear(64, prop_dim))
        pixels = 3 * config.target_size**2
        self.register_buffer("pixel_mean", torch.zeros(pixels))
        self.register_buffer("pixel_scale", torch.ones(pixels))
        self.register_buffer("proprio_mean", torch.zeros(prop_dim))
        self.register_buffer("proprio_scale", torch.ones(prop_dim))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.neck(self.convolutions(normalise(images)).flatten(1))

    def targets(self, images: torch.Tensor) -> torch.Tensor:
        """Down-sampled frames, flat [N, 3*t*t], in 0..1."""
        factor = self.config.image_size // self.config.target_size
        return F.avg_pool2d(images.permute(0, 3, 1, 2).float().div_(255.0), factor).flatten(1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, s, s, 3] -> float [N, 3, s, s] in about -1..1, channels-last in memory."""
    return images.permute(0, 3, 1, 2).float().sub_(127.5).div_(64.0)


class TrunkTrainer:
    """Keeps a trunk and its optimiser, and trains it on a frame store now and then.

    Args:
        config: sizes and schedule.
        prop_dim: length of the proprioception vector.
        seed: initial weights and batches.
    """

    def __init__(self, config: TrunkConfig, prop_dim: int, seed: int):
        self.config = config
        self.prop_dim = prop_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = Trunk(config, prop_dim)
        self.optimiser = torch.optim.Adam(self.trunk.parameters(), lr=config.lr, fused=True)
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.version = 0
        self.trained_frames = 0

    def due(self, frames: int) -> bool:
        """Whether the frame store has grown enough since the last training, and the trunk may still change."""
        if self.version == 0:
            return frames > 0
        return self.trained_frames < self.config.enough_frames and frames >= self.config.growth * self.trained_frames

    def train(self, images: np.ndarray, proprio: np.ndarray) -> dict[str, float]:
        """Train on frames uint8 [N, s, s, 3] and proprioception float32 [N, P]; a new version. Returns losses."""
        frames, states = torch.from_numpy(images), torch.from_numpy(proprio)
        iterations = self.config.first_iterations if self.version == 0 else self.config.iterations
        self._fit_scales(frames, states)
        totals = torch.zeros(2)
        self.trunk.train()
        for _ in range(iterations):
            index = torch.randint(len(frames), (self.config.batch_size,), generator=self.generator)
            totals += self._step(frames[index], states[index])
        self.trunk.eval()
        self.version += 1
        self.trained_frames = len(frames)
        rebuild, state = (totals / iterations).tolist()
        return {"trunk_rebuild_loss": rebuild, "trunk_proprio_loss": state}

    def _fit_scales(self, frames: torch.Tensor, states: torch.Tensor) -> None:
        sample = torch.randint(len(frames), (min(len(frames), 2000),), generator=self.generator)
        pixels = self.trunk.targets(frames[sample])
        self.trunk.pixel_mean.copy_(pixels.mean(0))
        self.trunk.pixel_scale.copy_(pixels.std(0).clamp_min(0.02))  # a floor keeps noise of still pixels small
        self.trunk.proprio_mean.copy_(states.mean(0))
        self.trunk.proprio_scale.copy_(states.std(0).clamp_min(1e-3))

    def _step(self, images: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        net = self.trunk
        features = net(images)
        rebuild = F.mse_loss(net.decoder(features), (net.targets(images) - net.pixel_mean) / net.pixel_scale)
        proprio = F.mse_loss(net.proprio(features), (states - net.proprio_mean) / net.proprio_scale)
        loss = rebuild + self.config.proprio_weight * proprio
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return torch.stack([rebuild.detach(), proprio.detach()])

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, generator and counters."""
        state = {"trunk": dict(self.trunk.state_dict()), "optimiser": self.optimiser.state_dict()}
        return copy.deepcopy(state) | {
            "config": _plain(self.config),
            "generator": self.generator.get_state(),
            "version": self.version,
            "trained_frames": self.trained_frames,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ConfigError when it was made with other sizes."""
        if state["config"] != _plain(self.config):
            text = f"the checkpoint's trunk was made with {state['config']}, this run asks for {_plain(self.config)}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="trunk")
        self.trunk.load_state_dict(state["trunk"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.generator.set_state(state["generator"])
        self.version, self.trained_frames = int(state["version"]), int(state["trained_frames"])


def _plain(config: TrunkConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


@torch.inference_mode()
def encode(trunk: Trunk, images: np.ndarray, batch: int = 256) -> np.ndarray:
    """Features float32 [N, F] of uint8 images [N, s, s, 3]."""
    parts = [trunk(torch.from_numpy(images[i : i + batch])).numpy() for i in range(0, len(images), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, trunk.config.features), np.float32)
