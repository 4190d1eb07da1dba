# SPDX-License-Identifier: Apache-2.0
"""Labels from answers that are in the ledger already: by a newer parser, or after a process died in between."""

from __future__ import annotations

import json
import sqlite3
import time

from erl_vlm_ros.data.query import NO_LABEL
from erl_vlm_ros.feedback.kinds import FeedbackKind, known_kind
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.parsing import PARSER_VERSION, NoRating


def reparse(ledger: Ledger) -> tuple[int, int]:
    """Bring every label up to this parser, without asking again. Rows of kinds that are not known here stay.

    Returns:
        (labels written, labels that came out differently than before).
    """
    return ledger.run(_reparse)


def outcome(kind: FeedbackKind, text: str, problem: str, names: list[str], count: int) -> tuple[list[int], str]:
    """(classes, reason) of the answer to the last stage; all -1 with a reason where it states none."""
    if problem:
        return [NO_LABEL] * count, problem
    try:
        return kind.parse(text, names, count), ""
    except NoRating as error:
        return [NO_LABEL] * count, error.reason


def _reparse(db: sqlite3.Connection) -> tuple[int, int]:
    rows = db.execute(
        "SELECT id, queries.hash, round, kind, classes, text, problem FROM queries"
        " JOIN answers ON answers.hash = queries.hash AND stage = 'rating' LEFT JOIN ratings ON query = id"
        " WHERE classes != '[]' AND parser_version IS NOT ?",
        (PARSER_VERSION,),
    ).fetchall()
    written = changed = 0
    for id_, hash_, round_, kind_name, classes, text, problem in rows:
        kind = known_kind(kind_name)
        if kind is None:
            continue
        queries = [id_] if kind.part is kind else _parts(db, hash_, round_)
        before = [db.execute(_LABEL, (query,)).fetchone() for query in queries]
        if all(label is not None and label[3] == PARSER_VERSION for label in before):
            continue
        values, reason = outcome(kind, text, problem, json.loads(classes), len(queries))
        for query, value, label in zip(queries, values, before):
            changed += label is not None and (value, reason) != label[:2]
            attempts = 0 if label is None else label[2]
            row = (query, value, reason, attempts, PARSER_VERSION, time.time())
            db.execute("INSERT OR REPLACE INTO ratings VALUES (?,?,?,?,?,?)", row)
            written += 1
    return written, changed


_LABEL = "SELECT rating, reason, attempts, parser_version FROM ratings WHERE query = ?"


def _parts(db: sqlite3.Connection, hash_: str, round_: int) -> list[int]:
    """Rows of a query's parts, in their order."""
    sql = "SELECT id, hash FROM queries WHERE hash > ? AND hash < ? AND round = ?"  # the hash, a full stop, a number
    found = [(int(part[len(hash_) + 1 :]), id_) for id_, part in db.execute(sql, (f"{hash_}.", f"{hash_}/", round_))]
    return [id_ for _, id_ in sorted(found)]
