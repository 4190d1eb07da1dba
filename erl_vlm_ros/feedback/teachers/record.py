# SPDX-License-Identifier: Apache-2.0
"""What teachers other than the VLM write into the ledger: who rated what, and how."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger import Answer, Ledger

VOTES = "votes"  # stage of the answer that holds an outcome's detail


@dataclass(frozen=True)
class Outcome:
    """A segment's class, or NO_RATING with the reason; ``detail``: JSON types, such as the votes behind it."""

    segment: Segment
    rating: int
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class Record:
    """Writes outcomes of one kind of teacher for one task; these never count against the budget.

    Args:
        source: ``human``, ``scripted`` or ``ensemble``; model: who exactly, for instance the models that voted.
    """

    def __init__(self, ledger: Ledger, task: str, class_names: Sequence[str], source: str, model: str = "") -> None:
        self._ledger, self._task, self._names = ledger, task, list(class_names)
        self._source, self._model = source, model or source

    def add(self, round_: int, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes; returns when all are on disk. LedgerError when they cannot be written.

        A later outcome of the same segment and round takes the place of the one before.
        """
        digests = [self._digest(outcome.segment) for outcome in outcomes]
        queries = [
            self._ledger.add_query(
                digest, outcome.segment, round_, self._source, self._task, len(self._names), self._model, {}, {},
                self._names,
            )
            for digest, outcome in zip(digests, outcomes)
        ]  # fmt: skip
        written = []
        for digest, query, outcome in zip(digests, queries, outcomes):
            if outcome.detail:
                answer = Answer(json.dumps(outcome.detail), model=self._model)
                written.append(self._ledger.add_answer(digest, VOTES, answer))
            written.append(self._ledger.add_rating(query.result(), outcome.rating, outcome.reason))
        for future in written:
            future.result()

    def known(self, segment: Segment, round_: int) -> tuple[int, str] | None:
        """(rating, reason) that this teacher gave the segment in this round; None: it gave none."""
        row = (self._digest(segment), segment.id, round_)

        def read(db: sqlite3.Connection) -> tuple[int, str] | None:
            sql = (
                "SELECT rating, reason FROM queries JOIN ratings ON query = id"
                " WHERE hash = ? AND segment_id = ? AND round = ?"
            )
            return db.execute(sql, row).fetchone()

        return self._ledger.run(read)

    def _digest(self, segment: Segment) -> str:
        question = [self._source, self._model, self._task, self._names]
        digest = hashlib.sha256(json.dumps(question).encode())
        for jpeg in segment.jpegs:
            digest.update(len(jpeg).to_bytes(8, "little"))
            digest.update(jpeg)
        return digest.hexdigest()
