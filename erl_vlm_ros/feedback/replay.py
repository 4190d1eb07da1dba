# SPDX-License-Identifier: Apache-2.0
"""Ratings from a ledger and from nowhere else: no network, the same ratings as when they were asked for."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from concurrent.futures import Future

from erl_vlm_ros.data.reasons import NOT_IN_LEDGER
from erl_vlm_ros.data.segment import RatedSegment, RatingBatch, Segment, SegmentBatch
from erl_vlm_ros.feedback.ledger import Ledger
from erl_vlm_ros.feedback.ledger_file import AUDIT, content_hash, image_hash
from erl_vlm_ros.feedback.reparse import reparse
from erl_vlm_ros.tasks import Task

# the segment's own rating first, then one of the same images asked for elsewhere; an audit first, a rating before none
_FIND = (
    f"SELECT rating, reason, source = '{AUDIT}' FROM queries JOIN ratings ON query = id"
    " WHERE content = ? AND task = ? AND n_classes = ? AND classes IN (?, '[]')"
    f" AND (? = '' OR model = ? OR (? AND source = '{AUDIT}'))"
    f" ORDER BY segment_id = ? DESC, round = ? DESC, source = '{AUDIT}' DESC, rating < 0, id LIMIT 1"
)


class LedgerReplay:
    """Rates like the rater that filled the ledger; what that was never asked is no rating (``not_in_ledger``).

    A segment is found by the content of its images, for the same task and classes, whatever prompts were used.

    Args:
        task: whose classes are rated.
        ledger: stays open when this is closed; nothing is written but ratings by a newer parser.
        n_classes: 0 means the task's own number.
        model: only its ratings; empty: of any model.
        audits: whether outcomes of audits take the place of that model's ratings.

    Raises:
        ConfigError: the task does not describe so many classes.
    """

    def __init__(self, task: Task, ledger: Ledger, n_classes: int = 0, model: str = "", audits: bool = True) -> None:
        self.task, self._ledger, self._model, self._audits = task, ledger, model, audits
        self.n_classes = n_classes or task.n_classes
        self.class_names = task.class_names(self.n_classes)
        self._counts: Counter[str] = Counter()
        reparse(ledger)

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Rate without waiting. Done callbacks run on the ledger's thread."""
        done: Future[RatingBatch] = Future()

        def on_read(read: Future) -> None:
            error = read.exception()
            if error is not None:
                done.set_exception(error)
                return
            rated = [RatedSegment(s, *row[:2], audited=bool(row[2])) for s, row in zip(batch.segments, read.result())]
            for one in rated:
                self._count(one)
            done.set_result(RatingBatch(batch.round, self.n_classes, len(rated), rated))

        look = self._ledger.submit(lambda db: [self._look_up(db, s, batch.round) for s in batch.segments])
        look.add_done_callback(on_read)
        return done

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait."""
        return self.submit(batch).result()

    @property
    def budget_left(self) -> int:
        """Nothing can be asked for."""
        return 0

    def stats(self) -> dict[str, float]:
        """Figures for diagnostics."""
        figures = {key: float(self._counts[key]) for key in ("requested", "valid", "no_rating")}
        figures["from_ledger"] = figures["requested"] - self._counts[f"reason_{NOT_IN_LEDGER}"]
        figures |= {f"rated_class_{i}": float(self._counts[f"class_{i}"]) for i in range(self.n_classes)}
        return figures | {k: float(v) for k, v in self._counts.items() if k.startswith("reason_")}

    def close(self, grace_s: float = 0.0) -> None:
        """Nothing is on its way."""

    def _look_up(self, db: sqlite3.Connection, segment: Segment, round_: int) -> tuple[int, str, int]:
        content = content_hash([image_hash(jpeg) for jpeg in segment.jpegs])
        classes = json.dumps(self.class_names)
        whose = (self._model, self._model, self._audits)
        question = (content, self.task.name, self.n_classes, classes, *whose, segment.id, round_)
        row = db.execute(_FIND, question).fetchone()
        return row or (-1, NOT_IN_LEDGER, 0)

    def _count(self, rated: RatedSegment) -> None:
        self._counts["requested"] += 1
        valid = rated.rating >= 0
        self._counts["valid" if valid else "no_rating"] += 1
        self._counts[f"class_{rated.rating}" if valid else f"reason_{rated.reason}"] += 1
