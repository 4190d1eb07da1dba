# SPDX-License-Identifier: Apache-2.0
"""What a policy sees of a frame beside its raw proprioception: the proprioception standardised, and image features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.agents.encoders import CLIP, Encoder
from erl_vlm_ros.agents.encoders.config import TRAINED
from erl_vlm_ros.agents.encoders.keypoints import Keypoints
from erl_vlm_ros.agents.encoders.several import SeveralViews, encoder_of
from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.views import NAMES, decode_views, names_in

_ENCODER = "encoder."


@dataclass(frozen=True)
class ImageFeatures:
    """Frozen. ``name``: the encoder's, as in ENCODERS. ``mean``, ``deviation`` [P + F]: of proprioception and
    encoder's features. ``cameras``: that it sees, in order; none: the one without a name. ValueError: they are not
    finite, or not of the encoder's size."""

    name: str
    encoder: Encoder
    mean: np.ndarray
    deviation: np.ndarray
    cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            array = np.ascontiguousarray(getattr(self, name), np.float32)
            if array.ndim != 1 or array.size <= self.encoder.size or not np.isfinite(array).all():
                raise DataError(
                    f"image features: {name} must be finite and longer than {self.encoder.size}", field=name
                )
            object.__setattr__(self, name, array)
        if self.mean.shape != self.deviation.shape or (self.deviation <= 0).any():
            raise ValueError("image features: deviations must be above 0, as many as means")

    @property
    def size(self) -> int:
        """How many numbers: P + F."""
        return len(self.mean)

    @property
    def proprio_size(self) -> int:
        """P."""
        return self.size - self.encoder.size

    def __call__(self, jpegs: Sequence[bytes], proprio: np.ndarray) -> np.ndarray:
        """float32 [N, P + F] in -5..5, of N frames and their proprioception [N, P]. ImageError: no JPEG."""
        return self.of(decode_views(jpegs, self.encoder.image_size, self.cameras), proprio)

    def of(self, images: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """The same of images uint8 [N, s, s, 3], RGB, of the encoder's size; of C cameras [N, s * C, s, 3]."""
        found = np.hstack([proprio, self.encoder.encode(images)])
        return np.clip((found - self.mean) / self.deviation, -CLIP, CLIP).astype(np.float32)

    def export(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, meta) for a bundle or a checkpoint. Of an encoder that was given, only its version is in them."""
        arrays = {"mean": self.mean, "deviation": self.deviation}
        if self.name == TRAINED:
            for i, encoder in enumerate(self.encoders):
                arrays |= {_prefix(i, self.cameras) + name: array for name, array in encoder.weights.items()}
        meta = {"name": self.name, "image_size": self.encoder.image_size, "version": self.encoder.version}
        return arrays, meta | ({NAMES: list(self.cameras)} if self.cameras else {})

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Of each camera."""
        return self.encoder.encoders if isinstance(self.encoder, SeveralViews) else (self.encoder,)

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], given: Encoder | None) -> ImageFeatures:
        """Inverse of export. ``given``: this node's own encoder, None: it has none.

        Raises:
            ValueError: not such features, or of another encoder than the given one.
        """
        name, image_size = meta.get("name"), meta.get("image_size")
        if not isinstance(name, str) or type(image_size) is not int:
            raise ValueError("image features: meta holds no encoder's name and image_size")
        cameras = names_in(meta)
        count = max(1, len(cameras))
        known = None if given is None else encoder_of([given] * count)
        if name == TRAINED:
            starts = [_prefix(i, cameras) for i in range(count)]
            weights = [{k[len(start) :]: a for k, a in arrays.items() if k.startswith(start)} for start in starts]
            encoder: Encoder = encoder_of([Keypoints(image_size, own) for own in weights])
        elif known is None or known.version != meta.get("version"):
            here = "there is none" if known is None else f"has the version {known.version}"
            raise ValueError(
                f"the policy sees through the encoder '{name[:40]}' of version {str(meta.get('version'))[:40]}, the "
                f"one here {here}: give this node the same encoder.name, encoder.path and encoder.image_size"
            )
        else:
            encoder = known
        if "mean" not in arrays or "deviation" not in arrays:
            raise ValueError("image features: mean or deviation is missing")
        return cls(name, encoder, arrays["mean"], arrays["deviation"], cameras)


def _prefix(index: int, cameras: Sequence[str]) -> str:
    """Before the names of the arrays of one camera's encoder."""
    return f"{_ENCODER}{index}." if len(cameras) > 1 else _ENCODER
