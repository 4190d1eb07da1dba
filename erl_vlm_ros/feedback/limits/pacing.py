# SPDX-License-Identifier: Apache-2.0
"""Requests and tokens per minute, never more in any 60 s, and pauses that the endpoint asks for."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

WINDOW_S = 60.0


@dataclass
class Slot:
    """One request in the window: when it was sent and how many tokens it takes."""

    at: float
    tokens: int


class Pacer:
    """A sliding window over the requests of the last minute. Use from one thread.

    Args:
        requests_per_minute, tokens_per_minute: limits; 0 means none.
        clock: seconds, monotonic.
    """

    def __init__(
        self, requests_per_minute: int = 0, tokens_per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests, self._tokens, self._clock = requests_per_minute, tokens_per_minute, clock
        self._window: deque[Slot] = deque()
        self._sum = 0
        self._held_until = -math.inf

    def wait_s(self, tokens: int) -> float:
        """Seconds until a request of so many tokens may go; 0: now.

        A request that is larger than the whole limit goes when the window is empty.
        """
        now = self._clock()
        self._expire(now)
        wait = max(0.0, self._held_until - now)
        if self._requests and len(self._window) >= self._requests:
            wait = max(wait, self._leaves(self._window[-self._requests], now))
        if self._tokens and self._window:
            excess = self._sum + tokens - self._tokens
            for slot in self._window:
                if excess <= 0:
                    break
                excess -= slot.tokens
                wait = max(wait, self._leaves(slot, now))
        return wait

    def take(self, tokens: int, age_s: float = 0.0) -> Slot | None:
        """Enter a request that is sent now (or was, ``age_s`` seconds ago); None when nothing is limited."""
        if not (self._requests or self._tokens):
            return None
        slot = Slot(self._clock() - age_s, tokens)
        self._window.append(slot)
        self._sum += tokens
        return slot

    def settle(self, slot: Slot | None, tokens: int) -> None:
        """The tokens that a request really took."""
        if slot is not None and slot.at > self._clock() - WINDOW_S:
            self._sum += tokens - slot.tokens
            slot.tokens = tokens

    def hold(self, seconds: float) -> None:
        """Nothing goes for so long (Retry-After)."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _expire(self, now: float) -> None:
        while self._window and self._leaves(self._window[0], now) <= 0.0:
            self._sum -= self._window.popleft().tokens

    @staticmethod
    def _leaves(slot: Slot, now: float) -> float:
        return slot.at + WINDOW_S - now


def pause_s(attempt: int, first_s: float, longest_s: float, rng: random.Random) -> float:
    """Pause before another attempt, s: doubles with each failure up to ``longest_s``, less up to half by jitter."""
    return min(first_s * 2.0 ** min(attempt - 1, 60), longest_s) * rng.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that an answer asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as an HTTP date.

    A date counts from the answer's own ``Date`` where it has one, so that a wrong clock here does no harm.
    None when nothing readable is asked.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            value = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(value):
            return max(0.0, value)
    until = _date(headers.get("retry-after", ""))
    if until is None:
        return None
    start = _date(headers.get("date", "")) or now or datetime.now(timezone.utc)
    return max(0.0, (until - start).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        value = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
