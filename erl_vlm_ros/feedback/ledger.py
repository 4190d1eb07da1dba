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

import numpy as np

from erl_vlm_ros.data.segment import RatedSegment, Segment
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.parsing import PARSER_VERSION

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x45524C56  # "ERLV": tells our files from other SQLite files
_BATCH = 256  # operations in one commit

_SCHEMA = """
CREATE TABLE queries (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, segment_id TEXT NOT NULL, round INTEGER NOT NULL,
  source TEXT NOT NULL, task TEXT NOT NULL, n_classes INTEGER NOT NULL, model TEXT NOT NULL,
  params TEXT NOT NULL, prompts TEXT NOT NULL, shapes TEXT NOT NULL,
  images BLOB NOT NULL, proprio BLOB NOT NULL, actions BLOB NOT NULL, stamps BLOB NOT NULL,
  created REAL NOT NULL, UNIQUE (hash, segment_id, round));
CREATE TABLE answers (
  hash TEXT NOT NULL, stage TEXT NOT NULL, text TEXT NOT NULL, problem TEXT NOT NULL, model TEXT NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency_s REAL NOT NULL, created REAL NOT NULL,
  PRIMARY KEY (hash, stage));
CREATE TABLE ratings (
  query INTEGER PRIMARY KEY REFERENCES queries (id), rating INTEGER NOT NULL, reason TEXT NOT NULL,
  charged INTEGER NOT NULL, attempts INTEGER NOT NULL, parser_version INTEGER NOT NULL, created REAL NOT NULL);
CREATE INDEX queries_hash ON queries (hash);
"""


class LedgerError(RuntimeError):
    """The ledger cannot be written (disk full, file gone); nothing more may be asked."""


@dataclass(frozen=True)
class Answer:
    """One answer of the endpoint. ``problem`` is empty, or why its text is no use (``refusal``, ``empty``)."""

    text: str
    problem: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0


class Ledger:
    """Append-only record of a run's ratings in one SQLite file.

    Operations run on one writer thread; each returns a Future that is done when its commit is on disk, and all
    operations that wait at that moment share the commit.

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

    # -- writing ------------------------------------------------------------------------------------------------

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
        """Record a query. The same query of the same round keeps its row (a run that was cut off asks again).

        The Future gives (row id, whether that row counted against the budget before).

        Args:
            digest: content hash of images, prompts, model and parameters.
            source: ``endpoint`` (will be sent) or ``ledger`` (all its answers are here already).
        """
        row = (
            digest, segment.id, round_, source, task, n_classes, model, json.dumps(params, sort_keys=True),
            json.dumps(prompts), *_pack(segment), time.time(),
        )  # fmt: skip

        def write(db: sqlite3.Connection) -> tuple[int, bool]:
            added = db.execute(
                "INSERT INTO queries (hash, segment_id, round, source, task, n_classes, model, params, prompts,"
                " shapes, images, proprio, actions, stamps, created) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
                " ON CONFLICT (hash, segment_id, round) DO NOTHING",
                row,
            )
            if added.rowcount == 1:
                return added.lastrowid, False
            found = db.execute(
                "SELECT id, source = 'endpoint' AND COALESCE(charged, 1) FROM queries LEFT JOIN ratings ON query = id"
                " WHERE hash = ? AND segment_id = ? AND round = ?",
                row[:3],
            ).fetchone()
            return found[0], bool(found[1])

        return self._do(write)

    def add_answer(self, digest: str, stage: str, answer: Answer) -> Future:
        """Record the endpoint's answer to one stage (``analysis`` or ``rating``) of a query."""
        a = answer
        row = (digest, stage, a.text, a.problem, a.model, a.tokens_in, a.tokens_out, a.latency_s, time.time())
        return self._do(
            lambda db: db.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?,?)", row) and None
        )

    def add_rating(self, query: int, rating: int, reason: str, charged: bool, attempts: int) -> Future:
        """Record a query's outcome: class index, or -1 with its reason. ``charged``: counts against the budget."""
        row = (query, rating, reason, int(charged), attempts, PARSER_VERSION, time.time())
        # once paid, always paid: asking again and finding the answer here must not give the budget back
        sql = (
            "INSERT INTO ratings VALUES (?,?,?,?,?,?,?) ON CONFLICT (query) DO UPDATE SET rating = excluded.rating,"
            " reason = excluded.reason, charged = MAX(charged, excluded.charged), attempts = attempts + excluded.attempts,"
            " parser_version = excluded.parser_version, created = excluded.created"
        )
        return self._do(lambda db: db.execute(sql, row) and None)

    # -- reading ------------------------------------------------------------------------------------------------

    def answers(self, digest: str) -> Future:
        """Future of {stage: Answer} that was received for this content hash."""

        def read(db: sqlite3.Connection) -> dict[str, Answer]:
            rows = db.execute(
                "SELECT stage, text, problem, model, tokens_in, tokens_out, latency_s FROM answers WHERE hash=?",
                (digest,),
            )
            return {stage: Answer(*rest) for stage, *rest in rows}

        return self._do(read)

    def spent(self) -> int:
        """Ratings that count against the budget. A query without a rating was cut off and may have been paid."""
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

    def rated_segments(
        self, task: str | None = None, n_classes: int | None = None
    ) -> list[tuple[int, RatedSegment]]:
        """(round, rated segment) of every query with an outcome, in the order asked; -1 for no rating.

        Args:
            task, n_classes: only ratings for this task or number of classes.
        """
        sql = (
            "SELECT round, segment_id, shapes, images, proprio, actions, stamps, rating, reason"
            " FROM queries JOIN ratings ON query = id WHERE (? IS NULL OR task = ?) AND (? IS NULL OR n_classes = ?)"
            " ORDER BY id"
        )
        rows = self._do(lambda db: db.execute(sql, (task, task, n_classes, n_classes)).fetchall()).result()
        return [(r[0], RatedSegment(_unpack(*r[1:7]), r[7], r[8])) for r in rows]

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

    # -- the writer thread --------------------------------------------------------------------------------------

    def _do(self, operation: Callable[[sqlite3.Connection], Any]) -> Future:
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise LedgerError(f"ledger {self.path} is closed")
            self._work.put((operation, future))
        return future

    def _serve(self, opened: Future) -> None:
        try:
            db = _open(self.path)
        except (ConfigError, LedgerError) as error:
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
        results = []
        try:
            db.execute("BEGIN")
            for operation, _ in batch:
                results.append(operation(db))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            for _, future in batch:
                future.set_exception(
                    LedgerError(f"cannot write ledger {self.path}: {error}; free disk space or mend the file")
                )
            return
        for (_, future), result in zip(batch, results):
            future.set_result(result)


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            raise ConfigError(f"{path} is an SQLite file but not a rating ledger; choose another ledger path")
        if tables and version != SCHEMA_VERSION:
            raise ConfigError(
                f"ledger {path} has schema version {version}, this program reads version {SCHEMA_VERSION};"
                " use the version of erl_vlm_ros that wrote it, or start with a new ledger file"
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit is on disk, not only with the kernel
        if not tables:
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        return db
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"ledger {path} cannot be opened: {error}; choose another ledger path or mend the file"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"ledger {path} cannot be created: {error.strerror}; choose a folder that can be written"
        ) from error


def _pack(segment: Segment) -> tuple[str, bytes, bytes, bytes, bytes]:
    proprio, actions = np.asarray(segment.proprio, np.float32), np.asarray(segment.actions, np.float32)
    shapes = {"images": [len(j) for j in segment.jpegs], "proprio": proprio.shape, "actions": actions.shape}
    stamps = np.asarray(segment.stamps, np.int64)
    return json.dumps(shapes), b"".join(segment.jpegs), proprio.tobytes(), actions.tobytes(), stamps.tobytes()


def _unpack(id_: str, shapes: str, images: bytes, proprio: bytes, actions: bytes, stamps: bytes) -> Segment:
    shape = json.loads(shapes)
    ends = np.cumsum([0, *shape["images"]])
    return Segment(
        id=id_,
        jpegs=[images[a:b] for a, b in zip(ends[:-1], ends[1:])],
        proprio=np.frombuffer(proprio, np.float32).reshape(shape["proprio"]).copy(),
        actions=np.frombuffer(actions, np.float32).reshape(shape["actions"]).copy(),
        stamps=np.frombuffer(stamps, np.int64).copy(),
    )
