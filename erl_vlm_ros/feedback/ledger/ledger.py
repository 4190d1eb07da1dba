# SPDX-License-Identifier: Apache-2.0
"""The ledger: every query on disk before it is sent, every answer before it is used (SQLite, WAL)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erl_vlm_ros.data.query import Label, Query
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind, known_kind
from erl_vlm_ros.feedback.ledger.file import content_hash, image_hash, lock_file, open_file
from erl_vlm_ros.feedback.ledger.thread import LedgerError, LedgerThread
from erl_vlm_ros.feedback.limits.budget import Spending
from erl_vlm_ros.feedback.vlm.answer import Answer
from erl_vlm_ros.feedback.vlm.parsing import PARSER_VERSION

__all__ = ["Answer", "Known", "Ledger", "LedgerError"]

_ANSWER = "text, problem, model, tokens_in, tokens_out, latency_s, cost, currency"
_QUERY = "kind, segment_id, images, shapes, proprio, actions, extras, stamps"


@dataclass(frozen=True)
class Known:
    """What a ledger holds about a question: answers by stage; whether it counts against the budget already."""

    answers: dict[str, Answer]
    counted: bool


class Ledger:
    """Append-only record of queries and labels in one SQLite file, written by one process at a time.

    Operations run on one writer thread; each returns a Future that is done when its commit is on disk, and
    all operations that wait at that moment share the commit.

    ``spending`` is what all of it has cost, shared by the raters that use this ledger: requests that were on
    their way when a process died are counted with their reserve, for they may have been billed.

    Raises:
        ConfigError: the file is not a ledger, of another schema version, damaged, in use by another process, or
            cannot be opened or created.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = lock_file(self.path)
        try:
            self._thread = LedgerThread(self.path, lambda: open_file(self.path))
        except BaseException:
            self._lock.close()
            raise
        try:
            self.lost = self._do(_end_lost_attempts).result()
            self.spending: Spending = self._do(_spending).result()
        except BaseException:
            self.close()
            raise

    # -- writing -----------------------------------------------------------------------------------------

    def add_query(
        self,
        digest: str,
        query: Query,
        round_: int,
        source: str,
        task: str,
        n_classes: int,
        model: str,
        params: dict[str, Any],
        prompts: dict[str, str],
        classes: Sequence[str] = (),
        kind: FeedbackKind = RATING,
    ) -> Future:
        """Record a query; the Future gives its row's id. The same query of the same round keeps its row.

        Args:
            digest: content hash of images, prompts, model and parameters.
            source: ``endpoint`` (will be sent), ``ledger`` (all its answers are here already), or who else
                answers; ``part``: its answer stands with the query that it is a part of.
            classes: names; what answers are parsed with, now and by later parsers.
            kind: of feedback; how answers are parsed, and the query is stored.
        """
        jpegs = query.images
        images = [image_hash(jpeg) for jpeg in jpegs]
        blobs = list(zip(images, jpegs))
        row = (
            digest, content_hash(images), query.id, round_, kind.name, source, task, n_classes,
            json.dumps(list(classes)), model, json.dumps(params, sort_keys=True), json.dumps(prompts),
            json.dumps(images), *kind.to_row(query), time.time(),
        )  # fmt: skip

        def write(db: sqlite3.Connection) -> int:
            db.executemany("INSERT OR IGNORE INTO images VALUES (?,?)", blobs)
            db.execute(
                "INSERT INTO queries (hash, content, segment_id, round, kind, source, task, n_classes, classes, model,"
                " params, prompts, images, shapes, proprio, actions, extras, stamps, created)"
                f" VALUES ({','.join('?' * len(row))}) ON CONFLICT (hash, segment_id, round) DO NOTHING",
                row,
            )
            sql = "SELECT id FROM queries WHERE hash = ? AND segment_id = ? AND round = ?"
            return db.execute(sql, (digest, query.id, round_)).fetchone()[0]

        return self._do(write)

    def add_attempt(self, digest: str, stage: str, tokens: int, money: float, currency: str) -> Future:
        """Record that a request is about to be sent, with what it may cost at most; the Future gives its id.

        It counts as charged until its end is recorded.
        """
        row = (digest, stage, "open", 1, tokens, money, currency, "", time.time())
        sql = (
            "INSERT INTO attempts (hash, stage, state, charged, tokens, money, currency, detail, sent)"
            " VALUES (?,?,?,?,?,?,?,?,?)"
        )
        return self._do(lambda db: db.execute(sql, row).lastrowid)

    def end_attempt(self, attempt: int, reason: str, charged: bool, detail: str = "") -> Future:
        """Record that a request brought no answer; ``charged``: it may have been billed, its reserve stays counted."""
        row = (reason, charged, detail[:500], time.time(), attempt)
        sql = "UPDATE attempts SET state = ?, charged = ?, detail = ?, ended = ? WHERE id = ?"
        return self._do(lambda db: db.execute(sql, row) and None)

    def add_answer(
        self, digest: str, stage: str, answer: Answer, attempt: int | None = None, tokens: int = 0
    ) -> Future:
        """Record the endpoint's answer to one stage (``analysis`` or ``rating``) of a query.

        Args:
            attempt: the request that it answers. tokens: what that took in all. Its money is ``answer.cost``.
        """
        a, now = answer, time.time()
        figures = (a.model, a.tokens_in, a.tokens_out, a.latency_s, a.cost, a.currency)
        row = (digest, stage, a.text, a.problem, *figures, now)

        def write(db: sqlite3.Connection) -> None:
            # the first answer has perhaps been used already: it stays
            db.execute(f"INSERT OR IGNORE INTO answers VALUES ({','.join('?' * len(row))})", row)
            if attempt is not None:
                sql = "UPDATE attempts SET state = 'answered', tokens = ?, money = ?, ended = ? WHERE id = ?"
                db.execute(sql, (tokens, a.cost, now, attempt))

        return self._do(write)

    def add_rating(self, query: int, rating: int, reason: str, attempts: int = 0) -> Future:
        """Record a query's outcome: class, or -1 with its reason."""
        row = (query, rating, reason, attempts, PARSER_VERSION, time.time())
        return self._do(lambda db: db.execute("INSERT OR REPLACE INTO ratings VALUES (?,?,?,?,?,?)", row) and None)

    def remember(self, key: str, value: str) -> Future:
        """Keep a fact about an endpoint."""
        return self._do(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (key, value)) and None)

    # -- reading -----------------------------------------------------------------------------------------

    def find(self, digest: str) -> Future:
        """Future of what is Known about a question by its content hash."""

        def read(db: sqlite3.Connection) -> Known:
            rows = db.execute(f"SELECT stage, {_ANSWER} FROM answers WHERE hash = ?", (digest,)).fetchall()
            sql = "SELECT 1 FROM attempts WHERE hash = ? AND charged = 1 LIMIT 1"
            counted = db.execute(sql, (digest,)).fetchone() is not None
            return Known({stage: Answer(*rest) for stage, *rest in rows}, counted)

        return self._do(read)

    def flush(self) -> Future:
        """Done when all that was handed in before is on disk."""
        return self._do(lambda db: None)

    def fact(self, key: str) -> str | None:
        """A fact that was remembered."""
        row = self._do(lambda db: db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()).result()
        return row and row[0]

    def recent_attempts(self, seconds: float) -> list[tuple[float, int]]:
        """(age in s, tokens) of the requests of the last seconds, oldest first."""
        now = time.time()
        sql = "SELECT sent, tokens FROM attempts WHERE sent > ? ORDER BY sent"
        rows = self._do(lambda db: db.execute(sql, (now - seconds,)).fetchall()).result()
        return [(max(0.0, now - sent), tokens) for sent, tokens in rows]

    def outcomes(self, task: str, n_classes: int, kind: str = RATING.name) -> list[tuple[int, str, int]]:
        """(class, reason, how many) over the whole ledger."""
        sql = (
            "SELECT rating, reason, COUNT(*) FROM ratings JOIN queries ON query = id"
            " WHERE task = ? AND n_classes = ? AND kind = ? GROUP BY rating, reason"
        )
        return self._do(lambda db: db.execute(sql, (task, n_classes, kind)).fetchall()).result()

    def labels(
        self, task: str | None = None, n_classes: int | None = None, kind: str | None = None
    ) -> list[tuple[int, Label]]:
        """(round, label) of every query with an outcome, in the order asked; those of unknown kinds are left out.

        Args:
            task, n_classes, kind: only labels for this task, of this number of classes, of this kind of feedback.
        """
        sql = (
            f"SELECT round, rating, reason, {_QUERY} FROM queries JOIN ratings ON query = id"
            " WHERE (? IS NULL OR task = ?) AND (? IS NULL OR n_classes = ?) AND (? IS NULL OR kind = ?)"
            " ORDER BY id"
        )

        def read(db: sqlite3.Connection) -> list[tuple[int, Label]]:
            out = []
            rows = db.execute(sql, (task, task, n_classes, n_classes, kind, kind))
            for round_, value, reason, name, id_, images, *rest in rows:
                known = known_kind(name)
                if known is not None:
                    jpegs = [_jpeg(db, image) for image in json.loads(images)]
                    out.append((round_, Label(known.from_row(id_, jpegs, *rest), value, reason)))
            return out

        return self._do(read).result()

    def submit(self, operation: Callable[[sqlite3.Connection], Any]) -> Future:
        """Future of ``operation(connection)``, called in a transaction on the ledger's own thread."""
        return self._do(operation)

    def run(self, operation: Callable[[sqlite3.Connection], Any]) -> Any:
        """The same, waited for."""
        return self._do(operation).result()

    def close(self) -> None:
        """Finish what was handed in, then close the file. Safe to call twice."""
        self._thread.close()
        self._lock.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _do(self, operation: Callable[[sqlite3.Connection], Any]) -> Future:
        return self._thread.do(operation)


def _jpeg(db: sqlite3.Connection, name: str) -> bytes:
    return db.execute("SELECT jpeg FROM images WHERE hash = ?", (name,)).fetchone()[0]


def _end_lost_attempts(db: sqlite3.Connection) -> int:
    """Requests of a process that died before their answer was recorded; how many there are in all."""
    db.execute("UPDATE attempts SET state = 'lost', ended = ? WHERE state = 'open'", (time.time(),))
    return db.execute("SELECT COUNT(*) FROM attempts WHERE state = 'lost'").fetchone()[0]


def _spending(db: sqlite3.Connection) -> Spending:
    queries = db.execute("SELECT COUNT(DISTINCT hash) FROM attempts WHERE charged = 1 AND stage != 'probe'").fetchone()[
        0
    ]
    rows = db.execute("SELECT currency, SUM(tokens), SUM(money) FROM attempts WHERE charged = 1 GROUP BY currency")
    spending = Spending(queries)
    for currency, tokens, money in rows:
        spending.tokens += tokens
        spending.money[currency] = money
    return spending
