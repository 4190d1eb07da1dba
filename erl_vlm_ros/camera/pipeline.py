# SPDX-License-Identifier: Apache-2.0
"""From a source's frames to what is published: changed images and the intrinsics that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.camera.frame import Profile
from erl_vlm_ros.camera.intrinsics import Intrinsics, load_calibration, uncalibrated
from erl_vlm_ros.camera.transform import ImageTransform, ImageTransformConfig
from erl_vlm_ros.common.errors import Code, ConfigError, wrong_parameter


@dataclass(frozen=True)
class PipelineConfig:
    """``calibration_file`` replaces what the camera says about itself; ``require_calibration``: nothing is published
    without intrinsics."""

    transform: ImageTransformConfig = ImageTransformConfig()
    profile: Profile = Profile()
    calibration_file: str = ""
    require_calibration: bool = False


class Pipeline:
    """Fitted to a source when it is opened, and again when it was opened anew."""

    def __init__(self, config: PipelineConfig):
        """ConfigError when the calibration file cannot be used."""
        self._config = config
        self._file = load_calibration(config.calibration_file) if config.calibration_file else None
        self._transform: ImageTransform | None = None
        #: of the published image; K of zeros when nothing is known
        self.intrinsics = uncalibrated(0, 0)

    def fit(self, size: tuple[int, int], known: Intrinsics | None, what: str) -> None:
        """Prepare for images of ``size`` (width, height); ``known``: intrinsics that the source gives.

        Raises:
            ConfigError: another size than asked for or calibrated, a crop outside, or no calibration though required.
        """
        config = self._config
        config.profile.check_size(*size, what)
        self._transform = ImageTransform(config.transform, *size)
        source = self._file or known
        if source is None and config.require_calibration:
            raise wrong_parameter(
                "camera",
                "calibration_file",
                f"is empty, {what} knows no intrinsics, and require_calibration "
                "is true; calibrate with ROS's camera_calibration and name the file",
                code=Code.NOT_GIVEN,
            )
        if source is not None and (source.width, source.height) != size:
            origin = "parameter 'calibration_file'" if self._file else "what the driver says, no 'calibration_file',"
            text = (
                f"{origin} of camera is for {source.width}x{source.height}, but {what} gives {size[0]}x{size[1]}; "
                "calibrate at this resolution or change parameter 'profile'"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="camera.calibration_file")
        self.intrinsics = self._transform.intrinsics(source) if source else uncalibrated(*self._transform.size)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) that apply() takes."""
        return self._transform.source if self._transform else (0, 0)

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """The image to publish."""
        return self._transform.apply(rgb)

    def apply_depth(self, depth: np.ndarray) -> np.ndarray:
        """The same for a depth image that is aligned to colour."""
        return self._transform.apply_depth(depth)
