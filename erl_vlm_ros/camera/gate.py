# SPDX-License-Identifier: Apache-2.0
"""Only new images pass: none twice, none older than the one before, none too old, no frozen image."""

from __future__ import annotations

import zlib

from erl_vlm_ros.camera.frame import NS, Frame

#: how far a stamp may lie ahead of this machine's clock: two clocks are never the same
FUTURE_NS = NS // 20


class Gate:
    """Judges frames in the order in which they come.

    When the system's clock is set back, stamps begin anew with it.

    Args:
        max_age_s: frames taken longer ago are refused.
        frozen_s: an image that stays the same to the last bit this long is refused from then on; 0: not looked at.
    """

    def __init__(self, max_age_s: float, frozen_s: float = 0.0):
        self._max_age_ns, self._frozen_ns = round(max_age_s * NS), round(frozen_s * NS)
        self._last_ns = -1
        self._checksum: int | None = None
        self._changed_ns = 0

    def refuse(self, frame: Frame, now_ns: int) -> str:
        """Why the frame must not be passed on as new; empty when it may."""
        stamp = frame.stamp_ns
        if now_ns + FUTURE_NS < self._last_ns:  # the system's clock was set back
            self._last_ns = -1
        if stamp <= self._last_ns:
            return "repeated" if stamp == self._last_ns else "out of order"
        if reason := self.too_far(stamp, now_ns):
            return reason
        if self._frozen_ns and self._frozen(frame):
            return "frozen image"
        self._last_ns = stamp
        return ""

    def too_far(self, stamp_ns: int, now_ns: int) -> str:
        """Why a stamp cannot be that of a new image, whatever came before; empty when it can."""
        if stamp_ns > now_ns + FUTURE_NS:
            return "from the future"
        return "too old" if now_ns - stamp_ns > self._max_age_ns else ""

    def _frozen(self, frame: Frame) -> bool:
        checksum = zlib.crc32(frame.rgb.data if frame.rgb.flags.c_contiguous else frame.rgb.tobytes())
        if checksum != self._checksum:
            self._checksum, self._changed_ns = checksum, frame.stamp_ns
        return frame.stamp_ns - self._changed_ns >= self._frozen_ns
