# SPDX-License-Identifier: Apache-2.0
"""Rounds that go on after the first teacher's answer: others are asked about some of its segments."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from erl_vlm_ros.data.segment import RatingBatch, SegmentBatch


class StagedRound:
    """A round under way; ``first``: what the first teacher said, once it is there."""

    def __init__(self, batch: SegmentBatch) -> None:
        self.batch = batch
        self.first: RatingBatch | None = None
        self.future: Future[RatingBatch] = Future()
        self.future.set_running_or_notify_cancel()


class StagedTeacher:
    """Offers what every teacher offers, as far as the stages do not matter. Subclasses implement ``_on_first``.

    Args:
        teacher: whoever rates first. others: whoever is asked afterwards; all are closed together.
    """

    def __init__(self, teacher: Any, others: Sequence[Any]) -> None:
        self.teacher, self._all = teacher, (teacher, *others)
        self.class_names: list[str] = list(teacher.class_names)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Rate without waiting; the Future ends with the whole round, in the order of its segments."""
        here = StagedRound(batch)
        self._then(self.teacher.submit(batch), here, self._heard_first)
        return here.future

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait."""
        return self.submit(batch).result()

    def close(self, grace_s: float = 0.0) -> None:
        """Stop; what is under way gets ``grace_s`` seconds in all."""
        deadline = time.monotonic() + grace_s
        for teacher in self._all:
            teacher.close(max(0.0, deadline - time.monotonic()))

    # -- on the teachers' threads

    def _then(self, asked: Future[RatingBatch], here: StagedRound, step: Any, *arguments: Any) -> None:
        """``step(here, *arguments, answer)`` once it is there; a failure ends the round: nobody waits for ever."""

        def on_done(done: Future[RatingBatch]) -> None:
            try:
                step(here, *arguments, done.result())
            except BaseException as error:
                if not here.future.done():
                    here.future.set_exception(error)

        asked.add_done_callback(on_done)

    def _heard_first(self, here: StagedRound, answer: RatingBatch) -> None:
        here.first = answer
        self._on_first(here)

    def _on_first(self, here: StagedRound) -> None:
        """The first teacher has answered: ask on, or end the round."""
        raise NotImplementedError
