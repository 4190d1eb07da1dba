# SPDX-License-Identifier: Apache-2.0
"""When a request may be sent: breaker closed, budget reserved, rate limits kept. Waits, but never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass

from erl_vlm_ros.data.reasons import BUDGET, ENDPOINT_DOWN
from erl_vlm_ros.feedback.limits.breaker import CircuitBreaker
from erl_vlm_ros.feedback.limits.budget import Budget
from erl_vlm_ros.feedback.limits.pacing import Pacer, Slot
from erl_vlm_ros.feedback.vlm.answer import Failed, GaveUp

_LOOK_S = 1.0  # other raters of the ledger change the budget without a word


@dataclass(frozen=True)
class Permit:
    """Leave to send one request, with what is reserved for it."""

    tokens: int
    money: float
    slot: Slot | None
    probe: bool


class Gate:
    """Use from one event loop.

    Args:
        wait_when_down: wait for the endpoint while the breaker is open; False: give up at once.
        give_up_s: the longest that an endpoint that is down is waited for, s.
    """

    def __init__(
        self, breaker: CircuitBreaker, budget: Budget, pacer: Pacer, wait_when_down: bool, give_up_s: float
    ) -> None:
        self.breaker, self.budget, self.pacer = breaker, budget, pacer
        self._wait_when_down, self._give_up_s = wait_when_down, give_up_s
        self._changed = asyncio.Event()

    async def enter(self, tokens: int, money: float, deadline: float) -> Permit:
        """Wait for leave to send a request that may cost so much.

        Args:
            deadline: on the clock of time.monotonic, s.
        Raises:
            GaveUp: ``budget`` when it is spent; otherwise what would have to be waited for too long.
        """
        while True:
            wait, reason = self._obstacle(tokens, money)
            if wait == 0.0:
                return Permit(tokens, money, self.pacer.take(tokens), self.breaker.enter())
            left = deadline - time.monotonic()
            if reason == ENDPOINT_DOWN:
                left = min(left, self._patience())
            if left <= 0.0 or left < wait < math.inf:
                raise GaveUp(reason)
            await self._change(min(wait, left, _LOOK_S))

    def answered(self, permit: Permit, tokens: int, money: float) -> None:
        """The request was answered and took so much."""
        self.breaker.success()
        self._leave(permit, tokens, money)

    def failed(self, permit: Permit, failure: Failed) -> None:
        """The request brought no answer. What may have been charged stays counted as reserved."""
        if failure.down:
            self.breaker.failure(permit.probe)
        else:
            self.breaker.success()
        if failure.wait_s:
            self.pacer.hold(failure.wait_s)
        self._leave(permit, *((permit.tokens, permit.money) if failure.charged else (0, 0.0)))

    def cut(self, permit: Permit) -> None:
        """The request was cut off from this side; it may have been charged."""
        self.breaker.withdraw(permit.probe)
        self._leave(permit, permit.tokens, permit.money)

    def _obstacle(self, tokens: int, money: float) -> tuple[float, str]:
        """(seconds to wait, what for), infinite: until something changes; or 0 with the budget reserved."""
        wait = self.breaker.wait_s()
        if wait:
            return wait, ENDPOINT_DOWN
        wait = self.pacer.wait_s(tokens)
        if wait:
            return wait, "rate_limit"
        if self.budget.reserve((tokens, money)):
            return 0.0, ""
        if not self.budget.pending:
            raise GaveUp(BUDGET)
        return math.inf, BUDGET

    def _patience(self) -> float:
        if not self._wait_when_down:
            return 0.0
        return self.breaker.down_since + self._give_up_s - time.monotonic()

    def _leave(self, permit: Permit, tokens: int, money: float) -> None:
        self.budget.settle((permit.tokens, permit.money), (tokens, money))
        self.pacer.settle(permit.slot, tokens)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
