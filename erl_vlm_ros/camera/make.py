# SPDX-License-Identifier: Apache-2.0
"""From the parameters of the camera node to its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from erl_vlm_ros.camera.frame import Profile, Source
from erl_vlm_ros.camera.opencv import OpenCvSource, VideoFile
from erl_vlm_ros.camera.pipeline import PipelineConfig
from erl_vlm_ros.camera.realsense import OFF, RealSenseConfig, RealSenseSource
from erl_vlm_ros.camera.supervisor import Patience
from erl_vlm_ros.camera.transform import ImageTransformConfig
from erl_vlm_ros.common.errors import Code, wrong_parameter

REALSENSE, OPENCV, TOPIC = "realsense", "opencv", "topic"


def make_source(p: Any, device: Callable[[], Any] | None = None) -> tuple[Source, bool]:
    """The source that the parameters ``p`` ask for, not opened yet, and whether it plays a recording.

    ``device`` gives a RealSense device in place of looking for one. ConfigError names the parameter.
    """
    profile = Profile.parse(p.profile, "profile")
    if p.source == REALSENSE:
        config = RealSenseConfig(
            profile=profile, serial=p.realsense_serial.lstrip("_"), file=p.realsense_file, depth=p.depth,
            depth_profile=Profile.parse(p.realsense_depth_profile, "realsense.depth_profile"),
            exposure=p.realsense_exposure, gain=p.realsense_gain, white_balance=p.realsense_white_balance,
        )  # fmt: skip
        return RealSenseSource(config, device), bool(p.realsense_file)
    if p.depth != OFF:
        raise wrong_parameter("camera", "depth", f"is '{p.depth}', but source '{p.source}' has none; use 'off'")
    address = p.opencv_source
    if not address:
        raise wrong_parameter(
            "camera", "opencv.source", "is empty; name a device number, a URL or a video file", code=Code.NOT_GIVEN
        )
    if not address.isdecimal() and "://" not in address and not address.startswith("/dev/"):
        return VideoFile(str(Path(address).expanduser()), profile), True
    if p.opencv_fourcc and len(p.opencv_fourcc) != 4:
        raise wrong_parameter("camera", "opencv.fourcc", f"is '{p.opencv_fourcc}'; it must have four letters")
    return OpenCvSource(address, profile, p.stall_s, p.opencv_fourcc, p.opencv_exposure, p.opencv_latency_s), False


def pipeline_config(p: Any) -> PipelineConfig:
    """PipelineConfig from the parameters."""
    transform = ImageTransformConfig(tuple(p.crop), p.square, p.rotate, p.width, p.height)
    return PipelineConfig(transform, Profile.parse(p.profile, "profile"), p.calibration_file, p.require_calibration)


def patience(p: Any, recording: bool) -> Patience:
    """Patience from the parameters. A recording needs no warming up: that was done when it was made."""
    return Patience(
        stall_s=p.stall_s, backoff_s=p.reopen_backoff_s, backoff_max_s=max(p.reopen_backoff_s, p.reopen_backoff_max_s),
        attempts=p.reopen_attempts, start_timeout_s=p.start_timeout_s,
        warmup_frames=0 if recording else p.warmup_frames, loop=p.loop,
    )  # fmt: skip


def frame_id(frame: str, rotate: int) -> str:
    """The optical frame of the published image: a turned image belongs to a turned frame."""
    return f"{frame}_rotated_{rotate}" if rotate else frame
