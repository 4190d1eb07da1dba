# SPDX-License-Identifier: Apache-2.0
"""Images that another driver publishes: cropped and resized once, for all their readers."""

from __future__ import annotations

from erl_vlm_ros.camera.frame import Frame
from erl_vlm_ros.camera.gate import Gate
from erl_vlm_ros.camera.health import Health
from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.camera.pipeline import Pipeline


class Relay:
    """Decides which of the driver's messages are passed on. The driver itself opens its camera again.

    Args:
        needs_info: pass nothing on before the driver has told its intrinsics.
        what: the topic, for messages.
    """

    def __init__(self, pipeline: Pipeline, gate: Gate, health: Health, needs_info: bool, what: str):
        self._pipeline, self._gate, self._health = pipeline, gate, health
        self._needs_info, self._what = needs_info, what
        self._known: Intrinsics | None = None
        self._fitted = self._ever = False
        self._last_depth_ns = -1

    def info(self, known: Intrinsics | None) -> None:
        """The driver's intrinsics; None when its camera is not calibrated."""
        if known != self._known:
            self._known, self._fitted = known, False

    def take(self, frame: Frame, now_ns: int) -> bool:
        """Whether the image is to be published.

        Raises:
            ConfigError: the driver's first image, or its intrinsics, do not have the size asked for.
        """
        if self._needs_info and self._known is None:
            self._health.refused("without camera_info")
            return False
        height, width = frame.rgb.shape[:2]
        if not self._fitted and (not self._ever or (width, height) == self._pipeline.size):
            self._pipeline.fit((width, height), self._known, self._what)
            self._fitted = self._ever = True
        reason = "of another size" if (width, height) != self._pipeline.size else self._gate.refuse(frame, now_ns)
        if reason:
            self._health.refused(reason)
        return not reason

    def takes_depth(self, frame: Frame, now_ns: int) -> bool:
        """The same for a depth image aligned to colour; only once colour has come."""
        fits = self._fitted and frame.depth.shape[::-1] == self._pipeline.size
        new = self._last_depth_ns < frame.stamp_ns and not self._gate.too_far(frame.stamp_ns, now_ns)
        if fits and new:
            self._last_depth_ns = frame.stamp_ns
        return fits and new
