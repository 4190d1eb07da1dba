# SPDX-License-Identifier: Apache-2.0
"""Ask a vision-language model for labels: many at once, within a budget, every answer kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import Task, plain_words
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.reasons import BUDGET, is_outage
from erl_vlm_ros.feedback.kinds import BadQuery, kind_named
from erl_vlm_ros.feedback.kinds.base import count
from erl_vlm_ros.feedback.ledger.file import PART
from erl_vlm_ros.feedback.ledger.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.ledger.reparse import reparse
from erl_vlm_ros.feedback.limits.breaker import HALF_OPEN, OPEN
from erl_vlm_ros.feedback.vlm.answer import Answer, GaveUp
from erl_vlm_ros.feedback.vlm.assemble import make_client, probed, remember, remember_probe
from erl_vlm_ros.feedback.vlm.client import images_in
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.journal import QuestionJournal, on_disk
from erl_vlm_ros.feedback.vlm.logprobs import ALTERNATIVES, STAGE, from_text, to_text
from erl_vlm_ros.feedback.vlm.modalities import asked
from erl_vlm_ros.feedback.vlm.probe import probe
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.question import Question, QuestionMaker
from erl_vlm_ros.feedback.waiting import Waiting

Outcome = tuple[list[int], str, "np.ndarray | None"]
_log = logging.getLogger("erl_vlm_ros.vlm_rater")


class VlmRater(Waiting):
    """Answers queries through an OpenAI-compatible endpoint (ERL-VLM's two stages, papers.md A5).

    Runs its own event loop on one thread. A refusal, an unreadable or out-of-class answer, exhausted retries,
    an endpoint that is down and a spent budget give rating -1 with the reason; never a default class.

    Args:
        cfg: endpoint and limits.
        task: instruction, focus and classes.
        ledger: where queries and answers are recorded; stays open when the rater is closed. Raters that share it
            share the budget.
        repeat: a number above 0 makes every question one of its own: the endpoint is asked again although the
            ledger holds an answer to the same question under another number.

    Raises:
        ConfigError: the API key's variable is not set, the task lacks the classes, a template or the price table is
            wrong, or there is a money budget for a model without a price.
    """

    def __init__(self, cfg: RaterConfig, task: Task, ledger: Ledger, repeat: int = 0) -> None:
        self.cfg, self.task, self._ledger = cfg, task, ledger
        self.kind = kind_named(cfg.feedback)
        self.class_names = self.kind.class_names(task, cfg.n_classes or 0)
        self.n_classes = len(self.class_names)
        if len({plain_words(name) for name in self.class_names}) < self.n_classes or not all(
            map(plain_words, self.class_names)
        ):
            text = f"{task.path}: classes.{self.n_classes}: names must differ in their letters or digits"
            raise ConfigError(text, parameter=f"classes.{self.n_classes}", file=task.path)
        prompts = load_prompts(
            task, self.n_classes, cfg.prompts, cfg.frames, self.kind, bool(asked(cfg.modalities)),
            cfg.class_words == "described",
        )  # fmt: skip
        self._questions = QuestionMaker(cfg, task, prompts, self.class_names, repeat)
        self._client, self._endpoint = make_client(cfg, ledger)
        if not self._client.dialect.several_images:
            self._questions.use_strip()
        self._budget = self._client.gate.budget
        reparse(ledger)
        self._counts: Counter[str] = Counter()
        for rating, reason, times in ledger.outcomes(task.name, self.n_classes, self.kind.part.name):
            count(self._counts, rating, reason, times)
        self._latency_s = 0.0
        self._bad_query = ""
        self._asking: dict[str, asyncio.Future] = {}  # content hash -> done when its query is answered
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(cfg.concurrency)
        self._thread = threading.Thread(target=self._loop.run_forever, name="vlm-rater", daemon=True)
        self._thread.start()

    # -- for the caller ----------------------------------------------------------------------------------

    def check_endpoint(self) -> list[str]:
        """Names of the models the endpoint lists (may be empty). ConfigError when it cannot be used."""
        models = asyncio.run_coroutine_threadsafe(self._endpoint.models(), self._loop).result()
        if not probed(self._ledger, self.cfg):
            asked = {"logprobs": True, "top_logprobs": ALTERNATIVES} if self.cfg.logprobs else {}
            found_out = probe(
                self._client, self._ledger, self.task, self.class_names, self.cfg.model, self._questions.params | asked
            )
            lines, known = asyncio.run_coroutine_threadsafe(found_out, self._loop).result()
            for line in lines:
                _log.warning("%s at %s %s", self.cfg.model, self.cfg.base_url, line)
            if known:
                remember_probe(self._ledger, self.cfg)
            remember(self._client, self._ledger, self.cfg)
        if not self._client.dialect.several_images:
            self._questions.use_strip()
        return models

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Rate without waiting.

        The Future ends with the whole round's ratings, in the order of its segments, or with LedgerError when
        nothing can be recorded any more. Its done callbacks run on the rater's thread.
        """
        return asyncio.run_coroutine_threadsafe(self._rate_all(batch), self._loop)

    @property
    def budget_left(self) -> int:
        """Ratings that may still be asked for."""
        return self._budget.queries_left

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics: outcomes by class and reason, spend, failed attempts, latency in s.

        Budgets of 0 mean no limit, but for queries. ``breaker_open``: 0 closed, 0.5 half open, 1 open.
        ``possibly_paid``: requests whose end is not recorded, because the process died.
        """
        budget, spending, breaker = self._budget, self._budget.spending, self._client.gate.breaker
        figures: dict[str, float] = {
            "spent": spending.queries,
            "budget_left": self.budget_left,
            "in_flight": len(self._asking),
            "latency_s": self._latency_s,
            "structured_output": float(self._client.dialect.structured is not False),
            "spent_queries": spending.queries,
            "budget_queries": budget.max_queries,
            "spent_tokens": spending.tokens,
            "budget_tokens": budget.max_tokens,
            "spent_money": budget.spent_money,
            "budget_money": budget.max_money,
            "breaker_open": {OPEN: 1.0, HALF_OPEN: 0.5}.get(breaker.state, 0.0),
            "breaker_opened": breaker.opened,
            "possibly_paid": self._ledger.lost,
        }
        counts, failures = dict(self._counts), dict(self._client.attempt_failures)  # they grow on the other thread
        figures |= {key: counts.get(key, 0) for key in ("from_ledger", "tokens_in", "tokens_out")}
        figures |= self.kind.figures(counts, self.n_classes)
        figures.update({f"attempt_{k}": v for k, v in failures.items()})
        return figures

    def texts(self) -> dict[str, str]:
        """What diagnostics tell in words: currency of the money, state of the breaker, the endpoint's last error."""
        client = self._client
        words = {"currency": client.costs.currency, "breaker": client.gate.breaker.state}
        words |= {"teacher": "vlm", "model": self.cfg.model, "query_error": self._bad_query}
        return words | {"endpoint_error": client.last_error}

    def close(self, grace_s: float = 0.0) -> None:
        """Stop asking. Queries on their way get ``grace_s`` seconds to be answered; then all is cut."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._stop(grace_s), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> VlmRater:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- on the event loop -------------------------------------------------------------------------------

    async def _rate_all(self, batch: QueryBatch) -> LabelBatch:
        tasks = [asyncio.ensure_future(self._rate(query, batch.round)) for query in batch.queries]
        try:
            rated = [one for ratings in await asyncio.gather(*tasks) for one in ratings]
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        asked = sum(not is_outage(r.reason) for r in rated)
        return LabelBatch(batch.round, self.n_classes, asked, rated, "vlm", self.kind.part.name)

    async def _rate(self, query: Query, round_: int) -> list[Label]:
        """The labels of a query's parts."""
        parts: Sequence[Query] = [query]
        try:
            question = self._questions.make(query)
        except BadQuery as error:
            self._bad_query = str(error)
            values, reason, soft = [NO_LABEL], error.reason, None
        else:
            parts = question.parts
            values, reason, soft = await self._once(query, round_, question)
        for value in values:
            count(self._counts, value, reason)
        return [Label(part, value, reason, soft) for part, value in zip(parts, values)]

    async def _once(self, query: Query, round_: int, question: Question) -> Outcome:
        """Classes, reason and soft label of a question; one that is on its way already is waited for."""
        async with self._slots:
            digest = question.digest
            while digest in self._asking:  # the same question is on its way: wait, then read it from the ledger
                await asyncio.shield(self._asking[digest])
            self._asking[digest] = asyncio.get_running_loop().create_future()
            try:
                return await self._ask(query, round_, question)
            finally:
                self._asking.pop(digest).set_result(None)

    async def _ask(self, query: Query, round_: int, question: Question) -> Outcome:
        """Classes, reason and soft label from the ledger, or from the endpoint within the budget."""
        known = await on_disk(self._ledger.find(question.digest))
        complete = "rating" in known.answers or any(answer.problem for answer in known.answers.values())
        journal = self._journal(query, round_, question, "ledger" if complete else "endpoint")
        new = not (complete or known.counted)
        if new and not self._budget.reserve_query():
            return [NO_LABEL] * len(question.parts), BUDGET, None
        try:
            answer, attempts = await self._stages(question, known.answers, journal)
            values, reason = self._questions.read(question, answer.text, answer.problem)
            soft = await self._soft_label(question, answer, values, known.answers)
        except GaveUp as error:
            values, reason, attempts, soft = [NO_LABEL] * len(question.parts), error.reason, error.attempts, None
        finally:
            if new:
                self._budget.end_query(journal.charged)
        if complete:
            await journal.open()
            self._counts["from_ledger"] += 1
        if journal.query is not None:  # otherwise nothing was asked
            rows = [journal.query]
            if self._has_parts:
                rows = [await on_disk(row) for row in self._rows_of(round_, question)]
            for row, value in zip(rows, values):
                await on_disk(self._ledger.add_rating(row, value, reason, attempts))
        return values, reason, soft

    async def _soft_label(
        self, question: Question, answer: Answer, values: list[int], known: dict[str, Answer]
    ) -> np.ndarray | None:
        """Of a label, from the answer's tokens; it is kept in the ledger, and found there when the answer is."""
        if not self.cfg.logprobs:
            return None
        if STAGE in known:
            return from_text(known[STAGE].text, self.n_classes) if values[0] >= 0 else None
        soft = self._questions.soft_label(answer, values)
        if soft is not None:
            self._counts["soft_labels"] += 1
            await on_disk(self._ledger.add_answer(question.digest, STAGE, Answer(to_text(soft))))
        return soft

    @property
    def _has_parts(self) -> bool:
        return self.kind.part is not self.kind

    def _rows_of(self, round_: int, question: Question) -> list[Future]:
        """Rows for the labels of a query's parts, whose answer stands with the question."""
        return [
            self._ledger.add_query(
                f"{question.digest}.{i}", part, round_, PART, self.task.name, self.n_classes, self.cfg.model,
                self._questions.params, {}, self.class_names, self.kind.part,
            )
            for i, part in enumerate(question.parts, start=1)
        ]  # fmt: skip

    def _journal(self, query: Query, round_: int, question: Question, source: str) -> QuestionJournal:
        def add_query() -> Future:
            return self._ledger.add_query(
                question.digest, query, round_, source, self.task.name, self.n_classes, self.cfg.model,
                self._questions.params, question.prompts, self.class_names, self.kind,
            )  # fmt: skip

        return QuestionJournal(self._ledger, question.digest, add_query)

    async def _stages(
        self, question: Question, known: dict[str, Answer], journal: QuestionJournal
    ) -> tuple[Answer, int]:
        """(the last answer, attempts); GaveUp counts the attempts of both stages."""
        total, analysis = 0, ""
        for stage in question.prompts:
            answer = known.get(stage)
            if answer is None:
                try:
                    answer, attempts = await self._complete(question, stage, analysis, journal)
                except GaveUp as error:
                    raise GaveUp(error.reason, total + error.attempts, error.charged) from None
                total += attempts
            if stage == "rating" or answer.problem:
                return answer, total
            analysis = answer.text
        raise AssertionError("a question ends with its rating")

    async def _complete(
        self, question: Question, stage: str, analysis: str, journal: QuestionJournal
    ) -> tuple[Answer, int]:
        request = self._questions.request(question, stage, analysis)
        journal.stage = stage
        key = f"{question.digest[:40]}-{stage}"
        answer, attempts = await self._client.complete(request, images_in(request), key, journal)
        remember(self._client, self._ledger, self.cfg)
        self._counts["tokens_in"] += answer.tokens_in
        self._counts["tokens_out"] += answer.tokens_out
        self._latency_s += 0.1 * (answer.latency_s - self._latency_s) if self._latency_s else answer.latency_s
        return answer, attempts

    async def _stop(self, grace_s: float) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(LedgerError):
            await on_disk(self._ledger.flush())  # answers of cut queries that are still being written
        await self._endpoint.close()
