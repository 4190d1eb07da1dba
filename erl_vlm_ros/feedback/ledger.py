# SPDX-License-Identifier: Apache-2.0
"""The rating ledger: every query on disk before it is sent, every answer before it is used (SQLite, WAL)."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erl_vlm_ros.data.segment import RatedSegment, Segment
from erl_vlm_ros.feedback.ledger_file import from_row, open_file, to_row
from erl_vlm_ros.feedback.parsing import PARSER_VERSION

_BATCH = 256  # operations in one commit


class LedgerError(RuntimeError):
    """The ledger cannot be written (disk full, file gone); nothing more may be asked."""


@dataclass(frozen=True)
class Answer:
    """One answer of the endpoint. ``problem``: empty, or why its text is no use (``refusal``, ``empty``)."""

    text: str
    problem: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0


class Ledger:
    """Append-only record of a run's ratings in one SQLite file.

    Operations run on one writer thread; each returns a Future that is done when its commit is on disk, and
    all operations that wait at that moment share the commit.

    Raises:
        ConfigError: the file is not a ledger, of another schema version, or cannot be opened or created.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        opened: Future = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="ledger", daemon=True)
        self._thread.start()
        opened.result()

    # -- writing -----------------------------------------------------------------------------------------

    def add_query(
        self,
        digest: str,
        segment: Segment,
        round_: int,
        source: str,
        task: str,
        n_classes: int,
        model: str,
        params: dict[str, Any],
        prompts: dict[str, str],
    ) -> Future:
        """Record a query; the Future gives its row's id. The same query of the same round keeps its row.

        Args:
            digest: content hash of images, prompts, model and parameters.
            source: ``endpoint`` (will be sent) or ``ledger`` (all its answers are here already).
        """
        row = (
            digest, segment.id, round_, source, task, n_classes, model, json.dumps(params, sort_keys=True),
            json.dumps(prompts), *to_row(segment), time.time(),
        )  # fmt: skip

        def write(db: sqlite3.Connection) -> int:
            db.execute(
                "INSERT INTO queries (hash, segment_id, round, source, task, n_classes, model, params,"
                " prompts, shapes, images, proprio, actions, stamps, created)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (hash, segment_id, round) DO NOTHING",
                row,
            )
            sql = "SELECT id FROM queries WHERE hash = ? AND segment_id = ? AND round = ?"
            return db.execute(sql, row[:3]).fetchone()[0]

        return self._do(write)

    def add_answer(self, digest: str, stage: str, answer: Answer) -> Future:
        """Record the endpoint's answer to one stage (``analysis`` or ``rating``) of a query."""
        a = answer
        row = (digest, stage, a.text, a.problem, a.model, a.tokens_in, a.tokens_out, a.latency_s, time.time())
        return self._do(
            lambda db: db.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?,?)", row) and None
        )

    def add_rating(self, query: int, rating: int, reason: str, charged: bool, attempts: int) -> Future:
        """Record a query's outcome: class, or -1 with its reason. ``charged``: counts against the budget."""
        row = (query, rating, reason, int(charged), attempts, PARSER_VERSION, time.time())
        # once paid, always paid: asking again and finding the answer here must not give the budget back
        sql = (
            "INSERT INTO ratings VALUES (?,?,?,?,?,?,?) ON CONFLICT (query) DO UPDATE SET"
            " rating = excluded.rating, reason = excluded.reason, charged = MAX(charged, excluded.charged),"
            " attempts = attempts + excluded.attempts, parser_version = excluded.parser_version,"
            " created = excluded.created"
        )
        return self._do(lambda db: db.execute(sql, row) and None)

    # -- reading -----------------------------------------------------------------------------------------

    def find(self, digest: str, segment_id: str, round_: int) -> Future:
        """Future of ({stage: Answer} for a query's content, whether it counts against the budget already).

        It counts when the same query of this round was sent before, by a run that was cut off.
        """

        def read(db: sqlite3.Connection) -> tuple[dict[str, Answer], bool]:
            row = db.execute(
                "SELECT COALESCE(charged, 1) FROM queries LEFT JOIN ratings ON query = id"
                " WHERE hash = ? AND segment_id = ? AND round = ? AND source = 'endpoint'",
                (digest, segment_id, round_),
            ).fetchone()
            rows = db.execute(
                "SELECT stage, text, problem, model, tokens_in, tokens_out, latency_s FROM answers WHERE hash = ?",
                (digest,),
            )
            return {stage: Answer(*rest) for stage, *rest in rows}, bool(row and row[0])

        return self._do(read)

    def spent(self) -> int:
        """Ratings that count against the budget; a query that was cut off counts, it may have been paid."""
        sql = (
            "SELECT COUNT(*) FROM queries LEFT JOIN ratings ON query = id"
            " WHERE source = 'endpoint' AND COALESCE(charged, 1) = 1"
        )
        return self._do(lambda db: db.execute(sql).fetchone()[0]).result()

    def outcomes(self, task: str, n_classes: int) -> list[tuple[int, str, int]]:
        """(rating, reason, how many) over the whole ledger."""
        sql = (
            "SELECT rating, reason, COUNT(*) FROM ratings JOIN queries ON query = id"
            " WHERE task = ? AND n_classes = ? GROUP BY rating, reason"
        )
        return self._do(lambda db: db.execute(sql, (task, n_classes)).fetchall()).result()

    def rated_segments(self, task: str | None = None, n_classes: int | None = None) -> list[tuple[int, RatedSegment]]:
        """(round, rated segment) of every query with an outcome, in the order asked; -1 for no rating.

        Args:
            task, n_classes: only ratings for this task or number of classes.
        """
        sql = (
            "SELECT round, segment_id, shapes, images, proprio, actions, stamps, rating, reason"
            " FROM queries JOIN ratings ON query = id"
            " WHERE (? IS NULL OR task = ?) AND (? IS NULL OR n_classes = ?)"
            " ORDER BY id"
        )
        rows = self._do(lambda db: db.execute(sql, (task, task, n_classes, n_classes)).fetchall()).result()
        return [(r[0], RatedSegment(from_row(*r[1:7]), r[7], r[8])) for r in rows]

    def close(self) -> None:
        """Finish what was handed in, then close the file. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._work.put(None)
        self._thread.join()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the writer thread -------------------------------------------------------------------------------

    def _do(self, operation: Callable[[sqlite3.Connection], Any]) -> Future:
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise LedgerError(f"ledger {self.path} is closed")
            self._work.put((operation, future))
        return future

    def _serve(self, opened: Future) -> None:
        try:
            db = open_file(self.path)
        except Exception as error:  # whoever opens it gets to see it
            opened.set_exception(error)
            return
        opened.set_result(None)
        running = True
        while running:
            batch = [self._work.get()]
            while len(batch) < _BATCH and batch[-1] is not None:
                try:
                    batch.append(self._work.get_nowait())
                except queue.Empty:
                    break
            if batch[-1] is None:
                running = False
                batch.pop()
            self._commit(db, batch)
        db.close()

    def _commit(self, db: sqlite3.Connection, batch: list) -> None:
        results: list[Any] = []
        # from here on nobody can cancel: what was paid for is written even when nobody waits for it any more
        waited_for = [future.set_running_or_notify_cancel() for _, future in batch]
        try:
            db.execute("BEGIN")
            for operation, _ in batch:
                results.append(operation(db))
            db.execute("COMMIT")
        except Exception as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            message = f"cannot write ledger {self.path}: {error}; free disk space or mend the file"
            for (_, future), waited in zip(batch, waited_for):
                if waited:
                    future.set_exception(LedgerError(message))
            return
        for (_, future), waited, result in zip(batch, waited_for, results):
            if waited:
                future.set_result(result)
