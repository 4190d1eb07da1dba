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
