# SPDX-License-Identifier: Apache-2.0
"""Segments and ratings: bundle round trips and what is refused."""

import numpy as np
import pytest

from erl_vlm_ros.data.segment import NO_RATING, RatedSegment, RatingBatch, Segment, SegmentBatch, soft_label
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


def with_extras(name, values, names=("wrench_fz", "effort_elbow")):
    base = make_segment(name)
    return Segment(base.id, base.jpegs, base.proprio, base.actions, base.stamps, np.array(values), names)


def test_extras_travel_with_their_names():
    batch = SegmentBatch(0, [with_extras("a", [[1, 2], [3, 4]]), with_extras("b", [[5, 6], [7, 8]])])
    copy = SegmentBatch.from_bundle(decode(encode(batch.to_bundle()), "segments"))
    assert [s.extra_names for s in copy.segments] == [("wrench_fz", "effort_elbow")] * 2
    np.testing.assert_array_equal(copy.segments[1].extras, np.float32([[5, 6], [7, 8]]))
    assert make_segment().extras.shape == (2, 0)
    with pytest.raises(ValueError, match="extras"):
        SegmentBatch(0, [with_extras("a", [[1, 2], [3, 4]]), make_segment("b")]).to_bundle()
    for values in ([[1, 2]], [[1, 2], [3, np.inf]], [[1], [2]]):
        with pytest.raises(ValueError, match="segment a: extras"):
            with_extras("a", values)
    bundle = batch.to_bundle()
    del bundle.meta["extra_names"]
    with pytest.raises(BundleError, match="extra_names"):
        SegmentBatch.from_bundle(bundle)


def test_soft_labels_and_the_teachers_name_travel():
    rated = [
        RatedSegment(make_segment("a"), 2, "", np.array([0.1, 0.2, 0.7])),
        RatedSegment(make_segment("b"), NO_RATING, "tie"),
        RatedSegment(make_segment("c"), 1),
    ]
    batch = RatingBatch(0, 3, 3, rated, teacher="ensemble")
    copy = RatingBatch.from_bundle(decode(encode(batch.to_bundle()), "ratings"))
    assert copy.teacher == "ensemble"
    np.testing.assert_allclose(copy.rated[0].probabilities, [0.1, 0.2, 0.7], atol=1e-6)
    assert copy.rated[1].probabilities is None and copy.rated[2].probabilities is None
    np.testing.assert_array_equal(soft_label(copy.rated[2], 3), [0, 1, 0])
    for bad in ([0.5, 0.2, 0.2], [1.5, -0.5, 0.0], [np.nan, 0.5, 0.5]):
        rated[0].probabilities = np.array(bad)
        with pytest.raises(BundleError, match="probabilities"):
            RatingBatch.from_bundle(batch.to_bundle())
    rated[0].probabilities = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="2.* probabilities for 3 classes"):
        batch.to_bundle()


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
