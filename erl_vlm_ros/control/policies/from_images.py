# SPDX-License-Identifier: Apache-2.0
"""A policy that sees the camera image: frozen features of it, then another policy on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.agents.encoders import Encoder
from erl_vlm_ros.agents.encoders.features import ImageFeatures
from erl_vlm_ros.common.errors import DataError

KIND = "from_images"
ACTING, SEEING = "policy.", "seeing."  # prefixes of the arrays of the policy within, and of the features


class FromImages:
    """``within`` acts on the proprioception and the features behind it."""

    sees_images = True

    def __init__(self, features: ImageFeatures, within: Any):
        """ValueError: the policy within takes another number of observations."""
        if within.obs_dim != features.proprio_size + features.size:
            raise ValueError(
                f"the policy takes {within.obs_dim} numbers, proprioception and image features are "
                f"{features.proprio_size + features.size}"
            )
        self.features, self.within = features, within
        self.obs_dim, self.act_dim = features.proprio_size, within.act_dim

    @classmethod
    def read(
        cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], given: Encoder | None, make: Callable[..., Any]
    ) -> FromImages:
        """From a bundle's parts.

        Args:
            given: this node's own encoder.
            make: makes the policy within, of (kind, arrays, meta).

        Raises:
            ValueError: they are not such a policy.
        """
        seeing, kind = meta.get("encoder"), meta.get("within")
        if not isinstance(seeing, Mapping) or not isinstance(kind, str) or kind == KIND:
            raise DataError("a policy from images needs an encoder and the kind of the policy within", field="encoder")
        features = ImageFeatures.read(_of(arrays, SEEING), seeing, given)
        return cls(features, make(kind, _of(arrays, ACTING), meta))

    def act(
        self,
        obs: np.ndarray,
        deterministic: bool,
        rng: np.random.Generator | None = None,
        jpeg: Callable[[], bytes] | None = None,
    ) -> np.ndarray:
        """Proprioception [P] and the frame as it is stored -> action float32 [A]. ValueError: no frame, no JPEG."""
        if jpeg is None:
            raise DataError("a policy from images needs the frame", field="frame")
        obs = np.asarray(obs, np.float32)
        if obs.shape != (self.obs_dim,):
            raise DataError(
                f"observation has shape {list(obs.shape)}, the policy expects [{self.obs_dim}]", field="observation"
            )
        return self.within.act(np.append(obs, self.features([jpeg()], obs[None])[0]), deterministic, rng)


def _of(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
