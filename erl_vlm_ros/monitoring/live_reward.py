# SPDX-License-Identifier: Apache-2.0
"""The learned reward of the image of this moment, for the screen; evaluated where the monitor runs, now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from erl_vlm_ros.data.bundle import Bundle, BundleError

if TYPE_CHECKING:
    from erl_vlm_ros.reward.model import RewardModel


class LiveReward:
    """Holds the newest reward model. ``image_size``: side of the stored frames, which the model was trained on."""

    def __init__(self, image_size: int):
        self._image_size = image_size
        self._model: RewardModel | None = None

    def set_model(self, bundle: Bundle) -> None:
        """Take a published reward model. Raises BundleError for an unusable one; the one before stays."""
        import torch  # three seconds and 200 MB: only where there is something to evaluate

        from erl_vlm_ros.reward.model import load_reward_model

        torch.set_num_threads(1)
        self._model = load_reward_model(bundle)

    def of(self, rgb: np.ndarray, proprio: np.ndarray, views: Mapping[str, np.ndarray] | None = None) -> float | None:
        """Expected rating 0..1 of an image uint8 [h, w, 3] and proprioception float32 [P]; None without a model.

        Args:
            views: the newest images of named cameras; None where the model needs one that is not there.

        Raises:
            BundleError: the model expects another proprioception.
        """
        if self._model is None:
            return None
        from erl_vlm_ros.reward.model import cameras_seen

        seen = cameras_seen(self._model)
        if not set(seen) <= set(views or ()):
            return None
        from erl_vlm_ros.control.recorder import square
        from erl_vlm_ros.data.images import encode_jpeg
        from erl_vlm_ros.data.views import Frame, decode_views

        # The same way that a recorded frame goes: what is shown is what the learner is given.
        images = {name: views[name] for name in seen} or {"": rgb}
        frame = Frame.of({name: encode_jpeg(square(image, self._image_size)) for name, image in images.items()})
        decoded = decode_views([frame], self._model.image_size, seen)
        try:
            mean = self._model.predict(self._model.features(decoded), proprio[None].astype(np.float32)).mean[0]
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"the reward model does not fit proprioception of {len(proprio)} numbers", field="proprio"
            ) from error
        return float(np.clip(mean, 0.0, 1.0))
