# SPDX-License-Identifier: Apache-2.0
"""Policies as the robot side runs them: plain numpy, made from a published bundle by the kind that its meta names.

A kind comes in a message, so only kinds that were registered here, or by an installed package, are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from erl_vlm_ros.agents.encoders import Encoder
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.control.policies.from_images import KIND, FromImages
from erl_vlm_ros.data.bundle import Bundle, BundleError

RELEASED = "squashed_gaussian"  # of bundles from before a policy had a kind


class Policy(Protocol):
    """What acts on observations."""

    obs_dim: int
    act_dim: int

    def act(self, obs: np.ndarray, deterministic: bool, rng: np.random.Generator | None = None) -> np.ndarray:
        """Observation [O] -> action float32 [A] in [-1, 1]. ValueError for another shape."""


Reader = Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], Policy]
#: kind -> reader of (arrays, meta); it raises ValueError for arrays that are not such a policy
POLICIES: Registry[Reader] = Registry(
    "policy",
    {
        RELEASED: "erl_vlm_ros.control.policies.squashed_gaussian:SquashedGaussian",
        "categorical": "erl_vlm_ros.control.policies.categorical:Categorical",
    },
)


def make_policy(
    kind: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], given: Encoder | None = None
) -> Policy:
    """A policy from its exported parts. ``given``: the encoder of this node, for a policy from images that needs one.

    Raises:
        ConfigError: an unknown kind.
        ValueError: the arrays are not such a policy.
    """
    if kind == KIND:
        return FromImages.read(arrays, meta, given, make_policy)
    return POLICIES.load(kind, trusted=False)(arrays, meta)


def read_policy(bundle: Bundle, given: Encoder | None = None) -> Policy:
    """The policy in a bundle of kind ``actor``; ``given`` as of make_policy. BundleError: an unknown kind, or arrays
    that do not fit it."""
    kind = bundle.meta.get("policy", RELEASED)
    try:
        return make_policy(str(kind), bundle.arrays, bundle.meta, given)
    except ValueError as error:
        raise BundleError.of(error, "actor", "actor") from error
