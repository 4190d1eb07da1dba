# SPDX-License-Identifier: Apache-2.0
"""A frozen pretrained network out of an ONNX file, run by OpenCV."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from erl_vlm_ros.agents.encoders import check_images
from erl_vlm_ros.common.errors import Code, ConfigError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1
_MOST_BYTES = 512 << 20
_MOST_FEATURES = 1024  # numbers: 4 kB a frame, within the 10 kB of a stored transition
_TORCHSCRIPT = b"PK\x03\x04"  # a zip archive


class FileEncoder:
    """Images -> features by the file's network: input [1, 3, s, s], one output, flattened.

    Args:
        path: an ONNX file.
        image_size: side of its input, px.
        checksum: SHA-256 of the file in hexadecimal; another file is refused. Empty: not checked.
        mean, deviation: what RGB in 0..1 is standardised with before it enters.

    Raises:
        ConfigError: no such file, another checksum, no ONNX, not a network for that size, or too many features.
    """

    def __init__(
        self,
        path: str,
        image_size: int,
        checksum: str = "",
        mean: tuple[float, float, float] = MEAN,
        deviation: tuple[float, float, float] = DEVIATION,
    ):
        if not 8 <= image_size <= 512:
            raise ConfigError(
                f"encoder.image_size is {image_size}, it must be 8 to 512 px", parameter="encoder.image_size"
            )
        data = _read(path)
        found = hashlib.sha256(data).hexdigest()
        if checksum and found != checksum.strip().lower():
            raise ConfigError(
                f"encoder.checksum is {checksum[:64]}, but {path} has the SHA-256 {found}: another file, or damaged",
                parameter="encoder.checksum", file=path, code=Code.DOES_NOT_FIT)  # fmt: skip
        self.image_size, self.checksum = image_size, found
        self._mean, self._deviation = np.float32(mean), np.float32(deviation)
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except cv2.error as error:
            text = f"{path} is no ONNX file that OpenCV reads: {error.err}"
            raise ConfigError(text, file=path, code=Code.UNREADABLE, parameter="encoder.path") from error
        blank = np.zeros((1, image_size, image_size, 3), np.uint8)
        try:
            self.size = self.encode_one(blank).size
        except (cv2.error, ValueError) as error:
            raise ConfigError(
                f"the network in {path} does not take an image of {image_size} px: {error}; set encoder.image_size to "
                "the size that it was made for",
                parameter="encoder.image_size", file=path, code=Code.DOES_NOT_FIT) from error  # fmt: skip
        if not 1 <= self.size <= _MOST_FEATURES:
            text = f"{path} gives {self.size} features, 1 to {_MOST_FEATURES} can be stored"
            raise ConfigError(text, file=path, code=Code.UNREADABLE, parameter="encoder.path")

    @property
    def version(self) -> str:
        """Of the file, the size of the image, and what it is standardised with."""
        rest = f"{self.checksum} {self.image_size} {self._mean.tolist()} {self._deviation.tolist()}"
        return hashlib.sha256(rest.encode()).hexdigest()[:16]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 [N, s, s, 3], RGB -> features float32 [N, F]. ValueError: another shape, or not finite."""
        check_images(images, self.image_size)
        out = np.zeros((len(images), self.size), np.float32)
        for at in range(len(images)):  # one by one: an exported network often has a fixed batch of 1
            out[at] = self.encode_one(images[at : at + 1])
        return out

    def encode_one(self, image: np.ndarray) -> np.ndarray:
        """Image uint8 [1, s, s, 3] -> features float32 [F]. ValueError: they are not finite."""
        scaled = (image.astype(np.float32) / 255.0 - self._mean) / self._deviation
        self._net.setInput(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
        features = np.asarray(self._net.forward(), np.float32).ravel()
        if not np.isfinite(features).all():
            raise ValueError("the encoder's network gave features that are not finite")
        return features


def _read(path: str) -> bytes:
    try:
        size = Path(path).stat().st_size
        data = Path(path).read_bytes() if size <= _MOST_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise ConfigError(
            f"encoder.path: {path!r} cannot be read: {error}", parameter="encoder.path", file=path, code=Code.UNREADABLE
        ) from error
    if not data:
        raise ConfigError(
            f"encoder.path: {path} has {size} bytes, it must have 1 to {_MOST_BYTES}",
            parameter="encoder.path", file=path, code=Code.UNREADABLE)  # fmt: skip
    if data[:4] == _TORCHSCRIPT:
        raise ConfigError(
            f"encoder.path: {path} looks like TorchScript, and the robot side runs no torch: export it with "
            "torch.onnx.export",
            parameter="encoder.path", file=path, code=Code.UNREADABLE)  # fmt: skip
    return data
