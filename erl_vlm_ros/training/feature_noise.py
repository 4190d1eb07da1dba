# SPDX-License-Identifier: Apache-2.0
"""Noise on image features while learning: a policy must not know the numbers of a few recorded frames by heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureNoise:
    """Gaussian. ``deviation``: in that of the features, which are standardised; 0: none. ``at``: where they are in an
    observation."""

    deviation: float
    at: slice
    rng: np.random.Generator

    def onto(self, observations: np.ndarray) -> None:
        """Add it to float32 [..., O], in place."""
        if self.deviation > 0:
            features = observations[..., self.at]
            features += np.float32(self.deviation) * self.rng.standard_normal(features.shape, np.float32)
