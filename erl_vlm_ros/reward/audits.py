# SPDX-License-Identifier: Apache-2.0
"""What a few trusted ratings say about the many others.

An auditor (a person, or a better model) rates a small share of the segments. Where the auditor contradicts the teacher
about a view cluster, the teacher's other ratings of views like it count for little; where they agree, for all they did.
"""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.reward.view_clusters import clustering_features

_REACH = 0.5  # of the distances that `clustering_features` gives (two at random: about 2): how alike one cluster is


def audited_weights(
    inputs: np.ndarray, prop_dim: int, ratings: np.ndarray, audited: np.ndarray, audit_weight: float
) -> np.ndarray:
    """Factor of each rating's weight, float32 [M].

    Args:
        inputs: normalised, float32 [M, D]; ``prop_dim``: see `clustering_features`.
        ratings: classes int64 [M].
        audited: bool [M].
        audit_weight: factor of the audited ones. The others get (1 + a) / (1 + a + c), with ``a`` the closeness of
            the audits nearby that say the same, and ``c`` that of those that do not, in as many ordinary ratings.
    """
    x = clustering_features(inputs, prop_dim)
    trusted = x[audited]
    distance = (x**2).sum(1)[:, None] + (trusted**2).sum(1) - 2 * x @ trusted.T
    near = audit_weight * np.exp(-np.maximum(distance, 0.0) / (2 * _REACH**2))
    same = ratings[:, None] == ratings[audited]
    agree, contradict = (near * same).sum(1), (near * ~same).sum(1)
    return np.where(audited, audit_weight, (1 + agree) / (1 + agree + contradict)).astype(np.float32)
