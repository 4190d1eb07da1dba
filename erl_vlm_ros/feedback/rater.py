# SPDX-License-Identifier: Apache-2.0
"""Ask a vision-language model to rate segments: many at once, within a budget, every answer kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any

from erl_vlm_ros.data.segment import RatedSegment, RatingBatch, Segment, SegmentBatch
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.client import ChatClient, GaveUp, read_api_key
from erl_vlm_ros.feedback.config import RaterConfig
from erl_vlm_ros.feedback.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.parsing import NoRating, parse_rating, plain_words, rating_schema
from erl_vlm_ros.feedback.prompts import load_prompts
from erl_vlm_ros.feedback.words import segment_words
from erl_vlm_ros.tasks import Task


class VlmRater:
    """Rates segments through an OpenAI-compatible endpoint (ERL-VLM's two stages, papers.md A5).

    Runs its own event loop on one thread. A refusal, an unreadable or out-of-class answer, exhausted retries
    and a spent budget give rating -1 with the reason; never a default class.

    Args:
        cfg: endpoint and limits.
        task: instruction, focus and classes.
        ledger: where queries and answers are recorded; stays open when the rater is closed.
        repeat: a number above 0 makes every question one of its own: the endpoint is asked again although the
            ledger holds an answer to the same question under another number.

    Raises:
        ConfigError: the API key's variable is not set, the task lacks the classes, or a template is wrong.
    """

    def __init__(self, cfg: RaterConfig, task: Task, ledger: Ledger, repeat: int = 0) -> None:
        self.cfg, self.task, self._ledger, self._repeat = cfg, task, ledger, repeat
        self.n_classes = cfg.n_classes or task.n_classes
        self.class_names = task.class_names(self.n_classes)
        if len({plain_words(name) for name in self.class_names}) < self.n_classes or not all(
            map(plain_words, self.class_names)
        ):
            raise ConfigError(f"{task.path}: classes.{self.n_classes}: names must differ in their letters or digits")
        self._prompts = load_prompts(task, self.n_classes, cfg.prompts)
        self._client = ChatClient(
            cfg.base_url,
            read_api_key(cfg.api_key_env),
            cfg.timeout_s,
            cfg.max_retries,
            cfg.backoff_s,
            cfg.seed,
        )
        self._params = {"temperature": cfg.temperature, "max_tokens": cfg.max_tokens}
        self._counts: Counter[str] = Counter()
        for rating, reason, count in ledger.outcomes(task.name, self.n_classes):
            self._count(rating, reason, count)
        self._spent = ledger.spent()
        self._latency_s = 0.0
        self._asking: dict[str, asyncio.Future] = {}  # content hash -> done when its query is answered
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(cfg.concurrency)
        self._thread = threading.Thread(target=self._loop.run_forever, name="vlm-rater", daemon=True)
        self._thread.start()

    # -- for the caller ----------------------------------------------------------------------------------

    def check_endpoint(self) -> list[str]:
        """Names of the models the endpoint lists (may be empty). ConfigError when it cannot be used."""
        return asyncio.run_coroutine_threadsafe(self._client.check(), self._loop).result()

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
        return max(0, self.cfg.max_queries - self._spent)

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics: outcomes by class and reason, spend, failed attempts, latency in s."""
        figures: dict[str, float] = {
            "spent": self._spent,
            "budget_left": self.budget_left,
            "in_flight": len(self._asking),
        }
        figures["latency_s"] = self._latency_s
        figures["structured_output"] = float(self._client.structured)
        figures.update({f"rated_class_{i}": self._counts[f"class_{i}"] for i in range(self.n_classes)})
        for key in ("requested", "valid", "no_rating", "from_ledger", "tokens_in", "tokens_out"):
            figures[key] = self._counts[key]
        figures.update({k: v for k, v in self._counts.items() if k.startswith("reason_")})
        figures.update({f"attempt_{k}": v for k, v in self._client.attempt_failures.items()})
        return figures

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
            rated = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return RatingBatch(
            round=batch.round, n_classes=self.n_classes, requested=len(batch.segments), rated=list(rated)
        )

    async def _rate(self, segment: Segment, round_: int) -> RatedSegment:
        async with self._slots:
            digest, prompts = self._identity(segment)
            while digest in self._asking:  # the same question is on its way: wait, then read it from the ledger
                await asyncio.shield(self._asking[digest])
            self._asking[digest] = asyncio.get_running_loop().create_future()
            try:
                return await self._ask(segment, round_, digest, prompts)
            finally:
                self._asking.pop(digest).set_result(None)

    async def _ask(self, segment: Segment, round_: int, digest: str, prompts: dict[str, str]) -> RatedSegment:
        known, counted = await _on_disk(self._ledger.find(digest, segment.id, round_))
        last = "rating" in known or any(answer.problem for answer in known.values())
        if not last and not counted:
            if self.budget_left == 0:
                self._count(-1, "budget")
                return RatedSegment(segment, -1, "budget")
            self._spent += 1
        query = await _on_disk(
            self._ledger.add_query(
                digest, segment, round_, "ledger" if last else "endpoint", self.task.name, self.n_classes,
                self.cfg.model, self._params, prompts,
            )
        )  # fmt: skip
        rating, reason, charged, attempts = -1, "", not last, 0
        try:
            analysis = ""
            if self.cfg.two_stage:
                content = [*_images(segment), {"type": "text", "text": prompts["analysis"]}]
                analysis, attempts = await self._stage("analysis", digest, known, content, None)
                content = self._prompts.rating(len(segment.jpegs), analysis)
            else:
                content = [*_images(segment), {"type": "text", "text": prompts["rating"]}]
            text, more = await self._stage("rating", digest, known, content, rating_schema(self.class_names))
            attempts += more
            rating = parse_rating(text, self.class_names)
        except NoRating as error:
            reason = error.reason
        except GaveUp as error:
            reason, attempts = error.reason, attempts + error.attempts
            # an analysis that was answered has been paid for, whatever became of the second stage
            charged = error.charged or bool(analysis)
            self._spent -= not (charged or counted)
        await _on_disk(self._ledger.add_rating(query, rating, reason, charged, attempts))
        self._counts["from_ledger"] += last
        self._count(rating, reason)
        return RatedSegment(segment, rating, reason)

    async def _stage(self, stage: str, digest: str, known: dict, content: Any, response_format: Any) -> tuple[str, int]:
        """(text, attempts) of one stage, from the ledger or from the endpoint and then recorded."""
        answer, attempts = known.get(stage), 0
        if answer is None:
            request = {
                "model": self.cfg.model,
                "messages": [{"role": "user", "content": content}],
                **self._params,
            }
            if response_format:
                request["response_format"] = response_format
            answer, attempts = await self._client.complete(request)
            await _on_disk(self._ledger.add_answer(digest, stage, answer))
            self._counts["tokens_in"] += answer.tokens_in
            self._counts["tokens_out"] += answer.tokens_out
            self._latency_s += 0.1 * (answer.latency_s - self._latency_s) if self._latency_s else answer.latency_s
        if answer.problem:
            raise NoRating(answer.problem)
        return answer.text, attempts

    def _identity(self, segment: Segment) -> tuple[str, dict[str, str]]:
        """Content hash of a segment's query, and its prompts (the rating's with a hole for the analysis)."""
        n, actions = len(segment.jpegs), segment_words(segment.actions, self.task)
        if self.cfg.two_stage:
            prompts = {
                "analysis": self._prompts.analysis(n, actions),
                "rating": self._prompts.rating(n, "{analysis}"),
            }
        else:
            prompts = {"rating": self._prompts.one_stage(n, actions)}
        question = {
            "model": self.cfg.model,
            "params": self._params,
            "prompts": prompts,
            "classes": self.class_names,
        }
        if self._repeat:
            question["repeat"] = self._repeat
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode())
        for jpeg in segment.jpegs:
            digest.update(len(jpeg).to_bytes(8, "little"))
            digest.update(jpeg)
        return digest.hexdigest(), prompts

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
            await _on_disk(self._ledger.find("", "", 0))  # answers of cut queries that are still being written
        await self._client.close()


async def _on_disk(future: Future) -> Any:
    """Wait for the ledger's commit; it happens even when this query is being cancelled."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _images(segment: Segment) -> list[dict[str, Any]]:
    urls = ["data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii") for jpeg in segment.jpegs]
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]
