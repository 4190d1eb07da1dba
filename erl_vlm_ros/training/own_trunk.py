# SPDX-License-Identifier: Apache-2.0
"""An image trunk for a policy that no reward model goes with: trained on the buffer's frames, which takes no label."""

from __future__ import annotations

from dataclasses import dataclass

from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.views import decode_views
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.trunk import Trunk
from erl_vlm_ros.reward.trunks import Trunks, trunk_trainer

ITERATIONS = 300  # as config/params/images.yaml has it for a reward model's


@dataclass(frozen=True)
class OwnTrunk:
    """What the encoder takes of a reward model: the trunk, the side of its images in pixels, the cameras it sees."""

    trunk: Trunk | Trunks
    image_size: int
    cameras: tuple[str, ...]


def own_trunk(
    replay: ReplayBuffer, channels: tuple[int, ...], image_size: int, cameras: tuple[str, ...], seed: int
) -> OwnTrunk:
    """Train one. ``image_size``: side of its images, px. ``cameras``: none: the one without a name. ImageError: a frame
    is no JPEG."""
    config = TrunkConfig(channels=channels, image_size=image_size, first_iterations=ITERATIONS)
    trainer = trunk_trainer(config, replay.prop_dim, seed, len(cameras))
    trainer.train(decode_views(replay.frame_jpegs, config.image_size, cameras), replay.frame_proprio)
    return OwnTrunk(trainer.trunk, config.image_size, cameras)
