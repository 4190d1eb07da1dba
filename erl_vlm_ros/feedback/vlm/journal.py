# SPDX-License-Identifier: Apache-2.0
"""What happens to one question, on disk in the order in which it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.answer import Answer, Failed


class QuestionJournal:
    """Records one question's attempts. Its row appears when the first request is about to be sent.

    Args:
        digest: of the question.
        add_query: hands the question's row to the ledger; the Future gives its id.
    """

    def __init__(self, ledger: Ledger, digest: str, add_query: Callable[[], Future]) -> None:
        self._ledger, self._digest, self._add_query = ledger, digest, add_query
        self.stage = ""  # that attempts belong to
        self.query: int | None = None  # the row's id
        self.charged = False  # something was, or may have been, billed
        self._charged_before = False

    async def open(self) -> int:
        """The question's row."""
        if self.query is None:
            self.query = await on_disk(self._add_query())
        return self.query

    async def sent(self, tokens: int, money: float, currency: str) -> int:
        """A request is about to be sent; the attempt's id."""
        self._charged_before, self.charged = self.charged, True  # until it is known
        query = None if self.query is not None else self._add_query()
        attempt = self._ledger.add_attempt(self._digest, self.stage, tokens, money, currency)
        if query is not None:
            self.query = await on_disk(query)
        return await on_disk(attempt)

    async def failed(self, attempt: int, failure: Failed) -> None:
        """It brought no answer."""
        self.charged = self._charged_before or failure.charged
        await on_disk(self._ledger.end_attempt(attempt, failure.reason, failure.charged, failure.detail))

    async def answered(self, attempt: int, answer: Answer, tokens: int) -> None:
        """It brought this answer and took so many tokens in all."""
        await on_disk(self._ledger.add_answer(self._digest, self.stage, answer, attempt, tokens))


async def on_disk(future: Future) -> Any:
    """Wait for the ledger's commit; it happens even when the waiting task is cancelled."""
    return await asyncio.shield(asyncio.wrap_future(future))
