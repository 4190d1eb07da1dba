# SPDX-License-Identifier: Apache-2.0
"""One thread that owns the ledger's connection: operations that wait at one moment share a commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, StateError

_BATCH = 256  # operations in one commit


class LedgerError(StateError):
    """The ledger cannot be written (disk full, file gone); nothing more may be asked."""


class LedgerThread:
    """Runs operations in the order they are handed in.

    Args:
        path: for messages.
        connect: opens the file, on the thread. What it raises is raised here.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path, self._connect = path, connect
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        opened: Future = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="ledger", daemon=True)
        self._thread.start()
        opened.result()

    def do(self, operation: Callable[[sqlite3.Connection], Any]) -> Future:
        """Future of ``operation(connection)``, done when its commit is on disk. LedgerError when closed."""
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise LedgerError(f"ledger {self._path} is closed", file=str(self._path))
            self._work.put((operation, future))
        return future

    def close(self) -> None:
        """Finish what was handed in, then close the file. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._work.put(None)
        self._thread.join()

    def _serve(self, opened: Future) -> None:
        try:
            db = self._connect()
        except Exception as error:  # raised again in the thread that opens it
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
        # no cancelling from here on: what was paid for is written even when no caller waits for it any more
        waiting = [(work, future if future.set_running_or_notify_cancel() else Future()) for work, future in batch]
        error = self._try(db, waiting)
        if error and len(waiting) > 1:  # one that fails shall not take the others with it
            for one in waiting:
                self._try(db, [one], last=True)
        elif error:
            waiting[0][1].set_exception(error)

    def _try(self, db: sqlite3.Connection, batch: list, last: bool = False) -> Exception | None:
        """One transaction; its error, when it failed. ``last``: told to the one that waits."""
        results: list[Any] = []
        try:
            db.execute("BEGIN")
            for operation, _ in batch:
                results.append(operation(db))
            db.execute("COMMIT")
        except Exception as cause:
            if db.in_transaction:
                db.execute("ROLLBACK")
            error = self._error(cause)
            if last:
                batch[0][1].set_exception(error)
            return error
        for (_, future), result in zip(batch, results):
            future.set_result(result)
        return None

    def _error(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        text = f"cannot write ledger {self._path}: {error}; free disk space or repair the file"
        return LedgerError(text, code=Code.NOT_WRITTEN, file=str(self._path))
