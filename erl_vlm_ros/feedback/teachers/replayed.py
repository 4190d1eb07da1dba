# SPDX-License-Identifier: Apache-2.0
"""A ledger as the teacher: what was answered before, with the soft labels of an ensemble, and no network."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.query import Label, LabelBatch, QueryBatch
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.ledger.file import content_hash, image_hash
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.ledger.replay import LedgerReplay
from erl_vlm_ros.feedback.teachers.record import VOTES
from erl_vlm_ros.feedback.vlm.logprobs import STAGE as PROBABILITIES
from erl_vlm_ros.feedback.waiting import Waiting


class ReplayedTeacher(Waiting):
    """Answers from a ledger by the content of the images; what it does not hold is no rating (``not_in_ledger``).

    Where an ensemble rated, its verdict counts and not its members'; where it was audited, the auditor's. A ledger with
    ratings of the simulation's truth makes this teacher ``scripted``, so that they are never taken for anything else.

    Args:
        path: ledger to read; empty: ``own``, the run's.
        model: only ratings of that model (or ``human``, or an ensemble's name); empty: any.
    """

    def __init__(
        self, path: str, own: Ledger, task: Task, n_classes: int, model: str = "", kind: FeedbackKind = RATING
    ) -> None:
        if path and not Path(path).is_file():
            text = f"replay.ledger: there is no file {path}"
            raise ConfigError(text, code=Code.MISSING_FILE, parameter="vlm_rater.replay.ledger", file=str(path))
        other = bool(path) and Path(path).resolve() != own.path.resolve()
        self._opened = Ledger(path) if other else None
        self._ledger, self.kind = self._opened or own, kind
        try:
            sources = self._ledger.run(lambda db: _sources(db, task.name, n_classes, kind.part.name))
            asked_for = model
            model = model or next((m for source, m in sources if source == "ensemble"), "")
            self._replay = LedgerReplay(task, self._ledger, n_classes, model, not asked_for, kind)
        except BaseException:
            self.close()
            raise
        self.class_names, self._model = self._replay.class_names, model
        self._name = "scripted" if any(source == "scripted" for source, _ in sources) else "ledger"

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Answer without waiting; done callbacks run on the ledger's thread."""
        done: Future[LabelBatch] = Future()
        done.set_running_or_notify_cancel()

        def on_rated(future: Future[LabelBatch]) -> None:
            if future.exception() is not None:
                done.set_exception(future.exception())
                return
            rated = future.result()
            look = self._ledger.submit(lambda db: [self._soft(db, r) for r in rated.labels])
            look.add_done_callback(lambda soft: on_soft(rated, soft))

        def on_soft(rated: LabelBatch, soft: Future) -> None:
            if soft.exception() is not None:
                done.set_exception(soft.exception())
            else:
                with_soft = [replace(r, probabilities=p) for r, p in zip(rated.labels, soft.result())]
                done.set_result(replace(rated, labels=with_soft, teacher=self._name))

        self._replay.submit(batch).add_done_callback(on_rated)
        return done

    @property
    def budget_left(self) -> int:
        """Nothing can be asked for."""
        return 0

    def stats(self) -> dict[str, float]:
        """Outcomes; how many were found."""
        return self._replay.stats() | ({"scripted": 1.0} if self._name == "scripted" else {})

    def texts(self) -> dict[str, str]:
        """Which ledger, and whose ratings."""
        return {"teacher": self._name, "replayed": str(self._ledger.path), "model": self._model or "any"}

    def close(self, grace_s: float = 0.0) -> None:
        """Close the ledger, unless it is the run's own."""
        if self._opened is not None:
            self._opened.close()

    def _soft(self, db: sqlite3.Connection, rated: Label) -> np.ndarray | None:
        """The soft label of a segment: shares of an ensemble's votes, or tokens' probabilities; None: there is none."""
        if rated.value < 0 or rated.audited:
            return None
        content = content_hash([image_hash(jpeg) for jpeg in rated.query.images])
        sql = (
            "SELECT text FROM queries JOIN answers ON answers.hash = queries.hash"
            " WHERE content = ? AND (? = '' OR queries.model = ?) AND stage IN (?, ?) ORDER BY id DESC LIMIT 1"
        )
        row = db.execute(sql, (content, self._model, self._model, VOTES, PROBABILITIES)).fetchone()
        shares = json.loads(row[0]).get("probabilities") if row else None
        if shares is None or len(shares) != len(self.class_names):
            return None
        return np.array(shares, np.float32)


def _sources(db: sqlite3.Connection, task: str, n_classes: int, kind: str) -> list[tuple[str, str]]:
    """(source, model) of the ratings for a task, the newest first."""
    sql = (
        "SELECT source, model FROM queries WHERE task = ? AND n_classes = ? AND kind = ?"
        " GROUP BY source, model ORDER BY MAX(id) DESC"
    )
    return db.execute(sql, (task, n_classes, kind)).fetchall()
