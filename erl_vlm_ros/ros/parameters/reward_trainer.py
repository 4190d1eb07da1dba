# SPDX-License-Identifier: Apache-2.0
"""Parameters of reward_trainer: those under ``trunk.`` and ``heads.`` are the default's, under ``erl.`` the paper's."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("seed", 0, "Seed of networks and batches.", low=0, high=2**31 - 1),
    Param(
        "recipe",
        "trunk",
        "trunk: image trunk over all frames under rating heads; erl: the ERL-VLM paper's model.",
        choices=("trunk", "erl"),
    ),
    Param("n_classes", 0, "Rating classes; 0: as the task file says.", low=0, high=5),
    Param("max_frames", 30_000, "Frames kept for the trunk's training.", low=100, high=1_000_000),
    Param("soft_labels", False, "Learn from the shares of an ensemble's votes, not from the majority's class alone."),
    Param("checkpoint_dir", "", "Folder for reward_trainer.safetensors; empty: no checkpoint."),
    Param("resume", False, "Continue from checkpoint_dir; refused when there is nothing to continue from."),
    Param(
        "trunk.image_size",
        48,
        "Side of the reward model's image, pixels; a multiple of trunk.target_size.",
        low=32,
        high=512,
    ),
    Param("trunk.features", 128, "Length of the feature vector.", low=2, high=4096),
    Param(
        "trunk.target_size", 24, "Side of the picture that the trunk must rebuild, pixels.", low=8, high=128
    ),
    Param(
        "trunk.first_iterations", 400, "Gradient steps of the trunk's first training.", low=1, high=1_000_000
    ),
    Param("trunk.iterations", 100, "Gradient steps of each later training.", low=1, high=1_000_000),
    Param("trunk.batch_size", 64, "Frames per step.", low=1, high=4096),
    Param("trunk.lr", 1e-3, "Learning rate.", low=1e-7, high=1.0),
    Param(
        "trunk.proprio_weight",
        1.0,
        "Weight of telling the proprioception from the image.",
        low=0.0,
        high=1000.0,
    ),
    Param(
        "trunk.growth",
        1.2,
        "Train the trunk again when the frames have grown by this factor.",
        low=1.0,
        high=100.0,
    ),
    Param(
        "trunk.enough_frames",
        20_000,
        "Once trained on so many frames the trunk stays as it is.",
        low=1,
        high=1_000_000_000,
    ),
    Param("heads.members", 5, "Members of the ensemble, each with its own hold-out fold.", low=1, high=64),
    Param("heads.hidden", 64, "Units of each of the two hidden layers.", low=1, high=4096),
    Param(
        "heads.iterations",
        300,
        "Gradient steps of a fit, from scratch after each round.",
        low=1,
        high=1_000_000,
    ),
    Param("heads.batch_size", 128, "Ratings per step.", low=1, high=65_536),
    Param("heads.lr", 3e-3, "Learning rate.", low=1e-7, high=1.0),
    Param("heads.weight_decay", 0.1, "AdamW's weight decay.", low=0.0, high=10.0),
    Param("heads.input_noise", 0.1, "Noise on the normalised inputs while training.", low=0.0, high=10.0),
    Param(
        "heads.check_every", 10, "Gradient steps between looks at the held-out ratings.", low=1, high=100_000
    ),
    Param("heads.noise", 0.2, "Share of ratings that the loss takes to be wrong.", low=0.0, high=0.9),
    Param("heads.adapt_noise", True, "After the first round take the share that the held-out ratings show."),
    Param(
        "heads.kind_size", 0,
        "Group the ratings into kinds of view of about so many; each kind weighs the same and is held out as a whole; "
        "0: off.",
        low=0, high=10_000,
    ),
    Param("heads.jump", 1.0, "Classes that the expected rating may change by from frame to frame.", low=0.0, high=5.0),
    Param("heads.jump_weight", 0.0, "Weight of the penalty on larger changes; 0: off.", low=0.0, high=1000.0),
    Param("heads.start_level", 0.25, "Highest reward, 0 to 1, that an episode may begin with.", low=0.0, high=1.0),
    Param("heads.start_weight", 0.0, "Weight of the penalty on more; 0: off.", low=0.0, high=1000.0),
    Param(
        "heads.object_weight", 0.0,
        "Weight of the penalty on levels that differ between frames with the tracked object in the same place; 0: off.",
        low=0.0, high=1000.0,
    ),
    Param(
        "heads.place_m", 0.0,
        "Ratings made with the hand within about so many m of each other weigh together as one; kinds of view then "
        "only say what is held out together. 0: off.",
        low=0.0, high=1.0,
    ),
    Param("erl.image_size", 84, "Side of the image, pixels (paper: 224).", low=48, high=512),
    Param("erl.loss", "mae", "mae: Eq. 3; ce: Eq. 2 (vanilla RbRL).", choices=("mae", "ce")),
    Param(
        "erl.label_smoothing", 0.0, "Smoothing of the targets (paper's ablation: 0.1).", low=0.0, high=0.99
    ),
    Param("erl.stratified", True, "Batches hold the classes in proportion; false: uniform."),
    Param("erl.class_weights", True, "Weigh ratings by the rarity of their class."),
    Param("erl.k", 30.0, "Sharpness of the class intervals in Eq. 1.", low=0.001, high=10_000.0),
    Param("erl.ensemble", 3, "Networks in the ensemble.", low=1, high=64),
    Param("erl.lr", 3e-4, "Learning rate.", low=1e-7, high=1.0),
    Param("erl.batch_size", 512, "Segments per batch.", low=1, high=65_536),
    Param("erl.passes", 10, "Most passes over the rated set in one fit.", low=1, high=10_000),
    Param(
        "erl.early_stop_accuracy", 0.97, "A fit ends when training accuracy exceeds this.", low=0.0, high=1.0
    ),
    Param("erl.raw_average", False, "Average the members unscaled, as released."),
)
