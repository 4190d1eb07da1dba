# SPDX-License-Identifier: Apache-2.0
"""Image features beside the proprioception of an observation: zeros until an encoder is fitted, then frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from erl_vlm_ros.agents.base import Policy
from erl_vlm_ros.agents.encoders.config import EncoderConfig, given_encoder
from erl_vlm_ros.agents.encoders.features import ImageFeatures
from erl_vlm_ros.agents.encoders.keypoints import Keypoints
from erl_vlm_ros.agents.encoders.several import encoder_of
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.control.policies.from_images import ACTING, KIND, SEEING
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.spaces import FEATURES, Spaces, image_spaces
from erl_vlm_ros.data.views import decode_views, split_views
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.model import RewardModel, cameras_seen
from erl_vlm_ros.reward.trunks import trunk_of
from erl_vlm_ros.training.own_trunk import OwnTrunk, own_trunk

_FLOOR = 1e-3  # of a deviation


class ImageObserver:
    """Adds ``image_features`` to episodes: standardised proprioception and the encoder's features of each frame.

    Args:
        settings: of the encoder.
        channels: of the reward trunk's convolutions; keypoints are those of the second.
        image_size: side of the images of a trunk of its own, px.
        spaces: of the episodes.
        cameras: that the policy sees; none: the one without a name.
        seed: of a trunk of its own, where there is no reward model.

    Raises:
        ConfigError: a trunk of fewer than two convolutions, or an encoder that cannot be read.
    """

    def __init__(
        self,
        settings: EncoderConfig,
        channels: tuple[int, ...],
        spaces: Spaces,
        cameras: tuple[str, ...] = (),
        seed: int = 0,
        image_size: int = TrunkConfig.image_size,
    ):
        self._settings, self.cameras, self._channels, self._seed = settings, cameras, channels, seed
        self._image_size = image_size
        self.given = None if settings.trained else given_encoder(settings)
        if self.given is None and len(channels) < 2:
            raise ConfigError(
                f"trunk.channels is {list(channels)}; a policy from images needs two convolutions at least",
                parameter="trunk.channels",
            )
        self._own = spaces.observation.proprio_size
        each = 2 * channels[1] if self.given is None else self.given.size
        self.size = self._own + each * max(1, len(cameras))
        self.spaces = image_spaces(spaces, self.size)  # of what the agent sees
        self.features: ImageFeatures | None = None

    @property
    def encoded(self) -> slice:
        """Where in an observation the encoder's numbers are; proprioception is before them."""
        return slice(2 * self._own, self._own + self.size)

    @property
    def fitted(self) -> bool:
        """Whether there is an encoder."""
        return self.features is not None

    def extended(self, episode: Episode) -> Episode:
        """The episode as the agent sees it. ImageError: a frame is no JPEG."""
        proprio = episode.observations[:, : self._own]
        seen = np.zeros((len(proprio), self.size)) if self.features is None else self.features(episode.jpegs, proprio)
        spaces = None if episode.spaces is None else image_spaces(episode.spaces, self.size)
        return replace(episode, observations=np.hstack([proprio, seen]), spaces=spaces)

    def fit(self, model: RewardModel | None, replay: ReplayBuffer) -> None:
        """Take the trunk of ``model`` as it is (None: one that is trained on the buffer's frames; or the encoder that
        was given), standardise with the buffer's frames, and encode all of them.

        Raises:
            ConfigError: the reward model has no trunk.
        """
        proprio = replay.frame_proprio
        if self.given is None:
            if model is None:
                model = own_trunk(replay, self._channels, self._image_size, self.cameras, self._seed)
            if getattr(model, "trunk", None) is None:
                text = (
                    "a policy from images needs reward_trainer.reward_model trunk_heads: its encoder is that trunk's; "
                    "or an encoder of its own, learner.encoder.name file"
                )
                raise ConfigError(text, parameter="reward_trainer.reward_model", code=Code.DOES_NOT_FIT)
            images = decode_views(replay.frame_jpegs, model.image_size, self.cameras)
            parts = split_views(images, max(1, len(self.cameras)))
            encoder = encoder_of([self._keypoints(model, i, part) for i, part in enumerate(parts)])
            mean, deviation = np.zeros(encoder.size), np.ones(encoder.size)  # they are standardised already
        else:
            encoder = encoder_of([self.given] * max(1, len(self.cameras)))
            images = decode_views(replay.frame_jpegs, encoder.image_size, self.cameras)
            found = encoder.encode(images)
            mean, deviation = found.mean(0), np.maximum(found.std(0), _FLOOR)
        self.features = ImageFeatures(
            self._settings.name, encoder, np.append(proprio.mean(0), mean),
            np.append(np.maximum(proprio.std(0), _FLOOR), deviation), self.cameras,
        )  # fmt: skip
        replay.set_part(FEATURES, self.features.of(images, proprio))

    def _keypoints(self, model: RewardModel | OwnTrunk, index: int, images: np.ndarray) -> Keypoints:
        """Of the trunk that sees the policy's camera ``index``. ConfigError: the reward model has none."""
        at, seen = 0, cameras_seen(model)
        if self.cameras:
            if self.cameras[index] not in seen:
                raise ConfigError(
                    f"the policy sees the camera '{self.cameras[index]}', but the reward model, whose trunk is the "
                    f"encoder, sees {', '.join(seen) or 'the first alone'}: add it to reward_trainer.reward_cameras",
                    parameter="learner.policy_cameras",
                )
            at = seen.index(self.cameras[index])
        arrays = {name: value.detach().numpy() for name, value in trunk_of(model.trunk, at).state_dict().items()}
        return Keypoints.from_trunk(model.image_size, arrays).standardised(np.ascontiguousarray(images))

    def policy(self, within: Policy) -> Policy:
        """The agent's policy together with the features that it acts on, as it travels to the robot."""
        arrays, meta = self.features.export()
        sent = {SEEING + name: array for name, array in arrays.items()}
        sent |= {ACTING + name: array for name, array in within.arrays.items()}
        return Policy(KIND, sent, {**within.meta, "within": within.kind, "encoder": meta})

    def state_dict(self) -> dict[str, Any]:
        """The encoder and what it is standardised with; the buffer holds the features."""
        if self.features is None:
            return {"arrays": {}, "meta": None}
        arrays, meta = self.features.export()
        return {"arrays": arrays, "meta": meta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what state_dict gave. ValueError: of another encoder."""
        if state["meta"] is not None:
            self.features = ImageFeatures.read(state["arrays"], state["meta"], self.given)
            if self.features.cameras != self.cameras:
                raise ConfigError(
                    f"the checkpoint's policy sees {', '.join(self.features.cameras) or 'one camera without a name'}, "
                    f"this run asks for {', '.join(self.cameras) or 'one camera without a name'}: set "
                    "learner.policy_cameras back, or begin a new run",
                    parameter="learner.policy_cameras",
                )
