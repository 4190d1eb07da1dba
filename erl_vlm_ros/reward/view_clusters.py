# SPDX-License-Identifier: Apache-2.0
"""View clusters among the rated frames: what keeps a cluster that is always misjudged from outvoting its neighbours.

A teacher that misjudges a view cluster does so as often as it is asked, and a policy that goes there has it asked
often. So the ratings of one cluster count together, and are held out together: a fit that merely remembers a cluster
then shows on the held-out ratings, where one that agrees with the neighbouring clusters does better.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 10


def clustering_features(inputs: np.ndarray, prop_dim: int) -> np.ndarray:
    """Normalised inputs [M, D] as float64 [M, D] in which the distance says how different two views are.

    The last ``prop_dim`` columns (proprioception) weigh as much together as all features of the image.
    """
    parts = np.split(inputs.astype(np.float64), [inputs.shape[1] - prop_dim], axis=1)
    return np.concatenate([part / np.sqrt(max(part.shape[1], 1)) for part in parts], axis=1)


def view_clusters(inputs: np.ndarray, prop_dim: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means of normalised inputs float32 [M, D] into about ``count`` clusters; int64 [M].

    ``prop_dim``: see `clustering_features`."""
    x = clustering_features(inputs, prop_dim)
    centres = x[[int(rng.integers(len(x)))]]
    nearest = ((x - centres[0]) ** 2).sum(1)
    while len(centres) < min(count, len(x)) and nearest.max() > 1e-12:
        pick = x[int(rng.choice(len(x), p=nearest / nearest.sum()))]
        centres = np.concatenate([centres, pick[None]])
        nearest = np.minimum(nearest, ((x - pick) ** 2).sum(1))
    for _ in range(_ROUNDS):
        cluster = ((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)).argmin(1)
        for k in np.unique(cluster):
            centres[k] = x[cluster == k].mean(0)
    return np.unique(cluster, return_inverse=True)[1]


def importance(clusters: np.ndarray) -> np.ndarray:
    """Weight of each rating, so that every cluster weighs the same; float32 [M] with mean 1."""
    weight = 1.0 / np.bincount(clusters)[clusters]
    return (weight / weight.mean()).astype(np.float32)


def position_importance(positions: np.ndarray, bandwidth: float) -> np.ndarray:
    """Weight of each rating, float32 [M] with mean 1, so that every position of the end effector counts about alike.

    ``positions`` [M, 3] m: the weight is the inverse of a Gaussian kernel density, of ``bandwidth`` m.
    """
    p = positions.astype(np.float64)
    squares = (p**2).sum(1)
    distance = np.maximum(squares[:, None] + squares - 2 * p @ p.T, 0.0)
    weight = 1.0 / np.exp(-distance / (2 * bandwidth**2)).sum(1)
    return (weight / weight.mean()).astype(np.float32)


def cluster_folds(clusters: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold number of each rating, int64 [M]; a cluster lies in one fold."""
    count = int(clusters.max()) + 1
    of_cluster = np.empty(count, np.int64)
    of_cluster[rng.permutation(count)] = np.arange(count) % folds
    return of_cluster[clusters]
