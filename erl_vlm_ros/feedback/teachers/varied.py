# SPDX-License-Identifier: Apache-2.0
"""A rater that is shown every segment in another way: mirrored, in detail, or just asked in other words."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

from erl_vlm_ros.data.segment import RatingBatch, Segment, SegmentBatch, transitions
from erl_vlm_ros.feedback.rater import VlmRater
from erl_vlm_ros.feedback.variations import Variation


class VariedTeacher:
    """Its ratings are those of the segments as they were.

    Args:
        rater: asks with the variation's prompt set, which tells what was done to the picture.
    """

    def __init__(self, rater: VlmRater, variation: Variation) -> None:
        self._rater, self._variation = rater, variation
        self.class_names = rater.class_names

    def submit(self, batch: SegmentBatch) -> Future[RatingBatch]:
        """Rate without waiting."""
        varied = SegmentBatch(batch.round, [self._vary(segment) for segment in batch.segments])
        done: Future[RatingBatch] = Future()
        done.set_running_or_notify_cancel()

        def on_rated(future: Future[RatingBatch]) -> None:
            if future.cancelled():
                done.set_exception(RuntimeError("cancelled"))
            elif future.exception() is not None:
                done.set_exception(future.exception())
            else:
                rated = future.result()
                originals = _by_id(batch.segments)
                back = [replace(r, segment=originals.get(r.segment.id, r.segment)) for r in rated.rated]
                done.set_result(replace(rated, rated=back))

        self._rater.submit(varied).add_done_callback(on_rated)
        return done

    def rate_batch(self, batch: SegmentBatch) -> RatingBatch:
        """Rate and wait."""
        return self.submit(batch).result()

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
        except ValueError:  # the rater finds the same picture unreadable, or the endpoint does
            return segment


def _by_id(segments: list[Segment]) -> dict[str, Segment]:
    """Segments, and the parts of those that have transitions, by their names."""
    known = {}
    for segment in segments:
        if len(segment.jpegs) > 1:
            known |= {part.id: part for part in transitions(segment)}
    return known | {segment.id: segment for segment in segments}
