# SPDX-License-Identifier: Apache-2.0
"""Rounds that go on after the first teacher's answer: others are asked about some of its queries."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from erl_vlm_ros.data.query import LabelBatch, QueryBatch
from erl_vlm_ros.feedback.kinds import FeedbackKind
from erl_vlm_ros.feedback.waiting import Waiting


class StagedRound:
    """A round under way; ``first``: what the first teacher said, once it is there."""

    def __init__(self, batch: QueryBatch) -> None:
        self.batch = batch
        self.first: LabelBatch | None = None
        self.future: Future[LabelBatch] = Future()
        self.future.set_running_or_notify_cancel()


class StagedTeacher(Waiting, ABC):
    """Offers what every teacher offers, as far as the stages do not matter. Subclasses implement ``_on_first``.

    Args:
        teacher: who answers first. others: who is asked afterwards; all are closed together.
    """

    def __init__(self, teacher: Any, others: Sequence[Any]) -> None:
        self.teacher, self._all = teacher, (teacher, *others)
        self.kind: FeedbackKind = teacher.kind
        self.class_names: list[str] = list(teacher.class_names)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Answer without waiting; the Future ends with the whole round, in the order of its queries."""
        here = StagedRound(batch)
        self._then(self.teacher.submit(batch), here, self._heard_first)
        return here.future

    def close(self, grace_s: float = 0.0) -> None:
        """Stop; what is under way gets ``grace_s`` seconds in all."""
        deadline = time.monotonic() + grace_s
        for teacher in self._all:
            teacher.close(max(0.0, deadline - time.monotonic()))

    # -- on the teachers' threads

    def _then(self, asked: Future[LabelBatch], here: StagedRound, step: Any, *arguments: Any) -> None:
        """``step(here, *arguments, answer)`` once it is there; a failure ends the round: no caller waits for ever."""

        def on_done(done: Future[LabelBatch]) -> None:
            try:
                step(here, *arguments, done.result())
            except BaseException as error:
                if not here.future.done():
                    here.future.set_exception(error)

        asked.add_done_callback(on_done)

    def _heard_first(self, here: StagedRound, answer: LabelBatch) -> None:
        here.first = answer
        self._on_first(here)

    @abstractmethod
    def _on_first(self, here: StagedRound) -> None:
        """The first teacher has answered: ask on, or end the round."""
