# SPDX-License-Identifier: Apache-2.0
"""Labels from a ledger and from nowhere else: no network, the same labels as when they were asked for."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from concurrent.futures import Future

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.reasons import NOT_IN_LEDGER
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.kinds.base import count
from erl_vlm_ros.feedback.ledger.file import AUDIT, content_hash, image_hash
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.ledger.reparse import reparse
from erl_vlm_ros.feedback.waiting import Waiting

# the query's own label first, then one of the same images asked for elsewhere; an audit first, a rating before none
_FIND = (
    f"SELECT rating, reason, source = '{AUDIT}' FROM queries JOIN ratings ON query = id"
    " WHERE content = ? AND task = ? AND kind = ? AND n_classes = ? AND classes IN (?, '[]')"
    f" AND (? = '' OR model = ? OR (? AND source = '{AUDIT}'))"
    f" ORDER BY segment_id = ? DESC, round = ? DESC, source = '{AUDIT}' DESC, rating < 0, id LIMIT 1"
)


class LedgerReplay(Waiting):
    """Answers like the rater that filled the ledger; what that was never asked has no label (``not_in_ledger``).

    A query is found by the content of its images, for the same task, kind and classes, whatever prompts were used. One
    with parts is answered part by part.

    Args:
        task: whose classes are answered.
        ledger: stays open when this is closed; nothing is written but ratings by a newer parser.
        n_classes: 0 means the task's own number.
        model: only its ratings; empty: of any model.
        audits: whether outcomes of audits take the place of that model's ratings.
        kind: of feedback.

    Raises:
        ConfigError: the task does not describe so many classes.
    """

    def __init__(
        self, task: Task, ledger: Ledger, n_classes: int = 0, model: str = "", audits: bool = True,
        kind: FeedbackKind = RATING,
    ) -> None:  # fmt: skip
        self.task, self._ledger, self._model, self._audits = task, ledger, model, audits
        self.kind = kind
        self.class_names = kind.class_names(task, n_classes)
        self.n_classes = len(self.class_names)
        self._counts: Counter[str] = Counter()
        reparse(ledger)

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Answer without waiting. Done callbacks run on the ledger's thread. BadQuery: a query cannot be put."""
        queries = [part for query in batch.queries for part in self.kind.parts(query)]
        done: Future[LabelBatch] = Future()

        def on_read(read: Future) -> None:
            error = read.exception()
            if error is not None:
                done.set_exception(error)
                return
            labels = [Label(q, *row[:2], audited=bool(row[2])) for q, row in zip(queries, read.result())]
            for label in labels:
                count(self._counts, label.value, label.reason)
            kind = self.kind.part.name
            done.set_result(LabelBatch(batch.round, self.n_classes, len(labels), labels, "ledger", kind))

        look = self._ledger.submit(lambda db: [self._look_up(db, query, batch.round) for query in queries])
        look.add_done_callback(on_read)
        return done

    @property
    def budget_left(self) -> int:
        """Nothing can be asked for."""
        return 0

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics."""
        counts = dict(self._counts)
        found = counts.get("requested", 0) - counts.get(f"reason_{NOT_IN_LEDGER}", 0)
        return self.kind.figures(counts, self.n_classes) | {"from_ledger": float(found)}

    def close(self, grace_s: float = 0.0) -> None:
        """Nothing is on its way."""

    def _look_up(self, db: sqlite3.Connection, query: Query, round_: int) -> tuple[int, str, int]:
        content = content_hash([image_hash(jpeg) for jpeg in query.images])
        classes = json.dumps(self.class_names)
        whose = (self._model, self._model, self._audits)
        kind = self.kind.part.name
        question = (content, self.task.name, kind, self.n_classes, classes, *whose, query.id, round_)
        row = db.execute(_FIND, question).fetchone()
        return row or (NO_LABEL, NOT_IN_LEDGER, 0)
