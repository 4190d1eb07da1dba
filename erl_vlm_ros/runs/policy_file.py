# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm export``: a run's policy as one file, encoder and network and what they take, that runs without this
package: TorchScript or ONNX."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from erl_vlm_ros.agents.encoders import CLIP
from erl_vlm_ros.agents.encoders.config import TRAINED
from erl_vlm_ros.agents.encoders.keypoints import SHARPNESS, SMALLEST, Keypoints
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.control.actor_source import without_places
from erl_vlm_ros.control.policies import Policy, read_policy
from erl_vlm_ros.control.policies.categorical import Categorical
from erl_vlm_ros.control.policies.from_images import FromImages
from erl_vlm_ros.control.policies.squashed_gaussian import SquashedGaussian
from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.runs.export import trained_actor

ABOUT = "policy.json"  # of the TorchScript file's extra files; in ONNX the metadata "policy"
_OPSET = 18


class Network(nn.Module):
    """Observation float32 [1, O] -> the mean action float32 [1, A], or the most probable one as one-hot parts."""

    def __init__(self, policy: SquashedGaussian | Categorical):
        super().__init__()
        layers = policy.mean_layers
        self.weights = nn.ParameterList(nn.Parameter(torch.from_numpy(w.copy()), False) for w, _ in layers)
        self.biases = nn.ParameterList(nn.Parameter(torch.from_numpy(b.copy()), False) for _, b in layers)
        self.act_dim = policy.act_dim
        self.actions = 0
        if isinstance(policy, Categorical):
            self.actions = len(policy.takes)
            self.register_buffer("takes", torch.tensor(policy.takes, dtype=torch.float32))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x = observation
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = x @ weight + bias
            if i + 1 < len(self.weights):
                x = torch.relu(x)
        if not self.actions:
            return torch.tanh(x[:, : self.act_dim])
        action = _most(x[:, : self.actions])
        if self.actions == self.act_dim:
            return action
        taking = (action * self.takes).sum(1, keepdim=True)
        return torch.cat([action, taking * _most(x[:, self.actions :])], 1)


def _most(logits: torch.Tensor) -> torch.Tensor:
    """One-hot [N, K] of the largest."""
    return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(torch.float32)


class Places(nn.Module):
    """A keypoint encoder (agents/encoders/keypoints.py): image uint8 [1, s, s, 3], RGB -> features float32 [1, F]."""

    def __init__(self, encoder: Keypoints):
        super().__init__()
        for name, array in encoder.weights.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = (image.permute(0, 3, 1, 2).to(torch.float32) - 127.5) / 64.0
        for weight, bias in ((self.weight_1, self.bias_1), (self.weight_2, self.bias_2)):
            maps = torch.relu(nn.functional.conv2d(maps, weight, bias, stride=2, padding=weight.shape[2] // 2))
        n, channels, height, width = maps.shape
        flat = maps.reshape(n, channels, height * width)
        share = torch.softmax(SHARPNESS * flat / flat.amax(2, keepdim=True).clamp_min(SMALLEST), 2)
        share = share.reshape(n, channels, height, width)
        x = (share.sum(2) * torch.linspace(-1.0, 1.0, width)).sum(2)
        y = (share.sum(3) * torch.linspace(-1.0, 1.0, height)).sum(2)
        return ((torch.cat([x, y], 1) - self.mean) / self.deviation).clamp(-CLIP, CLIP)


class Seeing(nn.Module):
    """Observation and an image uint8 [1, s, s, 3], RGB, of each camera -> the mean action float32 [1, A]."""

    def __init__(self, policy: FromImages):
        super().__init__()
        self.within = Network(policy.within)
        self.encoders = nn.ModuleList(Places(encoder) for encoder in policy.features.encoders)
        self.register_buffer("scale_mean", torch.from_numpy(policy.features.mean.copy()))
        self.register_buffer("scale_deviation", torch.from_numpy(policy.features.deviation.copy()))

    def forward(self, observation: torch.Tensor, *images: torch.Tensor) -> torch.Tensor:
        places = [encoder(image) for encoder, image in zip(self.encoders, images)]
        found = (torch.cat([observation, *places], 1) - self.scale_mean) / self.scale_deviation
        return self.within(torch.cat([observation, found.clamp(-CLIP, CLIP)], 1))


def export_policy(run: Path, path: Path, form: str) -> dict[str, Any]:
    """Write the policy in the checkpoint of ``run`` to ``path``, in the form of that name of FORMATS; returns what the
    file says about itself.

    Raises:
        ConfigError: nothing learned yet, a policy that has no such form, or a package that is missing.
    """
    bundle, steps = trained_actor(run)
    _refuse_given_encoder(bundle)
    policy = read_policy(without_places(bundle)[1])
    network, example = _network(policy)
    cameras = policy.features.cameras if isinstance(policy, FromImages) else ()
    images = [f"image_{name}" for name in cameras] or ["image"]
    about = {
        "spaces": bundle.meta.get("spaces"), "env_steps": steps, "inputs": ["observation", *images][: len(example)],
        "observation_size": policy.obs_dim, "action_size": policy.act_dim,
        "image_size": policy.features.encoder.image_size if isinstance(policy, FromImages) else None,
    }  # fmt: skip
    network.eval()
    with torch.no_grad():
        if form == "torchscript":
            _torchscript(network, example, about, path)
        else:
            _onnx(network, example, about, path)
    return about


def _network(policy: Policy) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The policy as a module, and inputs of the right shape."""
    within = policy.within if isinstance(policy, FromImages) else policy
    if not isinstance(within, (SquashedGaussian, Categorical)):
        raise ConfigError(
            f"a policy of the class {type(within).__name__} cannot be exported: squashed Gaussians and "
            "categorical ones can",
            code=Code.DOES_NOT_FIT,
        )
    observation = torch.zeros(1, policy.obs_dim)
    if not isinstance(policy, FromImages):
        return Network(policy), (observation,)
    side = policy.features.encoder.image_size
    images = [torch.zeros(1, side, side, 3, dtype=torch.uint8) for _ in policy.features.encoders]
    return Seeing(policy), (observation, *images)


def _refuse_given_encoder(bundle: Bundle) -> None:
    seeing = bundle.meta.get("encoder")
    if isinstance(seeing, Mapping) and seeing.get("name") != TRAINED:
        text = (
            f"the policy sees through the encoder '{seeing.get('name')}', which is a file of its own: only {TRAINED} "
            "become a part of the exported file"
        )
        raise ConfigError(text, parameter="learner.encoder.name", code=Code.DOES_NOT_FIT)


def _torchscript(network: nn.Module, example: tuple[torch.Tensor, ...], about: dict[str, Any], path: Path) -> None:
    traced = torch.jit.trace(network, example)
    data = io.BytesIO()
    torch.jit.save(traced, data, _extra_files={ABOUT: json.dumps(about).encode()})
    atomic_write(path, data.getvalue())


def _onnx(network: nn.Module, example: tuple[torch.Tensor, ...], about: dict[str, Any], path: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ConfigError(
            f"--format onnx needs the package {error.name}: pip install 'erl_vlm_ros[export]'",
            code=Code.MISSING_PACKAGE,
            parameter="format",
            remedy="pip install 'erl_vlm_ros[export]'",
        ) from error
    program = torch.onnx.export(
        network, example, input_names=about["inputs"], output_names=["action"], opset_version=_OPSET, dynamo=True,
        verbose=False,
    )  # fmt: skip
    model = program.model_proto
    onnx.helper.set_model_props(model, {"policy": json.dumps(about)})
    onnx.checker.check_model(model)
    atomic_write(path, model.SerializeToString())
