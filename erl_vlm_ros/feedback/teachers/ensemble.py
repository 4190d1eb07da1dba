# SPDX-License-Identifier: Apache-2.0
"""Several teachers as one: the majority of their votes, with the votes' shares as a soft label."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, QueryBatch
from erl_vlm_ros.feedback.kinds.base import count
from erl_vlm_ros.feedback.teacher_configs import VoteConfig
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.teachers.record import Outcome, Record
from erl_vlm_ros.feedback.waiting import Waiting

DISAGREE, TOO_FEW = "disagreement", "too_few_votes"


def count_votes(votes: Sequence[int], n_classes: int, config: VoteConfig) -> tuple[int, str, np.ndarray | None]:
    """(rating, reason, shares float32 [n] or None) of the members' votes, -1 for a member that gave none."""
    given = np.array([v for v in votes if v != NO_LABEL], np.int64)
    if len(given) < (config.min_votes or len(votes) // 2 + 1):
        return NO_LABEL, TOO_FEW, None
    shares = np.bincount(given, minlength=n_classes).astype(np.float32) / len(given)
    second, first = np.sort(shares)[-2:]
    lead = float(first - second)
    if lead <= 1e-6 or lead < config.min_margin - 1e-6:
        return NO_LABEL, DISAGREE, shares
    return int(shares.argmax()), "", shares


class _Round:
    """The members' answers to one round."""

    def __init__(self, batch: QueryBatch, members: int) -> None:
        self.batch, self.answers = batch, [None] * members
        self.left = members
        self.future: Future[LabelBatch] = Future()
        self.future.set_running_or_notify_cancel()
        self.timer: threading.Timer | None = None
        self.began = time.monotonic()
        self.closed = False


class EnsembleTeacher(Waiting):
    """Asks every member the same and combines what comes back.

    A member that fails or takes too long has no vote; the round ends without it. A failure of all ends the round
    with the first member's error (a ledger that cannot be written must be heard of).

    Args:
        members: name -> teacher; closed with the ensemble. Those that share a ledger share its budget.
    """

    def __init__(self, members: Mapping[str, Teacher], config: VoteConfig, record: Record | None = None) -> None:
        if len(members) < 2:
            text = "an ensemble needs at least two votes: name more models, or raise votes"
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter="vlm_rater.ensemble.votes")
        if config.min_votes > len(members):
            text = f"ensemble.min_votes is {config.min_votes}, but there are only {len(members)} votes"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.ensemble.min_votes")
        self._members, self._config, self._record = dict(members), config, record
        first = next(iter(self._members.values()))
        self.kind, self.class_names = first.kind, first.class_names
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._split = 0.0  # sum over ratings of the share of votes that the majority outvoted
        self._agree: Counter[tuple[str, bool]] = Counter()  # (member, whether it voted with the majority)
        self._open: list[_Round] = []

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def budget_left(self) -> int:
        """Ratings of the whole ensemble that its members' budgets still allow."""
        return min(t.budget_left for t in self._members.values()) // len(self._members)

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Ask every member; done callbacks run on the thread of whichever is last."""
        here = _Round(batch, len(self._members))
        with self._lock:
            self._open.append(here)
        for index, member in enumerate(self._members.values()):
            try:
                member.submit(batch).add_done_callback(lambda f, i=index: self._on_answer(here, i, f))
            except Exception as error:
                failed: Future[LabelBatch] = Future()
                failed.set_exception(error)
                self._on_answer(here, index, failed)
        return here.future

    def stats(self) -> dict[str, float]:
        """Outcomes; ``disagreement``: mean share of outvoted votes; ``agree_MEMBER``: how often it votes with the most;
        the sums of the members' spending."""
        figures: dict[str, float] = {}
        for teacher in self._members.values():
            for key, value in teacher.stats().items():
                if key.startswith(("spent", "tokens", "attempt_", "from_ledger")):
                    figures[key] = max(figures.get(key, 0.0), value) if _shared(key) else figures.get(key, 0.0) + value
                elif key in ("latency_s", "budget_queries", "budget_tokens", "budget_money", "breaker_open"):
                    figures[key] = max(figures.get(key, 0.0), value)
        with self._lock:
            figures |= self.kind.figures(self._counts, self.n_classes)
            figures["disagreement"] = self._split / max(self._counts["judged"], 1)
            figures["members"] = float(len(self._members))
            figures["in_flight"] = float(sum(len(r.batch.queries) for r in self._open))
            for name in self._members:
                yes, no = self._agree[name, True], self._agree[name, False]
                if yes + no:
                    figures[f"agree_{name}"] = yes / (yes + no)
        figures["budget_left"] = float(self.budget_left)
        return figures

    def texts(self) -> dict[str, str]:
        """The members' texts, each under its name, and who they are together."""
        out: dict[str, str] = {}
        for name, teacher in self._members.items():
            for key, value in teacher.texts().items():
                if key in ("currency", "endpoint_error", "breaker"):
                    out.setdefault(key, value)
                elif key != "teacher":
                    out[f"{key}_{name}"] = value
        return out | {"teacher": "ensemble", "members": ", ".join(self._members)}

    def check_endpoint(self) -> list[str]:
        """Names of the models that the members' endpoints list. ConfigError when one of them cannot be used."""
        checks = [check for m in self._members.values() if (check := getattr(m, "check_endpoint", None))]
        return [name for check in checks for name in check()]

    def close(self, grace_s: float = 0.0) -> None:
        """Close the members one after the other within ``grace_s``."""
        deadline = time.monotonic() + grace_s
        for teacher in self._members.values():
            teacher.close(max(0.0, deadline - time.monotonic()))
        with self._lock:
            timers = [r.timer for r in self._open if r.timer is not None]
        for timer in timers:
            timer.cancel()

    # -- on the members' threads

    def _on_answer(self, here: _Round, index: int, future: Future[LabelBatch]) -> None:
        answer: LabelBatch | BaseException
        if future.cancelled():
            answer = RuntimeError("cancelled")
        else:
            answer = future.exception() or future.result()
        with self._lock:
            if here.closed:
                return
            here.answers[index] = answer
            here.left -= 1
            finished = here.left == 0
            if not finished and self._config.straggler_s and here.timer is None and here.left <= len(here.answers) // 2:
                here.timer = threading.Timer(self._config.straggler_s, self._combine, [here])
                here.timer.daemon = True
                here.timer.start()
        if finished:
            self._combine(here)

    def _combine(self, here: _Round) -> None:
        with self._lock:
            if here.closed:
                return
            here.closed = True
            self._open.remove(here)
            if here.timer is not None:
                here.timer.cancel()
            batches = [a if isinstance(a, LabelBatch) else None for a in here.answers]
            self._counts["stragglers"] += sum(a is None for a in here.answers)
        told = [b for b in batches if b is not None]
        if not told:
            failure = next((a for a in here.answers if isinstance(a, BaseException)), None)
            here.future.set_exception(failure or TimeoutError("no member of the ensemble answered"))
            return
        try:
            here.future.set_result(self._vote(here.batch.round, told[0], batches))
        except Exception as error:  # a ledger that cannot be written ends the rater, not this thread
            here.future.set_exception(error)

    def _vote(self, number: int, first: LabelBatch, batches: list[LabelBatch | None]) -> LabelBatch:
        """Members of one round answer the same queries, or their parts, in the same order."""
        rated, outcomes = [], []
        for i, example in enumerate(first.labels):
            votes = [NO_LABEL if b is None else b.labels[i].value for b in batches]
            reasons = [b.labels[i].reason for b in batches if b is not None and b.labels[i].reason]
            rating, reason, shares = count_votes(votes, self.n_classes, self._config)
            if rating == NO_LABEL and reason == TOO_FEW and len(set(reasons)) == 1:
                reason = reasons[0]  # all for the same cause, such as a spent budget
            with self._lock:
                self._note(votes, rating, reason, shares)
            told = None if shares is None else [round(float(s), 6) for s in shares]
            detail = {"votes": dict(zip(self._members, votes)), "probabilities": told}
            outcomes.append(Outcome(example.query, rating, reason, detail))
            soft = shares if rating != NO_LABEL else None
            rated.append(Label(example.query, rating, reason, soft))
        if self._record is not None:
            self._record.add(number, outcomes)
        requested = max(b.requested for b in batches if b is not None)
        return LabelBatch(number, self.n_classes, requested, rated, "ensemble", first.kind)

    def _note(self, votes: list[int], rating: int, reason: str, shares: np.ndarray | None) -> None:
        count(self._counts, rating, reason)
        if shares is not None:
            self._counts["judged"] += 1
            self._split += 1.0 - float(shares.max())
        if rating == NO_LABEL:
            return
        for name, vote in zip(self._members, votes):
            if vote != NO_LABEL:
                self._agree[name, vote == rating] += 1


def _shared(key: str) -> bool:
    """Whether the members count this together, because they share one ledger."""
    return key.startswith("spent")
