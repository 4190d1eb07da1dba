# SPDX-License-Identifier: Apache-2.0
"""What teachers other than the VLM write into the ledger: who answered what, and how."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from erl_vlm_ros.data.query import Query
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.ledger.ledger import Answer, Ledger

VOTES = "votes"  # stage of the answer that holds an outcome's detail


@dataclass(frozen=True)
class Outcome:
    """A query's class, or NO_LABEL with the reason; ``detail``: JSON types, such as the votes behind it."""

    query: Query
    value: int
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class Record:
    """Writes outcomes of one kind of teacher for one task; these never count against the budget.

    Args:
        source: ``human``, ``scripted`` or ``ensemble``; model: who exactly, for instance the models that voted.
        kind: of feedback of the queries that outcomes belong to.
    """

    def __init__(
        self, ledger: Ledger, task: str, class_names: Sequence[str], source: str, model: str = "",
        kind: FeedbackKind = RATING,
    ) -> None:  # fmt: skip
        self._ledger, self._task, self._names = ledger, task, list(class_names)
        self._source, self._model, self._kind = source, model or source, kind

    def add(self, round_: int, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes; returns when all are on disk. LedgerError when they cannot be written.

        A later outcome of the same query and round takes the place of the one before.
        """
        digests = [self._digest(outcome.query) for outcome in outcomes]
        queries = [
            self._ledger.add_query(
                digest, outcome.query, round_, self._source, self._task, len(self._names), self._model, {}, {},
                self._names, self._kind,
            )
            for digest, outcome in zip(digests, outcomes)
        ]  # fmt: skip
        written = []
        for digest, query, outcome in zip(digests, queries, outcomes):
            if outcome.detail:
                answer = Answer(json.dumps(outcome.detail), model=self._model)
                written.append(self._ledger.add_answer(digest, VOTES, answer))
            written.append(self._ledger.add_rating(query.result(), outcome.value, outcome.reason))
        for future in written:
            future.result()

    def known(self, query: Query, round_: int) -> tuple[int, str] | None:
        """(class, reason) that this teacher gave the query in this round; None: it gave none."""
        row = (self._digest(query), query.id, round_)

        def read(db: sqlite3.Connection) -> tuple[int, str] | None:
            sql = (
                "SELECT rating, reason FROM queries JOIN ratings ON query = id"
                " WHERE hash = ? AND segment_id = ? AND round = ?"
            )
            return db.execute(sql, row).fetchone()

        return self._ledger.run(read)

    def _digest(self, query: Query) -> str:
        question = [self._source, self._model, self._task, self._names]
        if self._kind is not RATING:
            question.append(self._kind.name)
        digest = hashlib.sha256(json.dumps(question).encode())
        for jpeg in query.images:
            digest.update(len(jpeg).to_bytes(8, "little"))
            digest.update(jpeg)
        return digest.hexdigest()
