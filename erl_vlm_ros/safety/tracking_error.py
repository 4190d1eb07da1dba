# SPDX-License-Identifier: Apache-2.0
"""How far the commanded path has run ahead of the tool, and how to keep that short. Pure; metres.

MoveIt Servo and joint controllers go on from what was commanded last, not from what was reached. When something holds
the arm up, every further command tightens it like a spring: it pushes harder and harder, and when it slips off it leaps
to wherever the commands had led. The guard keeps count of that error from the commands and the measured poses alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from erl_vlm_ros.safety.boxes import Vector
from erl_vlm_ros.safety.envelope import limit_axis

_STILL = (0.0, 0.0, 0.0)
_STEP_M = 0.01  # way that counts as having moved: a tracker's noise does not
_FORGOTTEN_M = 0.3  # way along an axis in which its error fades by 63 %: some of it was a driver's own slowness
_SIDEWAYS = 0.5  # what way along the others counts: a tool that slides along an edge is still held up by it


class TrackingError:
    """The tracking error, along each axis no longer than ``most`` m. 0: nothing is counted."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.vector: Vector = _STILL
        self._anchor: Sequence[float] | None = None  # where the tool was when it last counted as having moved

    def reset(self) -> None:
        """The driver starts anew from where the arm stands."""
        self.vector = _STILL

    def saw(self, missing: Sequence[float], position: Sequence[float]) -> None:
        """The tool was measured at ``position``; it fell behind the commands by ``missing`` since the last time."""
        if self.most <= 0.0:
            return
        longer = [a + b for a, b in zip(self.vector, missing)]
        self._anchor = self._anchor or position
        moved = math.dist(position, self._anchor)
        if moved >= _STEP_M:
            along = [_SIDEWAYS * moved + (1.0 - _SIDEWAYS) * abs(p - a) for p, a in zip(position, self._anchor)]
            longer = [a * math.exp(-way / _FORGOTTEN_M) for a, way in zip(longer, along)]
            self._anchor = position
        x, y, z = (min(max(a, -self.most), self.most) for a in longer)
        self.vector = (x, y, z)

    def limit(self, velocity: Vector, horizon: float) -> Vector:
        """The velocity (m/s) less what would make the error longer than ``most`` within ``horizon`` s.

        Each axis is its own matter, as at the box: nothing is turned, and what points sideways or back passes.
        """
        if self.most <= 0.0:
            return velocity
        x, y, z = (limit_axis(v, ahead, -self.most, self.most, horizon) for v, ahead in zip(velocity, self.vector))
        return (x, y, z)
