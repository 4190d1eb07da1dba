# SPDX-License-Identifier: Apache-2.0
"""How well a reward model foretells ratings that it was not trained on: those of the round that has just come in."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.reward.model import RewardModel


def fresh_figures(model: RewardModel, images: np.ndarray, proprio: np.ndarray, ratings: np.ndarray) -> dict[str, float]:
    """Agreement of a model with ratings int64 [M] of frames uint8 [M, s, s, 3] with proprioception float32 [M, P].

    fresh_agreement: share whose class the expected rating rounds to. fresh_error: mean distance, in classes.
    fresh_bias: how much higher than the ratings the model is, in classes. fresh_skill: how much less error than that
    of the best constant; 0 or less: the model knows nothing of them.
    """
    top = model.n_classes - 1
    expected = top * np.asarray(model.predict(model.features(images), proprio).mean, float)
    error = float(np.abs(expected - ratings).mean())
    constant = float(np.abs(ratings - np.median(ratings)).mean())
    return {
        "fresh_agreement": float((np.clip(np.rint(expected), 0, top) == ratings).mean()),
        "fresh_error": error,
        "fresh_bias": float((expected - ratings).mean()),
        "fresh_skill": 1.0 - error / constant if constant > 0 else float(error < 0.5),
    }


def fresh_pairs(model: RewardModel, images: np.ndarray, proprio: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Agreement with comparisons int64 [M], 0 the first, 1 the second, of frames uint8 [M, 2 H, s, s, 3], those of the
    first segment before those of the second: the share that the returns order alike, and its lead over guessing."""
    flat = images.reshape(-1, *images.shape[2:])
    rewards = model.predict(model.features(flat), proprio.reshape(len(flat), -1)).mean
    first, second = np.asarray(rewards, float).reshape(len(said), 2, -1).sum(2).T
    agreement = float(((second > first) == (said == 1)).mean())
    return {"fresh_agreement": agreement, "fresh_skill": 2 * agreement - 1}
