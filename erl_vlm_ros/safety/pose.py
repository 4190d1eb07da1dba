# SPDX-License-Identifier: Apache-2.0
"""Where the tool is now: the last measured position, moved on by what was sent since it was measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from erl_vlm_ros.safety.boxes import Vector

_STILL = (0.0, 0.0, 0.0)


class PoseEstimate:
    """A pose that is 0.3 s old at 0.9 m/s is 27 cm behind. Times are seconds of one monotonic clock."""

    def __init__(self, memory_s: float, lag_s: float = 0.0) -> None:
        """``memory_s``: the oldest measurement that can be moved on. ``lag_s``: how long after a command was sent the
        arm does it; what was sent so shortly before a measurement is still to come."""
        self._memory, self._lag = memory_s + lag_s, lag_s
        self._sent: deque[tuple[float, Vector, Vector]] = deque()  # time, way gone until then, velocity from then
        self._origin: Vector | None = None  # measured position less the way gone until it was measured

    @property
    def known(self) -> bool:
        """Whether a position was measured at all."""
        return self._origin is not None

    def saw(self, position: Sequence[float], age_s: float, now: float) -> Vector:
        """A measurement arrived that was made ``age_s`` ago. Returns by how much the tool fell behind what it was
        commanded since the measurement before, m."""
        way = self._way(now - min(max(age_s, 0.0) + self._lag, self._memory))
        before = self._origin
        origin = self._origin = (position[0] - way[0], position[1] - way[1], position[2] - way[2])
        if before is None:
            return _STILL
        return (before[0] - origin[0], before[1] - origin[1], before[2] - origin[2])

    def sent(self, velocity: Vector, now: float) -> None:
        """From now on the tool moves with ``velocity`` m/s."""
        self._sent.append((now, self._way(now), velocity))
        while len(self._sent) > 1 and self._sent[1][0] <= now - self._memory:
            self._sent.popleft()

    def position(self, now: float) -> Vector:
        """Position in m. RuntimeError before the first measurement."""
        if self._origin is None:
            raise RuntimeError("no position was measured yet")
        way, origin = self._way(now), self._origin
        return (origin[0] + way[0], origin[1] + way[1], origin[2] + way[2])

    def _way(self, at: float) -> Vector:
        for since, way, velocity in reversed(self._sent):
            if since <= at:
                dt = at - since
                return (way[0] + velocity[0] * dt, way[1] + velocity[1] * dt, way[2] + velocity[2] * dt)
        return self._sent[0][1] if self._sent else _STILL
