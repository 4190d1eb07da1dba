# SPDX-License-Identifier: Apache-2.0
"""One answered question: attempts with pauses, within the limits, each one on record before it is sent."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any, Protocol

from erl_vlm_ros.feedback.answer import Answer, Failed, GaveUp
from erl_vlm_ros.feedback.costs import Costs
from erl_vlm_ros.feedback.endpoint import Endpoint
from erl_vlm_ros.feedback.gate import Gate, Permit
from erl_vlm_ros.feedback.pacing import pause_s

_LONGEST_PAUSE_S = 30.0


class Journal(Protocol):
    """Where attempts are recorded. What it awaits is on disk afterwards."""

    async def sent(self, tokens: int, money: float, currency: str) -> int:
        """A request is about to be sent, with what is reserved for it; the attempt's number."""

    async def failed(self, attempt: int, failure: Failed) -> None:
        """It brought no answer."""

    async def answered(self, attempt: int, answer: Answer, tokens: int) -> None:
        """It brought this answer (with its cost), and took so many tokens."""


class Dialect:
    """What an endpoint understands: found out once, remembered by whoever makes it.

    Args:
        structured: whether it takes a JSON schema as ``response_format``; None: not known yet.
    """

    def __init__(self, structured: bool | None = None) -> None:
        self.structured = structured
        self.new_limit_name = False  # max_completion_tokens in place of max_tokens

    def translate(self, request: dict[str, Any], structured: bool) -> dict[str, Any]:
        """The request in the endpoint's own words."""
        out = dict(request)
        if not structured:
            out.pop("response_format", None)
        if self.new_limit_name and "max_tokens" in out:
            out["max_completion_tokens"] = out.pop("max_tokens")
        return out


class ChatClient:
    """Asks an endpoint until it answers or there is no point. Use from one event loop.

    Args:
        max_retries: further attempts after the first one failed.
        backoff_s: pause before the first retry, s; doubles each time, with jitter.
        give_up_s: the longest that one question may take with all its waiting, s.
        seed: of the jitter.
    """

    def __init__(
        self, endpoint: Endpoint, gate: Gate, costs: Costs, dialect: Dialect,
        max_retries: int, backoff_s: float, give_up_s: float, seed: int,
    ) -> None:  # fmt: skip
        self.gate, self.costs, self.dialect = gate, costs, dialect
        self.attempt_failures: Counter[str] = Counter()
        self.last_error = ""  # in the endpoint's words
        self.remembered: dict[str, str] = {}  # of what was found out, what is on record
        self._endpoint, self._max_retries, self._backoff_s = endpoint, max_retries, backoff_s
        self._give_up_s, self._random = give_up_s, random.Random(seed)

    async def complete(self, request: dict[str, Any], images: int, key: str, journal: Journal) -> tuple[Answer, int]:
        """The answer to a chat completion request, and how many attempts it took.

        Args:
            images: how many the request holds.
            key: names the question, the same whenever it is asked.
        Raises:
            GaveUp: no attempt brought an answer, the endpoint rejects the request, or the budget is spent.
        """
        deadline = time.monotonic() + self._give_up_s
        tokens, money = self.costs.reserve(request, images)
        attempts, charged = 0, False
        while True:
            try:
                permit = await self.gate.enter(tokens, money, deadline)
            except GaveUp as error:
                raise GaveUp(error.reason, attempts, charged) from None
            attempts += 1
            try:
                return await self._attempt(request, images, key, journal, permit), attempts
            except Failed as error:
                failure = error
            self.attempt_failures[failure.reason] += 1
            self.last_error = failure.detail or failure.reason
            charged = charged or failure.charged
            pause = pause_s(attempts, self._backoff_s, _LONGEST_PAUSE_S, self._random) + (failure.wait_s or 0.0)
            late = time.monotonic() + pause > deadline
            if not failure.retry or attempts > self._max_retries or late:
                raise GaveUp(failure.reason, attempts, charged)
            await asyncio.sleep(pause)

    async def _attempt(
        self, request: dict[str, Any], images: int, key: str, journal: Journal, permit: Permit
    ) -> Answer:
        outcome: Answer | Failed | None = None
        try:
            attempt = await journal.sent(permit.tokens, permit.money, self.costs.currency)
            outcome = await self._outcome(request, key)
        finally:
            if outcome is None:  # cancelled, or nothing can be recorded: it counts as sent
                self.gate.cut(permit)
        if isinstance(outcome, Failed):
            self.gate.failed(permit, outcome)
            await journal.failed(attempt, outcome)
            raise outcome
        tokens, answer = self.costs.settle(outcome, images, permit.tokens, permit.money)
        self.costs.learn(request, images, answer)
        self.gate.answered(permit, tokens, answer.cost)
        await journal.answered(attempt, answer, tokens)
        return answer

    async def _outcome(self, request: dict[str, Any], key: str) -> Answer | Failed:
        try:
            return await self._send(request, key)
        except Failed as failure:
            return failure

    async def _send(self, request: dict[str, Any], key: str) -> Answer:
        """One request; asked again in other words when the endpoint does not know some of them."""
        wanted = "response_format" in request
        structured = wanted and self.dialect.structured is not False
        try:
            answer = await self._endpoint.ask(self.dialect.translate(request, structured), key)
        except Failed as failure:
            if failure.reason not in ("http_400", "http_422"):
                raise
            if "max_completion_tokens" in failure.detail and not self.dialect.new_limit_name:
                self.dialect.new_limit_name = True
                return await self._send(request, key)
            if not structured or self.dialect.structured:
                raise
            # rejected for the schema, or for something else: it is the schema if plain words are taken
            answer = await self._endpoint.ask(self.dialect.translate(request, False), key)
            self.dialect.structured = False
            return answer
        if structured:
            self.dialect.structured = True
        return answer
