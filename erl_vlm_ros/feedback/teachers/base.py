# SPDX-License-Identifier: Apache-2.0
"""What every teacher offers, and the rounds of teachers that answer segment by segment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from erl_vlm_ros.data.segment import NO_RATING, RatedSegment, RatingBatch, Segment, SegmentBatch, transitions
from erl_vlm_ros.errors import ConfigError

UNLIMITED = 10**9
RATE_EACH = ("segment", "transition")


class Teacher(Protocol):
    """Whoever rates segments. All methods may be called from any thread.

    ``class_names``: the n classes it answers, worst first.
    """

    class_names: list[str]

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Rate without waiting. The Future ends with the whole round, in the order of its segments."""

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait."""

    @property
    def budget_left(self) -> int:
        """Ratings that may still be asked for."""

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics."""

    def texts(self) -> dict[str, str]:
        """Facts for diagnostics that are no numbers: ``teacher`` says which one this is."""

    def close(self, grace_s: float = 0.0) -> None:
        """Stop; what is under way gets ``grace_s`` seconds."""


class Round:
    """One round under way: an outcome for each of its segments, until all are there or its time is up."""

    def __init__(self, number: int, segments: list[Segment]) -> None:
        self.number, self.segments = number, segments
        self.outcomes: list[tuple[int, str] | None] = [None] * len(segments)
        self.future: Future[RatingBatch] = Future()
        self.future.set_running_or_notify_cancel()
        self.timer: threading.Timer | None = None

    @property
    def complete(self) -> bool:
        """Whether every segment has its outcome."""
        return all(outcome is not None for outcome in self.outcomes)


class SegmentwiseTeacher:
    """Base of teachers whose answers come one by one. Subclasses implement ``_begin``; they may hold ``_lock``.

    Nothing waits for ever: what is not answered ``timeout_s`` after it was asked gets no rating, for the reason
    ``late_reason``, and the learner asks for others.

    Args:
        name: what ``teacher`` says in the ratings and figures.
        rate_each: ``segment``: one rating for its last frame; ``transition``: one for each frame but the first.
    """

    late_reason = "unanswered"

    def __init__(self, name: str, class_names: list[str], rate_each: str = "segment", timeout_s: float = 0.0) -> None:
        if rate_each not in RATE_EACH:
            raise ConfigError(f"rate_each '{rate_each}': choose one of {', '.join(RATE_EACH)}")
        self.name, self.class_names = name, list(class_names)
        self._each_transition, self._timeout_s = rate_each == "transition", timeout_s
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

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Begin a round; done callbacks run on whichever thread brings the last answer."""
        segments = batch.segments
        if self._each_transition:
            segments = [part for segment in segments for part in transitions(segment)]
        with self._lock:
            if self._closed:
                raise RuntimeError(f"teacher {self.name} is closed")
            here = Round(batch.round, segments)
            self._rounds.append(here)
            if self._timeout_s > 0:
                here.timer = threading.Timer(self._timeout_s, self._expire, [here])
                here.timer.daemon = True
                here.timer.start()
            self._begin(here)
        self._finish(here)
        return here.future

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait."""
        return self.submit(batch).result()

    def stats(self) -> dict[str, float]:
        """Outcomes by class and reason, what is waiting, seconds to an answer."""
        with self._lock:
            waiting = sum(o is None for r in self._rounds for o in r.outcomes)
            figures = {key: float(self._counts[key]) for key in ("requested", "valid", "no_rating")}
            figures |= {f"rated_class_{i}": float(self._counts[f"class_{i}"]) for i in range(self.n_classes)}
            figures |= {key: float(value) for key, value in self._counts.items() if key.startswith("reason_")}
            return figures | {"in_flight": float(waiting), "rounds_waiting": float(len(self._rounds))}

    def texts(self) -> dict[str, str]:
        """Who rates."""
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

    def _begin(self, here: Round) -> None:
        """A round was submitted (the lock is held): answer it now or later, by ``_answer``."""
        raise NotImplementedError

    def _answer(self, here: Round, index: int, rating: int, reason: str = "") -> None:
        """The outcome of one segment (the lock is held)."""
        here.outcomes[index] = (rating, reason)

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
            rated = []
            for segment, (rating, reason) in zip(here.segments, here.outcomes):
                rated.append(RatedSegment(segment, rating, reason, self._soft(segment, rating)))
                self._count(rating, reason)
            batch = RatingBatch(here.number, self.n_classes, len(rated), rated, self.name)
        try:
            self._store(batch)
        except Exception as error:  # no rating without its record: whoever waits for the round hears of it
            here.future.set_exception(error)
            return
        here.future.set_result(batch)

    def _store(self, batch: RatingBatch) -> None:
        """Record a round before it is handed over (without the lock)."""

    def _soft(self, segment: Segment, rating: int) -> np.ndarray | None:
        """A soft label, where a teacher has one."""
        return None

    def _count(self, rating: int, reason: str) -> None:
        self._counts["requested"] += 1
        if rating == NO_RATING:
            self._counts["no_rating"] += 1
            self._counts[f"reason_{reason}"] += 1
        else:
            self._counts["valid"] += 1
            self._counts[f"class_{rating}"] += 1

    def _expire(self, here: Round) -> None:
        with self._lock:
            for index, outcome in enumerate(here.outcomes):
                if outcome is None:
                    self._answer(here, index, NO_RATING, self.late_reason)
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
