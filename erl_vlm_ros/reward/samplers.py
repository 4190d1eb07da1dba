# SPDX-License-Identifier: Apache-2.0
"""Cut one pass over the rated set into batches of nearly equal size: stratified by class, or uniform."""

from __future__ import annotations

import numpy as np


def stratified_batches(labels: np.ndarray, batch_size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Index arrays, each index once, that hold every class in proportion (proportional, not class-balanced).

    ceil(N / batch_size) batches. The samples, grouped by class with the rarest first and shuffled inside, are
    dealt like cards, so that class counts and sizes differ by at most one between batches. The released code
    fills batches to the brim instead and leaves a skewed last one: of (500, 80, 20) it makes [462, 40, 10]
    and [38, 40, 10]. A class with fewer samples than there are batches is still absent from some.
    """
    labels = np.asarray(labels)
    shuffled = generator.permutation(labels.size)
    _, code, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    rarity = np.argsort(np.argsort(counts, kind="stable"), kind="stable")
    dealt = shuffled[np.argsort(rarity[code], kind="stable")]
    n_batches = _batch_count(labels.size, batch_size)
    return [dealt[first::n_batches] for first in generator.permutation(n_batches)]


def uniform_batches(labels: np.ndarray, batch_size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Index arrays, each index once, of a random order; sizes differ by at most one (no tiny last batch)."""
    size = np.asarray(labels).size
    n_batches = _batch_count(size, batch_size)
    return np.array_split(generator.permutation(size), n_batches) if n_batches else []


def _batch_count(size: int, batch_size: int) -> int:
    return -(-size // batch_size)
