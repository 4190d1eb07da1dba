# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker: after failures in a row nothing is sent for a while, then one probe at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

CLOSED, HALF_OPEN, OPEN = "closed", "half_open", "open"


class CircuitBreaker:
    """Use from one thread. Every ``enter`` is followed by one of ``success``, ``failure`` or ``withdraw``.

    Args:
        failures: in a row, until it opens; 0: never.
        pause_s: until the first probe; doubles with each probe that fails, up to ``longest_pause_s``.
        clock: seconds, monotonic.
    """

    def __init__(
        self, failures: int, pause_s: float, longest_pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._first, self._longest, self._clock = failures, pause_s, longest_pause_s, clock
        self._row = 0  # failures since the last success
        self._pause = pause_s
        self._until = -math.inf  # nothing goes before
        self._open = False
        self._probing = False
        self.down_since = math.inf  # when it opened, on its clock
        self.opened = 0  # how often

    @property
    def state(self) -> str:
        """``closed`` (all goes), ``open`` (nothing goes), ``half_open`` (a probe may go or is on its way)."""
        if not self._open:
            return CLOSED
        return HALF_OPEN if self._probing or self._clock() >= self._until else OPEN

    def wait_s(self) -> float:
        """Seconds until a request may go; 0: now; infinite: until the probe on its way is answered."""
        if not self._open:
            return 0.0
        return math.inf if self._probing else max(0.0, self._until - self._clock())

    def enter(self) -> bool:
        """A request is about to go (``wait_s`` is 0); whether it is a probe."""
        self._probing = self._open
        return self._open

    def success(self) -> None:
        """The endpoint is there."""
        self._row, self._pause, self._open, self._probing = 0, self._first, False, False
        self.down_since = math.inf

    def failure(self, probe: bool) -> None:
        """The endpoint did not work. What was sent before it opened does not prolong the pause."""
        self._row += 1
        if self._open and not probe:
            return
        if probe:
            self._pause = min(self._pause * 2.0, self._longest)
        elif not self._limit or self._row < self._limit:
            return
        else:
            self.opened += 1
            self.down_since = self._clock()
        self._open, self._probing = True, False
        self._until = self._clock() + self._pause

    def withdraw(self, probe: bool) -> None:
        """The request says nothing about the endpoint; another probe may go."""
        if probe:
            self._probing = False
