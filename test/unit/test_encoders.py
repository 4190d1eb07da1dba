# SPDX-License-Identifier: Apache-2.0
"""Encoders of images: the same numbers as torch, frozen, no torch on the robot side, bad input refused."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_writer import onnx_file

from erl_vlm_ros.agents.encoders import ENCODERS
from erl_vlm_ros.agents.encoders.file import FileEncoder
from erl_vlm_ros.agents.encoders.keypoints import SHARPNESS, Keypoints
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.trunk import Trunk, normalise


def trunk_of(side=48, seed=0):
    torch.manual_seed(seed)
    return Trunk(TrunkConfig(image_size=side, target_size=side // 2), prop_dim=10)


def encoder_of(trunk):
    arrays = {name: value.numpy() for name, value in trunk.state_dict().items()}
    return Keypoints.from_trunk(trunk.config.image_size, arrays)


def images_of(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


@torch.no_grad()
def by_torch(trunk, images):
    maps = trunk.convolutions[:4](normalise(torch.from_numpy(images)))
    n, c, h, w = maps.shape
    flat = maps.reshape(n, c, h * w)
    share = torch.softmax(SHARPNESS * flat / flat.amax(2, keepdim=True).clamp_min(1e-6), 2).view(n, c, h, w)
    x = (share.sum(2) * torch.linspace(-1, 1, w)).sum(2)
    y = (share.sum(3) * torch.linspace(-1, 1, h)).sum(2)
    return torch.cat([x, y], 1).numpy()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 3), st.sampled_from([32, 48, 50, 64]))
def test_numpy_and_torch_agree(seed, count, side):
    trunk, images = trunk_of(side, seed), images_of(count, side, seed)
    np.testing.assert_allclose(encoder_of(trunk).places(images), by_torch(trunk, images), atol=1e-4)


def test_a_place_follows_what_moves():
    weights = {"weight_1": np.zeros((1, 3, 1, 1)), "weight_2": np.ones((1, 1, 1, 1))}
    weights["weight_1"][:] = 1.0
    scales = {"mean": np.zeros(2), "deviation": np.ones(2)}
    encoder = Keypoints(48, {**weights, "bias_1": np.zeros(1), "bias_2": np.zeros(1), **scales})
    images = np.zeros((3, 48, 48, 3), np.uint8)
    for at, (row, column) in enumerate([(0, 0), (0, 44), (44, 0)]):
        images[at, row, column] = 255
    np.testing.assert_array_equal(np.sign(encoder.places(images)), [[-1, -1], [1, -1], [-1, 1]])


def test_features_are_standardised_clipped_and_alone_or_together_the_same():
    images = images_of(70, 48)
    encoder = encoder_of(trunk_of()).standardised(images)
    features = encoder.encode(images)
    assert features.dtype == np.float32 and features.shape == (70, encoder.size) and encoder.size == 64
    assert np.abs(features).max() <= 5 and np.abs(features.mean(0)).max() < 0.2
    np.testing.assert_allclose(
        np.concatenate([encoder.encode(images[i : i + 1]) for i in range(70)]), features, atol=1e-3
    )


def test_the_version_is_that_of_the_weights():
    first, again, other = encoder_of(trunk_of()), encoder_of(trunk_of()), encoder_of(trunk_of(seed=1))
    assert first.version == again.version != other.version
    assert first.standardised(images_of(5, 48)).version != first.version


def test_a_black_image_has_finite_features():
    assert np.isfinite(encoder_of(trunk_of()).encode(np.zeros((1, 48, 48, 3), np.uint8))).all()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 47, 48, 3), np.uint8),
        np.zeros((1, 48, 48), np.uint8),
        np.zeros((1, 48, 48, 4), np.uint8),
        np.zeros((1, 48, 48, 3), np.float32),
    ],
)
def test_images_of_another_shape_are_refused(images):
    with pytest.raises(ValueError):
        encoder_of(trunk_of()).encode(images)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_1": np.zeros((16, 3, 4, 4))},
        {"weight_2": np.zeros((32, 15, 3, 3))},
        {"bias_2": np.zeros(31)},
        {"mean": np.full(64, np.nan)},
        {"deviation": np.zeros(64)},
        {"more": np.zeros(1)},
    ],
)
def test_arrays_that_are_no_encoder_are_refused(change):
    with pytest.raises(ValueError):
        Keypoints(48, {**encoder_of(trunk_of()).weights, **change})


def test_the_robot_side_needs_no_torch():
    code = (
        "import sys; from erl_vlm_ros.agents.encoders import ENCODERS; "
        "[ENCODERS.load(name) for name in ENCODERS.names()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_encoders_have_names():
    assert {"keypoints", "file"} <= set(ENCODERS.names())
    with pytest.raises(ConfigError):
        ENCODERS.load("keypoint")


def test_a_file_encodes(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", 16)
    checksum = hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    encoder = FileEncoder(path, 16, checksum.upper(), mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
    images = images_of(3, 16)
    wanted = np.repeat(images.reshape(3, -1).mean(1, keepdims=True) / 255, 4, 1)
    np.testing.assert_allclose(encoder.encode(images), wanted, rtol=1e-4)
    assert encoder.size == 4 and encoder.version != FileEncoder(path, 16).version
    with pytest.raises(ValueError):
        encoder.encode(images_of(1, 17))


@pytest.mark.parametrize("data", [b"", b"not a network at all", b"PK\x03\x04torchscript"])
def test_a_file_that_is_no_network_is_refused(tmp_path, data):
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(ConfigError) as error:
        FileEncoder(str(tmp_path / "net.onnx"), 16)
    assert error.value.file


def test_a_missing_file_another_checksum_and_another_size_are_refused(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", 16)
    for arguments, parameter in [
        ((str(tmp_path / "none.onnx"), 16), "encoder.path"),
        ((path, 16, "0" * 64), "encoder.checksum"),
        ((path, 24), "encoder.image_size"),
        ((path, 4), "encoder.image_size"),
    ]:
        with pytest.raises(ConfigError) as error:
            FileEncoder(*arguments)
        assert error.value.parameter == parameter


def test_too_many_features_or_such_as_are_not_finite_are_refused(tmp_path):
    for name, outputs, scale in [("many.onnx", 1025, 1.0), ("nan.onnx", 4, np.nan)]:
        with pytest.raises(ConfigError):
            FileEncoder(onnx_file(tmp_path / name, 16, outputs, scale), 16)
