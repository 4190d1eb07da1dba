# SPDX-License-Identifier: Apache-2.0
"""Which encoder a policy from images uses; learner and policy_controller know it alike."""

from __future__ import annotations

from erl_vlm_ros.agents.encoders import ENCODERS, Encoder
from erl_vlm_ros.common.config import config, setting

TRAINED = "keypoints"  # comes from the reward model, and travels with the policy


@config("encoder")
class EncoderConfig:
    """``observe: images`` only. Another encoder than keypoints is read from where each node runs."""

    name: str = setting(
        TRAINED,
        "What turns an image into numbers: keypoints (of the reward model's trunk), file (a frozen network), or "
        "MODULE:NAME.",
    )
    path: str = setting("", "ONNX file of the encoder 'file'; learner and policy_controller each read it.")
    image_size: int = setting(224, "Side of the file's input image, pixels.", low=8, high=512)
    checksum: str = setting("", "SHA-256 that the file must have; empty: not checked.")

    @property
    def trained(self) -> bool:
        """Whether it is made from the reward model, not read from a file."""
        return self.name == TRAINED


def given_encoder(settings: EncoderConfig) -> Encoder:
    """The frozen encoder of these settings, not one that is trained. ConfigError names the parameter."""
    return ENCODERS.load(settings.name)(settings.path, settings.image_size, settings.checksum)
