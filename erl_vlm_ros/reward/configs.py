# SPDX-License-Identifier: Apache-2.0
"""Settings of the reward models. Without torch: parameter tables read them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import Code, ConfigError

MIN_CLASSES, MAX_CLASSES = 2, 5
MIN_IMAGE_SIZE = 47  # px; below, the convolutions of the paper's network leave nothing


@config("trunk")
class TrunkConfig:
    """The image trunk of the default reward model; sizes in pixels, counts of gradient steps."""

    image_size: int = setting(
        48, "Side of the reward model's image, pixels; a multiple of trunk.target_size.", low=32, high=512
    )
    channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = setting(
        (16, 32, 64, 128), "Channels of the convolutions, each halving the image."
    )
    features: int = setting(128, "Length of the feature vector.", low=2, high=4096)
    target_size: int = setting(24, "Side of the image that the trunk must rebuild, pixels.", low=8, high=128)
    first_iterations: int = setting(400, "Gradient steps of the trunk's first training.", low=1, high=1_000_000)
    iterations: int = setting(100, "Gradient steps of each later training.", low=1, high=1_000_000)
    batch_size: int = setting(64, "Frames per step.", low=1, high=4096)
    lr: float = setting(1e-3, "Learning rate.", low=1e-7, high=1.0)
    proprio_weight: float = setting(1.0, "Weight of telling the proprioception from the image.", low=0.0, high=1000.0)
    growth: float = setting(
        1.2, "Train the trunk again when the frames have grown by this factor.", low=1.0, high=100.0
    )
    enough_frames: int = setting(
        20_000,
        "Once trained on so many frames the trunk stays as it is: cached features then hold for good.",
        low=1,
        high=1_000_000_000,
    )

    def __post_init__(self) -> None:
        if self.image_size % self.target_size:
            raise ConfigError(
                f"trunk.image_size is {self.image_size}; it must be a multiple of trunk.target_size {self.target_size}",
                parameter="trunk.image_size",
                code=Code.DOES_NOT_FIT,
            )


@config("heads")
class HeadConfig:
    """The rating heads of the default reward model: forward-corrected loss under label noise.

    Against systematic label noise (docs/systematic_errors.md): ``cluster_size`` and ``bandwidth_m``
    (reward/view_clusters.py), ``jump``, ``start`` and ``object`` (reward/continuity.py), ``audit`` (reward/audits.py).
    """

    members: int = setting(5, "Members of the ensemble, each with its own hold-out fold.", low=1, high=64)
    hidden: int = setting(64, "Units of each of the two hidden layers.", low=1, high=4096)
    iterations: int = setting(300, "Gradient steps of a fit, from scratch after each round.", low=1, high=1_000_000)
    batch_size: int = setting(128, "Ratings per step.", low=1, high=65_536)
    lr: float = setting(3e-3, "Learning rate.", low=1e-7, high=1.0)
    weight_decay: float = setting(0.1, "AdamW's weight decay.", low=0.0, high=10.0)
    input_noise: float = setting(0.1, "Noise on the normalised inputs while training.", low=0.0, high=10.0)
    check_every: int = setting(10, "Gradient steps between looks at the held-out ratings.", low=1, high=100_000)
    noise: float = setting(
        0.2, "Share of ratings that the loss takes to be wrong, uniformly over the other classes.", low=0.0, high=0.9
    )
    adapt_noise: bool = setting(True, "After the first round take the share that the held-out ratings show.")
    cluster_size: int = setting(
        0,
        "Group the ratings into view clusters of about so many; each weighs the same and is held out as a whole; "
        "0: off.",
        low=0,
        high=10_000,
    )
    jump: float = setting(1.0, "Classes that the expected rating may change by from frame to frame.", low=0.0, high=5.0)
    jump_weight: float = setting(0.0, "Weight of the penalty on larger changes; 0: off.", low=0.0, high=1000.0)
    start_level: float = setting(0.25, "Highest reward, 0 to 1, that an episode may begin with.", low=0.0, high=1.0)
    start_weight: float = setting(0.0, "Weight of the penalty on more; 0: off.", low=0.0, high=1000.0)
    object_weight: float = setting(
        0.0,
        "Weight of the penalty on levels that differ between frames with the tracked object in the same place; 0: off.",
        low=0.0,
        high=1000.0,
    )
    bandwidth_m: float = setting(
        0.0,
        "Ratings with the end effector within about so many m of each other weigh together as one; view clusters then "
        "only say what is held out together. 0: off.",
        low=0.0,
        high=1.0,
    )
    audit_weight: float = setting(10.0, "Weight of an audited rating, in ordinary ones.", low=1.0, high=1000.0)
    audit_noise: float = setting(0.05, "Share of audited ratings that the loss takes to be wrong.", low=0.0, high=0.5)

    @property
    def continuity(self) -> bool:
        """Whether unrated frames are of use."""
        return self.jump_weight > 0 or self.start_weight > 0 or self.object_weight > 0


@config("erl")
class ErlRewardConfig:
    """The ERL-VLM paper's reward model. Vanilla RbRL: loss "ce", stratified and class_weights false.

    ``n_classes``: ratings are 0 .. n_classes - 1, higher is better.
    """

    image_size: int = setting(84, "Side of the image, pixels (paper: 224).", low=MIN_IMAGE_SIZE, high=512)
    n_classes: int = setting(3, "Rating classes.", low=MIN_CLASSES, high=MAX_CLASSES)
    loss: Literal["mae", "ce"] = setting("mae", "mae: Eq. 3; ce: Eq. 2 (vanilla RbRL).")
    boundary: Literal["edge", "midpoint"] = setting(
        "edge", "Where Eq. 1 cuts: edge, as released, or midpoint, which does not drift."
    )
    label_smoothing: float = setting(
        0.0, "Smoothing of the targets, 0 for none (paper's ablation: 0.1).", low=0.0, high=0.99
    )
    stratified: bool = setting(True, "Batches hold the classes in proportion; false: uniform.")
    class_weights: bool = setting(True, "Weigh ratings by the rarity of their class.")
    k: float = setting(30.0, "Sharpness of the class intervals in Eq. 1.", low=0.001, high=10_000.0)
    ensemble: int = setting(3, "Networks in the ensemble, each with its own weights and batches.", low=1, high=64)
    lr: float = setting(3e-4, "Adam's learning rate.", low=1e-7, high=1.0)
    batch_size: int = setting(512, "Most segments in a batch; Eq. 1 ranks a batch.", low=2, high=65_536)
    passes: int = setting(10, "Most passes over the rated set in one fit.", low=1, high=10_000)
    early_stop_accuracy: float = setting(
        0.97, "A fit ends after the pass whose mean accuracy exceeds this; 1 never stops early.", low=0.0, high=1.0
    )
    raw_average: bool = setting(
        False, "Average the members' outputs as they are, as released, without bringing them to one scale."
    )
