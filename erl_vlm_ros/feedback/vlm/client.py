# SPDX-License-Identifier: Apache-2.0
"""One answered question: attempts with pauses, within the limits, each one on record before it is sent."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from erl_vlm_ros.feedback.limits.costs import Costs
from erl_vlm_ros.feedback.limits.gate import Gate, Permit
from erl_vlm_ros.feedback.limits.pacing import pause_s
from erl_vlm_ros.feedback.vlm.answer import Answer, Failed, GaveUp
from erl_vlm_ros.feedback.vlm.dialect import SCHEMA, Dialect, refuses_images

if TYPE_CHECKING:
    from erl_vlm_ros.feedback.vlm.endpoint import Endpoint

_LONGEST_PAUSE_S = 30.0


class Journal(Protocol):
    """Where attempts are recorded. What it awaits is on disk afterwards."""

    async def sent(self, tokens: int, money: float, currency: str) -> int:
        """A request is about to be sent, with what is reserved for it; the attempt's number."""

    async def failed(self, attempt: int, failure: Failed) -> None:
        """It brought no answer."""

    async def answered(self, attempt: int, answer: Answer, tokens: int) -> None:
        """It brought this answer (with its cost), and took so many tokens."""


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

    async def once(self, request: dict[str, Any], images: int, journal: Journal) -> Answer:
        """The answer to one attempt, within the limits. Raises Failed, or GaveUp when nothing can be sent."""
        tokens, money = self.costs.reserve(request, images)
        permit = await self.gate.enter(tokens, money, time.monotonic() + min(self._give_up_s, 30.0))
        return await self._attempt(request, images, "probe", journal, permit)

    async def _send(self, request: dict[str, Any], key: str) -> Answer:
        """One request; asked again without what the endpoint does not take, when its words say what that is."""
        while True:
            sent = self.dialect.translate(request)
            try:
                answer = await self._endpoint.ask(sent, key)
            except Failed as failure:
                if images_in(sent) and refuses_images(failure):
                    raise Failed("no_images", retry=False, detail=failure.detail) from None
                name = self.dialect.blamed(failure, sent)
                if name:
                    self.dialect.leave_out(name, failure.detail)
                    continue
                if failure.reason not in ("http_400", "http_422") or SCHEMA not in sent or self.dialect.structured:
                    raise
                # rejected for the schema, or for something else: it is the schema if plain words are taken
                plain = {name: value for name, value in sent.items() if name != SCHEMA}
                answer = await self._endpoint.ask(plain, key)
                self.dialect.leave_out(SCHEMA, failure.detail)
                return answer
            if SCHEMA in sent:
                self.dialect.structured = True
            return answer


def images_in(request: dict[str, Any]) -> int:
    """How many images a request holds."""
    return sum(
        part["type"] == "image_url"
        for message in request["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    )
