# SPDX-License-Identifier: Apache-2.0
"""Segments and ratings: bundle round trips and what is refused."""

import numpy as np
import pytest

from erl_vlm_ros.data.segment import NO_RATING, RatedSegment, RatingBatch, Segment, SegmentBatch
from erl_vlm_ros.ros.bundle import BundleError, decode, encode


def make_segment(name="e12_t33_h2", length=2):
    return Segment(
        id=name,
        jpegs=[f"{name}{i}".encode() for i in range(length)],
        proprio=np.arange(length * 10, dtype=np.float32).reshape(length, 10),
        actions=np.ones((length, 3), np.float32),
        stamps=np.arange(length) + 5,
    )


def assert_same(a, b):
    assert a.id == b.id and a.jpegs == b.jpegs
    for name in ("proprio", "actions", "stamps"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("length", [1, 3])
def test_segment_batch_round_trip(length):
    batch = SegmentBatch(4, [make_segment("a", length), make_segment("bb", length)])
    copy = SegmentBatch.from_bundle(decode(encode(batch.to_bundle()), "segments"))
    assert copy.round == 4 and len(copy.segments) == 2
    for a, b in zip(copy.segments, batch.segments):
        assert_same(a, b)


def test_rating_batch_round_trip_keeps_refusals_apart():
    rated = [RatedSegment(make_segment("a"), 2), RatedSegment(make_segment("b"), NO_RATING, "timeout")]
    batch = RatingBatch(round=1, n_classes=3, requested=2, rated=rated)
    copy = RatingBatch.from_bundle(decode(encode(batch.to_bundle()), "ratings"))
    assert (copy.round, copy.n_classes, copy.requested) == (1, 3, 2)
    assert [(r.rating, r.reason) for r in copy.rated] == [(2, ""), (-1, "timeout")]
    assert [r.segment.id for r in copy.valid] == ["a"]
    assert_same(copy.rated[1].segment, rated[1].segment)


def test_empty_batches():
    assert SegmentBatch.from_bundle(decode(encode(SegmentBatch(0).to_bundle()), "segments")).segments == []
    assert RatingBatch.from_bundle(decode(encode(RatingBatch(0, 3, 5).to_bundle()), "ratings")).rated == []


def test_refusals():
    with pytest.raises(ValueError, match="equal H"):
        SegmentBatch(0, [make_segment(length=1), make_segment(length=2)]).to_bundle()
    with pytest.raises(ValueError, match="length"):
        Segment("x", [b""], np.zeros((2, 10)), np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        Segment("x", [b""], np.full((1, 10), np.nan), np.zeros((1, 3)), np.zeros(1))
    for rating in (3, -2):
        with pytest.raises(BundleError, match="outside"):
            RatingBatch.from_bundle(RatingBatch(0, 3, 1, [RatedSegment(make_segment(), rating)]).to_bundle())


@pytest.mark.parametrize(
    "key, value",
    [("round", "1"), ("round", -1), ("ids", ["a"]), ("ids", None), ("ids", [1, 2]), ("reasons", [])],
)
def test_bad_meta(key, value):
    bundle = RatingBatch(0, 3, 2, [RatedSegment(make_segment(), 1)] * 2).to_bundle()
    bundle.meta[key] = value
    with pytest.raises(BundleError, match=f"meta.{key}"):
        RatingBatch.from_bundle(bundle)
