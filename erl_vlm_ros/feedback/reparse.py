# SPDX-License-Identifier: Apache-2.0
"""Ratings from answers that are in the ledger already: by a newer parser, or after a process died in between."""

from __future__ import annotations

import json
import sqlite3
import time

from erl_vlm_ros.feedback.ledger import Ledger
from erl_vlm_ros.feedback.parsing import PARSER_VERSION, NoRating, parse_rating


def reparse(ledger: Ledger) -> tuple[int, int]:
    """Bring every rating up to this parser, without asking anybody.

    Returns:
        (ratings written, ratings that came out differently than before).
    """
    return ledger.run(_reparse)


def outcome(text: str, problem: str, class_names: list[str]) -> tuple[int, str]:
    """(class, reason) of the answer to the rating stage; -1 with a reason for no rating."""
    if problem:
        return -1, problem
    try:
        return parse_rating(text, class_names), ""
    except NoRating as error:
        return -1, error.reason


def _reparse(db: sqlite3.Connection) -> tuple[int, int]:
    rows = db.execute(
        "SELECT id, classes, text, problem, rating, reason, COALESCE(attempts, 0) FROM queries"
        " JOIN answers ON answers.hash = queries.hash AND stage = 'rating' LEFT JOIN ratings ON query = id"
        " WHERE classes != '[]' AND (parser_version IS NULL OR parser_version != ?)",
        (PARSER_VERSION,),
    ).fetchall()
    changed = 0
    for query, classes, text, problem, before, reason_before, attempts in rows:
        rating, reason = outcome(text, problem, json.loads(classes))
        changed += before is not None and (rating, reason) != (before, reason_before)
        db.execute(
            "INSERT OR REPLACE INTO ratings VALUES (?,?,?,?,?,?)",
            (query, rating, reason, attempts, PARSER_VERSION, time.time()),
        )
    return len(rows), changed
