# SPDX-License-Identifier: Apache-2.0
"""Ratings of a run by episode and frame, out of its ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.segment import place_of
from erl_vlm_ros.feedback.kinds import RATING


class FrameRatings(NamedTuple):
    """(episode, frame) -> rating, of the segment that ends with the frame; of n classes; models that gave them."""

    by_frame: dict[tuple[int, int], int]
    n_classes: int
    rater: str


def ratings_by_frame(path: Path) -> FrameRatings:
    """Valid ratings, the newest of each frame. ConfigError: it cannot be read, or has ratings of different classes."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT segment_id, rating, n_classes, model FROM queries JOIN ratings ON ratings.query = queries.id"
                " WHERE kind = ? AND rating >= 0 ORDER BY queries.id",
                (RATING.name,),
            ).fetchall()
    except sqlite3.Error as error:
        raise ConfigError(f"the ledger {path} cannot be read: {error}", code=Code.UNREADABLE, file=str(path)) from error
    found, counts, raters = {}, {n for _, _, n, _ in rows}, dict.fromkeys(model for *_, model in rows if model)
    if len(counts) > 1:
        raise ConfigError(
            f"the ledger {path} has ratings of {sorted(counts)} classes", code=Code.DOES_NOT_FIT, file=str(path)
        )
    for name, rating, _, _ in rows:
        place = place_of(name)
        if place is not None:
            found[place[:2]] = rating
    return FrameRatings(found, counts.pop() if counts else 0, ", ".join(raters))
