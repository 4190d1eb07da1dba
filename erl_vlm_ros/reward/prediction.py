# SPDX-License-Identifier: Apache-2.0
"""What every reward model answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KIND = "reward_model"  # of the bundle


@dataclass(frozen=True)
class Prediction:
    """Per frame: expected rating scaled to 0..1 (or the ensemble's output), spread over members, P(top class).

    ``members``: what each member says, float32 [E, N], where the choice of pairs may ask for it; else None.
    """

    mean: np.ndarray
    std: np.ndarray
    top: np.ndarray
    members: np.ndarray | None = None


def joined(before: Prediction, gone: int, new: Prediction) -> Prediction:
    """``before`` less its first ``gone`` frames, then ``new``."""
    names = ("mean", "std", "top")
    parts = (np.concatenate([getattr(before, n)[gone:], getattr(new, n)]) for n in names)
    told = before.members is not None and new.members is not None
    members = np.concatenate([before.members[:, gone:], new.members], axis=1) if told else None
    return Prediction(*parts, members)
