# SPDX-License-Identifier: Apache-2.0
"""Configuration of the ERL-VLM reward model: the paper's numbers by default, its ablations by field."""

from __future__ import annotations

from dataclasses import dataclass

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.reward.boundaries import BOUNDARIES
from erl_vlm_ros.reward.losses import LOSSES
from erl_vlm_ros.reward.networks import MIN_IMAGE_SIZE

MIN_CLASSES, MAX_CLASSES = 2, 5


@dataclass(frozen=True)
class ErlRewardConfig:
    """ERL-VLM: loss "mae", stratified, class_weights. Vanilla RbRL: loss "ce", both False.

    Attributes:
        image_size: height = width of the images, pixels; at least 47 (below, the convolutions leave nothing).
        n_classes: ratings are 0 .. n_classes - 1, higher is better; 2 to 5.
        loss: "mae" (Eq. 3) or "ce" (Eq. 2).
        boundary: where Eq. 1 cuts, "edge" (as released) or "midpoint" (does not drift, see
            `class_boundaries`).
        label_smoothing: r of the smoothed targets, 0 for none (the paper's ablation: 0.1).
        stratified: batches hold the classes in proportion; False draws them uniformly.
        class_weights: weigh samples by the rarity of their class in the rated set.
        k: sharpness of the class intervals in Eq. 1.
        ensemble: number of networks; each has its own initial weights and batches.
        lr: Adam's step size.
        batch_size: most segments in a batch; at least 2, for Eq. 1 ranks a batch.
        passes: most passes over the rated set in one fit.
        early_stop_accuracy: a fit ends after the pass whose mean accuracy exceeds this.
        raw_average: average the members' outputs as they are (as released), without bringing them to one
            scale.
    """

    image_size: int = 224
    n_classes: int = 3
    loss: str = "mae"
    boundary: str = "edge"
    label_smoothing: float = 0.0
    stratified: bool = True
    class_weights: bool = True
    k: float = 30.0
    ensemble: int = 3
    lr: float = 3e-4
    batch_size: int = 512
    passes: int = 10
    early_stop_accuracy: float = 0.97
    raw_average: bool = False

    def __post_init__(self) -> None:
        _require(self.loss in LOSSES, "loss", self.loss, f"one of {', '.join(LOSSES)}")
        _require(self.boundary in BOUNDARIES, "boundary", self.boundary, f"one of {', '.join(BOUNDARIES)}")
        _require(self.image_size >= MIN_IMAGE_SIZE, "image_size", self.image_size, f"at least {MIN_IMAGE_SIZE}")
        classes = f"{MIN_CLASSES} to {MAX_CLASSES}"
        _require(MIN_CLASSES <= self.n_classes <= MAX_CLASSES, "n_classes", self.n_classes, classes)
        _require(0.0 <= self.label_smoothing < 1.0, "label_smoothing", self.label_smoothing, "in [0, 1)")
        stop = self.early_stop_accuracy
        _require(0.0 <= stop <= 1.0, "early_stop_accuracy", stop, "in [0, 1] (1 never stops early)")
        for name in ("k", "lr"):
            _require(getattr(self, name) > 0.0, name, getattr(self, name), "positive")
        for name, least in (("ensemble", 1), ("batch_size", 2), ("passes", 1)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"reward model: {name} is {value!r}, must be {rule}")
