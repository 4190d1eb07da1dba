# SPDX-License-Identifier: Apache-2.0
"""What every teacher offers, and the rounds of teachers that answer query by query."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.kinds.base import count
from erl_vlm_ros.feedback.waiting import Waiting

UNLIMITED = 10**9


class Teacher(Protocol):
    """Who answers queries. All methods may be called from any thread.

    ``kind``: of feedback. ``class_names``: the n classes that its labels may have.
    """

    kind: FeedbackKind
    class_names: list[str]

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Answer without waiting. The Future ends with the whole round, in the order of its queries and their parts."""

    def label_batch(self, batch: QueryBatch) -> LabelBatch:
        """Answer and wait."""

    @property
    def budget_left(self) -> int:
        """Queries that may still be put."""

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics."""

    def texts(self) -> dict[str, str]:
        """Facts for diagnostics that are no numbers: ``teacher`` says which one this is."""

    def close(self, grace_s: float = 0.0) -> None:
        """Stop; what is under way gets ``grace_s`` seconds."""


class Round:
    """One round under way: an outcome for each of its queries, until all are there or its time is up."""

    def __init__(self, number: int, queries: list[Query]) -> None:
        self.number, self.queries = number, queries
        self.outcomes: list[tuple[int, str] | None] = [None] * len(queries)
        self.future: Future[LabelBatch] = Future()
        self.future.set_running_or_notify_cancel()
        self.timer: threading.Timer | None = None

    @property
    def complete(self) -> bool:
        """Whether every query has its outcome."""
        return all(outcome is not None for outcome in self.outcomes)


class QuerywiseTeacher(Waiting, ABC):
    """Base of teachers whose answers come one by one. Subclasses implement ``_begin``; they may hold ``_lock``.

    Nothing waits for ever: what is not answered ``timeout_s`` after it was asked gets no label, for the reason
    ``late_reason``, and the learner asks for others.

    Args:
        name: what ``teacher`` says in the labels and figures.
        kind: of feedback; a query with parts is answered part by part.
    """

    late_reason = "unanswered"

    def __init__(self, name: str, class_names: list[str], kind: FeedbackKind = RATING, timeout_s: float = 0.0) -> None:
        self.name, self.class_names = name, list(class_names)
        self.kind, self._timeout_s = kind, timeout_s
        self._lock = threading.RLock()
        self._rounds: list[Round] = []
        self._counts: Counter[str] = Counter()
        self._closed = False

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def budget_left(self) -> int:
        """These teachers cost nothing."""
        return UNLIMITED

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Begin a round; done callbacks run on the thread that brings the last answer. BadQuery: one cannot be put."""
        queries = [part for query in batch.queries for part in self.kind.parts(query)]
        with self._lock:
            if self._closed:
                raise RuntimeError(f"teacher {self.name} is closed")
            here = Round(batch.round, queries)
            self._rounds.append(here)
            if self._timeout_s > 0:
                here.timer = threading.Timer(self._timeout_s, self._expire, [here])
                here.timer.daemon = True
                here.timer.start()
            self._begin(here)
        self._finish(here)
        return here.future

    def stats(self) -> dict[str, float]:
        """Outcomes by class and reason, what is waiting, seconds to an answer."""
        with self._lock:
            waiting = sum(o is None for r in self._rounds for o in r.outcomes)
            figures = self.kind.figures(self._counts, self.n_classes)
            return figures | {"in_flight": float(waiting), "rounds_waiting": float(len(self._rounds))}

    def texts(self) -> dict[str, str]:
        """Who answers."""
        return {"teacher": self.name}

    def close(self, grace_s: float = 0.0) -> None:
        """Cancel what is under way."""
        deadline = time.monotonic() + grace_s
        for here in list(self._rounds):
            if grace_s > 0:
                _wait(here.future, max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._closed = True
            rounds, self._rounds = self._rounds, []
        for here in rounds:
            if here.timer is not None:
                here.timer.cancel()
            if not here.future.done():
                here.future.set_exception(TeacherClosed(f"teacher {self.name} was closed"))

    # -- for subclasses

    @abstractmethod
    def _begin(self, here: Round) -> None:
        """A round was submitted (the lock is held): answer it now or later, by ``_answer``."""

    def _answer(self, here: Round, index: int, value: int, reason: str = "") -> None:
        """The outcome of one query (the lock is held)."""
        here.outcomes[index] = (value, reason)

    def _may_finish(self, here: Round) -> bool:
        """Whether a complete round may be handed over now."""
        return True

    def _finish(self, here: Round) -> None:
        """Hand a complete round over. Called without the lock: callbacks run here."""
        with self._lock:
            if here not in self._rounds or not here.complete or not self._may_finish(here):
                return
            self._rounds.remove(here)
            if here.timer is not None:
                here.timer.cancel()
            labels = []
            for query, (value, reason) in zip(here.queries, here.outcomes):
                labels.append(Label(query, value, reason, self._soft(query, value)))
                count(self._counts, value, reason)
            batch = LabelBatch(here.number, self.n_classes, len(labels), labels, self.name, self.kind.part.name)
        try:
            self._store(batch)
        except Exception as error:  # no label without its record: who waits for the round hears of it
            here.future.set_exception(error)
            return
        here.future.set_result(batch)

    def _store(self, batch: LabelBatch) -> None:
        """Record a round before it is handed over (without the lock)."""

    def _soft(self, query: Query, value: int) -> np.ndarray | None:
        """A soft label, where a teacher has one."""
        return None

    def _expire(self, here: Round) -> None:
        with self._lock:
            for index, outcome in enumerate(here.outcomes):
                if outcome is None:
                    self._answer(here, index, NO_LABEL, self.late_reason)
            self._on_expired(here)
        self._finish(here)

    def _on_expired(self, here: Round) -> None:
        """A round's time was up (the lock is held)."""


class TeacherClosed(RuntimeError):
    """The teacher was closed before it had answered."""


def _wait(future: Future, timeout_s: float) -> None:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    done.wait(timeout_s)
