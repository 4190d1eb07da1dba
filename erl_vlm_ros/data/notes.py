# SPDX-License-Identifier: Apache-2.0
"""What was said of an episode of a dataset later: the reward of each step, and ratings of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.data.bundle import Bundle, BundleError

UNRATED = -1
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Notes:
    """rewards float32 [T]; ratings int64 [T+1], of the segment that ends with each frame: 0 to n_classes - 1, worst
    first, UNRATED where there is none. None: nobody said. ``rater``: who rated; ``reward_model``: whose rewards.

    Raises:
        ValueError: rewards that are not finite, or a rating beyond the classes.
    """

    rewards: np.ndarray | None = None
    ratings: np.ndarray | None = None
    n_classes: int = 0
    rater: str = ""
    reward_model: str = ""

    def __post_init__(self) -> None:
        if self.rewards is not None:
            object.__setattr__(self, "rewards", np.ascontiguousarray(self.rewards, np.float32))
            bad = np.flatnonzero(~np.isfinite(self.rewards))
            if len(bad):
                raise ValueError(f"the reward of step {bad[0]} is not finite")
        if self.ratings is not None:
            object.__setattr__(self, "ratings", np.ascontiguousarray(self.ratings, np.int64))
            bad = np.flatnonzero((self.ratings < UNRATED) | (self.ratings >= max(self.n_classes, 0)))
            if len(bad):
                raise ValueError(f"the rating of frame {bad[0]} is {self.ratings[bad[0]]} of {self.n_classes} classes")

    def require(self, steps: int) -> None:
        """ValueError: they are not of an episode of so many steps."""
        for name, array, wanted in (("rewards", self.rewards, steps), ("ratings", self.ratings, steps + 1)):
            if array is not None and array.shape != (wanted,):
                raise ValueError(f"{name} {list(array.shape)} do not belong to an episode of {steps} steps")

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self.rewards is None and self.ratings is None

    def to_bundle(self) -> Bundle:
        """As a bundle of kind ``notes``."""
        arrays = {"rewards": self.rewards, "ratings": self.ratings}
        meta = {"n_classes": self.n_classes, "rater": self.rater, "reward_model": self.reward_model}
        return Bundle("notes", {name: array for name, array in arrays.items() if array is not None}, meta)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Notes:
        """Inverse of to_bundle. BundleError for anything else."""
        meta = bundle.meta
        n, rater, model = (meta.get(key) for key in ("n_classes", "rater", "reward_model"))
        if type(n) is not int or not 0 <= n <= _MOST_CLASSES or type(rater) is not str or type(model) is not str:
            raise BundleError("notes: meta needs n_classes, rater and reward_model")
        try:
            return cls(bundle.arrays.get("rewards"), bundle.arrays.get("ratings"), n, rater, model)
        except ValueError as error:
            raise BundleError(f"notes: {error}") from error
