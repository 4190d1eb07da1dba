# SPDX-License-Identifier: Apache-2.0
"""Ask a vision-language model to rate segments: many at once, within a budget, every answer kept."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from concurrent.futures import Future

from erl_vlm_ros.data.reasons import BUDGET, is_outage
from erl_vlm_ros.data.segment import RatedSegment, RatingBatch, Segment, SegmentBatch, transitions
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.answer import Answer, GaveUp
from erl_vlm_ros.feedback.assemble import make_client, remember
from erl_vlm_ros.feedback.breaker import HALF_OPEN, OPEN
from erl_vlm_ros.feedback.config import RaterConfig
from erl_vlm_ros.feedback.journal import QuestionJournal, on_disk
from erl_vlm_ros.feedback.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.modalities import check_modalities
from erl_vlm_ros.feedback.prompts import load_prompts
from erl_vlm_ros.feedback.question import BadSegment, Question, QuestionMaker, images_in
from erl_vlm_ros.feedback.reparse import reparse
from erl_vlm_ros.tasks import Task, plain_words


class VlmRater:
    """Rates segments through an OpenAI-compatible endpoint (ERL-VLM's two stages, papers.md A5).

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
        self.n_classes = cfg.n_classes or task.n_classes
        self.class_names = task.class_names(self.n_classes)
        if len({plain_words(name) for name in self.class_names}) < self.n_classes or not all(
            map(plain_words, self.class_names)
        ):
            raise ConfigError(f"{task.path}: classes.{self.n_classes}: names must differ in their letters or digits")
        prompts = load_prompts(
            task, self.n_classes, cfg.prompts, cfg.frames, cfg.rate_each, bool(check_modalities(cfg.modalities))
        )
        self._questions = QuestionMaker(cfg, task, prompts, self.class_names, repeat)
        self._client, self._endpoint = make_client(cfg, ledger)
        self._budget = self._client.gate.budget
        reparse(ledger)
        self._counts: Counter[str] = Counter()
        for rating, reason, count in ledger.outcomes(task.name, self.n_classes):
            self._count(rating, reason, count)
        self._latency_s = 0.0
        self._bad_segment = ""
        self._asking: dict[str, asyncio.Future] = {}  # content hash -> done when its query is answered
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(cfg.concurrency)
        self._thread = threading.Thread(target=self._loop.run_forever, name="vlm-rater", daemon=True)
        self._thread.start()

    # -- for the caller ----------------------------------------------------------------------------------

    def check_endpoint(self) -> list[str]:
        """Names of the models the endpoint lists (may be empty). ConfigError when it cannot be used."""
        return asyncio.run_coroutine_threadsafe(self._endpoint.models(), self._loop).result()

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Rate without waiting.

        The Future ends with the whole round's ratings, in the order of its segments, or with LedgerError when
        nothing can be recorded any more. Its done callbacks run on the rater's thread.
        """
        return asyncio.run_coroutine_threadsafe(self._rate_all(batch), self._loop)

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait: every segment is answered, refused, given up, or left out for lack of budget."""
        return self.submit(batch).result()

    @property
    def budget_left(self) -> int:
        """Ratings that may still be asked for."""
        return self._budget.queries_left

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics: outcomes by class and reason, spend, failed attempts, latency in s.

        Budgets of 0 mean no limit, but for queries. ``breaker_open``: 0 closed, 0.5 half open, 1 open.
        ``possibly_paid``: requests whose end nobody recorded, because the process died.
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
        figures.update({f"rated_class_{i}": self._counts[f"class_{i}"] for i in range(self.n_classes)})
        for key in ("requested", "valid", "no_rating", "from_ledger", "tokens_in", "tokens_out"):
            figures[key] = self._counts[key]
        counts, failures = dict(self._counts), dict(self._client.attempt_failures)  # they grow on the other thread
        figures.update({k: v for k, v in counts.items() if k.startswith("reason_")})
        figures.update({f"attempt_{k}": v for k, v in failures.items()})
        return figures

    def texts(self) -> dict[str, str]:
        """What diagnostics tell in words: currency of the money, state of the breaker, the endpoint's last error."""
        client = self._client
        words = {"currency": client.costs.currency, "breaker": client.gate.breaker.state}
        words |= {"teacher": "vlm", "model": self.cfg.model, "segment_error": self._bad_segment}
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

    async def _rate_all(self, batch: SegmentBatch) -> RatingBatch:
        tasks = [asyncio.ensure_future(self._rate(segment, batch.round)) for segment in batch.segments]
        try:
            rated = [one for ratings in await asyncio.gather(*tasks) for one in ratings]
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        asked = sum(not is_outage(r.reason) for r in rated)
        return RatingBatch(round=batch.round, n_classes=self.n_classes, requested=asked, rated=rated, teacher="vlm")

    async def _rate(self, segment: Segment, round_: int) -> list[RatedSegment]:
        """The segment's rating, or those of the frames that its transitions lead to."""
        try:
            question = self._questions.make(segment)
            parts = transitions(segment) if self._questions.each_transition else [segment]
        except BadSegment as error:
            self._bad_segment, parts = str(error), [segment]
            ratings, reason = [-1], error.reason
        else:
            ratings, reason = await self._once(segment, parts, round_, question)
        for rating in ratings:
            self._count(rating, reason)
        return [RatedSegment(part, rating, reason) for part, rating in zip(parts, ratings)]

    async def _once(
        self, segment: Segment, parts: list[Segment], round_: int, question: Question
    ) -> tuple[list[int], str]:
        """(classes, reason) of a question; one that is on its way already is waited for."""
        async with self._slots:
            digest = question.digest
            while digest in self._asking:  # the same question is on its way: wait, then read it from the ledger
                await asyncio.shield(self._asking[digest])
            self._asking[digest] = asyncio.get_running_loop().create_future()
            try:
                return await self._ask(segment, parts, round_, question)
            finally:
                self._asking.pop(digest).set_result(None)

    async def _ask(
        self, segment: Segment, parts: list[Segment], round_: int, question: Question
    ) -> tuple[list[int], str]:
        """(classes, reason) from the ledger, or from the endpoint within the budget."""
        known = await on_disk(self._ledger.find(question.digest))
        complete = "rating" in known.answers or any(answer.problem for answer in known.answers.values())
        journal = self._journal(segment, round_, question, "ledger" if complete else "endpoint")
        new = not (complete or known.counted)
        if new and not self._budget.reserve_query():
            return [-1] * question.ratings, BUDGET
        try:
            ratings, reason, attempts = await self._stages(question, known.answers, journal)
        except GaveUp as error:
            ratings, reason, attempts = [-1] * question.ratings, error.reason, error.attempts
        finally:
            if new:
                self._budget.end_query(journal.charged)
        if complete:
            await journal.open()
            self._counts["from_ledger"] += 1
        if journal.query is not None:  # otherwise nothing was asked
            rows = [journal.query]
            if self._questions.each_transition:
                rows = [await on_disk(row) for row in self._rows_of(parts, round_, question)]
            for row, rating in zip(rows, ratings):
                await on_disk(self._ledger.add_rating(row, rating, reason, attempts))
        return ratings, reason

    def _rows_of(self, parts: list[Segment], round_: int, question: Question) -> list[Future]:
        """Rows for the ratings of transitions: segments of one frame, whose answer stands with the question."""
        return [
            self._ledger.add_query(
                f"{question.digest}.{i}", part, round_, "transition", self.task.name, self.n_classes, self.cfg.model,
                self._questions.params, {}, self.class_names,
            )
            for i, part in enumerate(parts, start=1)
        ]  # fmt: skip

    def _journal(self, segment: Segment, round_: int, question: Question, source: str) -> QuestionJournal:
        def add_query() -> Future:
            return self._ledger.add_query(
                question.digest, segment, round_, source, self.task.name, self.n_classes, self.cfg.model,
                self._questions.params, question.prompts, [] if self._questions.each_transition else self.class_names,
            )  # fmt: skip

        return QuestionJournal(self._ledger, question.digest, add_query)

    async def _stages(
        self, question: Question, known: dict[str, Answer], journal: QuestionJournal
    ) -> tuple[list[int], str, int]:
        """(classes, reason, attempts); GaveUp counts the attempts of both stages."""
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
                return *self._questions.read(question, answer.text, answer.problem), total
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

    def _count(self, rating: int, reason: str, count: int = 1) -> None:
        self._counts["requested"] += count
        if rating >= 0:
            self._counts["valid"] += count
            self._counts[f"class_{rating}"] += count
        else:
            self._counts["no_rating"] += count
            self._counts[f"reason_{reason}"] += count

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
