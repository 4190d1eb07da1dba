# SPDX-License-Identifier: Apache-2.0
"""What a few trusted ratings say about the many others.

An auditor (a person, or a better model) rates a small share of the segments. Where the auditor contradicts the teacher
about a kind of view, the teacher's other ratings of views like it count for little; where they agree, for all they did.
"""

from __future__ import annotations

import numpy as np

_REACH = 0.5  # standard deviations of image and proprioception: how alike two views of one kind are


def audited_weights(
    inputs: np.ndarray, prop_dim: int, ratings: np.ndarray, audited: np.ndarray, audit_weight: float
) -> np.ndarray:
    """Factor of each rating's weight, float32 [M].

    Args:
        inputs: normalised, float32 [M, D]; the last ``prop_dim`` columns are proprioception.
        ratings: classes int64 [M].
        audited: bool [M].
        audit_weight: factor of the audited ones. The others get (1 + a) / (1 + a + c), with ``a`` the closeness of
            the audits nearby that say the same, and ``c`` that of those that do not, in as many ordinary ratings.
    """
    parts = np.split(inputs.astype(np.float64), [inputs.shape[1] - prop_dim], axis=1)
    x = np.concatenate([part / np.sqrt(max(part.shape[1], 1)) for part in parts], axis=1)
    trusted = x[audited]
    distance = (x**2).sum(1)[:, None] + (trusted**2).sum(1) - 2 * x @ trusted.T
    near = audit_weight * np.exp(-np.maximum(distance, 0.0) / (2 * _REACH**2))
    same = ratings[:, None] == ratings[audited]
    agree, contradict = (near * same).sum(1), (near * ~same).sum(1)
    return np.where(audited, audit_weight, (1 + agree) / (1 + agree + contradict)).astype(np.float32)
