# SPDX-License-Identifier: Apache-2.0
"""A rater that is shown every query in another way: mirrored, in detail, or just asked in other words."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from erl_vlm_ros.data.query import LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import BadQuery, FeedbackKind
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.feedback.vlm.variations import Variation
from erl_vlm_ros.feedback.waiting import Waiting


class VariedTeacher(Waiting):
    """Its labels are those of the queries as they were.

    Args:
        rater: asks with the variation's prompt set, which tells what was done to the image.
    """

    def __init__(self, rater: VlmRater, variation: Variation) -> None:
        self._rater, self._variation = rater, variation
        self.kind, self.class_names = rater.kind, rater.class_names

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """Answer without waiting."""
        queries = [Query(*(self._vary(segment) for segment in query)) for query in batch.queries]
        varied = replace(batch, queries=queries)
        done: Future[LabelBatch] = Future()
        done.set_running_or_notify_cancel()

        def on_rated(future: Future[LabelBatch]) -> None:
            if future.cancelled():
                done.set_exception(RuntimeError("cancelled"))
            elif future.exception() is not None:
                done.set_exception(future.exception())
            else:
                rated = future.result()
                originals = _by_id(self.kind, batch.queries)
                back = [replace(r, query=originals.get(r.query.id, r.query)) for r in rated.labels]
                done.set_result(replace(rated, labels=back))

        self._rater.submit(varied).add_done_callback(on_rated)
        return done

    @property
    def budget_left(self) -> int:
        """The rater's."""
        return self._rater.budget_left

    def stats(self) -> dict[str, float]:
        """The rater's."""
        return self._rater.stats()

    def texts(self) -> dict[str, str]:
        """The rater's."""
        return self._rater.texts()

    def check_endpoint(self) -> list[str]:
        """The rater's."""
        return self._rater.check_endpoint()

    def close(self, grace_s: float = 0.0) -> None:
        """Close the rater."""
        self._rater.close(grace_s)

    def _vary(self, segment: Segment) -> Segment:
        try:
            return self._variation.segment(segment)
        except ValueError:  # the rater finds the same image unreadable, or the endpoint does
            return segment


def _by_id(kind: FeedbackKind, queries: list[Query]) -> dict[str, Query]:
    """Queries and their parts by their names."""
    known = {query.id: query for query in queries}
    for query in queries:
        with suppress(BadQuery):  # the rater has refused it: its label is the query's own
            known |= {part.id: part for part in kind.parts(query)}
    return known
