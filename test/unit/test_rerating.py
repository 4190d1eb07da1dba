# SPDX-License-Identifier: Apache-2.0
"""High ratings that are asked about again: who is asked, when it ends, what is believed."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from factories import tagged_jpeg
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import Label, LabelBatch, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import RATING
from erl_vlm_ros.feedback.teacher_configs import ReratingConfig
from erl_vlm_ros.feedback.teachers.rerating import DISAGREE, ReratingTeacher

CLASSES = ["a", "b", "c", "d", "e"]


class Scripted:
    """Answers by segment id from a table; keeps what it was asked. Answers at once, or when told."""

    def __init__(self, answers, late=False, names=CLASSES):
        self.kind, self.answers, self.late, self.class_names = RATING, answers, late, list(names)
        self.asked, self.waiting, self.closed = [], [], False
        self.budget_left = 100

    def submit(self, batch):
        self.asked.append([s.id for s in batch.segments])
        future = Future()
        self.waiting.append((batch, future))
        if not self.late:
            self.release()
        return future

    def release(self):
        for batch, future in self.waiting:
            answers = [self.answers[s.id] for s in batch.segments]
            if any(isinstance(a, Exception) for a in answers):
                future.set_exception(next(a for a in answers if isinstance(a, Exception)))
                continue
            rated = [Label.of(s, a, "" if a >= 0 else "refusal") for s, a in zip(batch.segments, answers)]
            future.set_result(LabelBatch(batch.round, len(self.class_names), len(rated), rated, "vlm"))
        self.waiting = []

    def stats(self):
        return {"spent": 3.0, "tokens_in": 7.0}

    def close(self, grace_s=0.0):
        self.closed = True

    def check_endpoint(self):
        return ["a model"]


def batch(*names):
    zeros = np.zeros((1, 10)), np.zeros((1, 3))
    return QueryBatch.of(4, [Segment(n, [tagged_jpeg(n)], *zeros, np.array([i])) for i, n in enumerate(names)])


def teacher(first, *others, **options):
    again = {f"w{i}": Scripted(o) for i, o in enumerate(others)}
    return ReratingTeacher(Scripted(first), again, ReratingConfig(**options))


def test_only_high_ratings_are_asked_again_and_only_until_two_agree():
    rerate = teacher(
        {"low": 1, "none": -1, "sure": 4, "wrong": 4, "split": 3, "late": 2},
        {"sure": 4, "wrong": 0, "split": 1, "late": 3},
        {"wrong": 0, "split": 2, "late": 2},
        {"split": 0},
    )
    result = rerate.label_batch(batch("low", "none", "sure", "wrong", "split", "late"))
    assert (result.round, result.requested, result.n_classes, result.teacher) == (4, 6, 5, "vlm")
    assert [r.segment.id for r in result.labels] == ["low", "none", "sure", "wrong", "split", "late"]
    assert [r.value for r in result.labels] == [1, -1, 4, 0, -1, 2]
    assert [r.reason for r in result.labels] == ["", "refusal", "", "", DISAGREE, ""]
    asked = [other.asked for other in rerate._others.values()]
    assert asked == [[["sure", "wrong", "split", "late"]], [["wrong", "split", "late"]], [["split"]]]
    stats = rerate.stats()
    assert stats["rerated"] == 4
    assert stats["rerate_queries"] == 8
    assert stats["rerate_disagreed"] == 3
    assert stats["rerate_changed"] == 1
    assert stats["rerate_undecided"] == 1
    assert stats["rerate_disagreement"] == pytest.approx(0.75)
    assert stats["spent"] == 3.0  # of the shared ledger, not summed
    assert stats["tokens_in"] == 7.0 * 4


def test_an_answer_that_is_no_rating_is_no_vote():
    result = teacher({"x": 4}, {"x": -1}, {"x": 4}).label_batch(batch("x"))
    assert result.labels[0].value == 4
    result = teacher({"x": 4}, {"x": -1}).label_batch(batch("x"))
    assert (result.labels[0].value, result.labels[0].reason) == (-1, DISAGREE)


def test_an_undecided_segment_may_get_a_soft_label():
    result = teacher({"x": 4}, {"x": 1}, {"x": 2}, {"x": 0}, undecided="soft").label_batch(batch("x"))
    rated = result.labels[0]
    assert rated.value == 0  # the lower one of a tie
    np.testing.assert_allclose(rated.probabilities, [0.25, 0.25, 0.25, 0, 0.25])
    LabelBatch.from_bundle(result.to_bundle())


def test_more_votes_and_another_class_to_begin_with():
    first, again = {"x": 1}, {"x": 1}
    rerate = teacher(first, again, again, again, votes=3, from_class=1)
    assert rerate.label_batch(batch("x")).labels[0].value == 1
    assert [len(o.asked) for o in rerate._others.values()] == [1, 1, 0]


def test_the_upper_half_is_meant_by_default():
    for n, expected in ((2, [1]), (3, [1, 2]), (4, [2, 3]), (5, [2, 3, 4])):
        names = CLASSES[:n]
        table = {str(c): c for c in range(n)}
        other = Scripted(table, names=names)
        ReratingTeacher(Scripted(table, names=names), {"w": other}).label_batch(batch(*table))
        assert other.asked == [[str(c) for c in expected]]


def test_nothing_is_asked_again_without_high_ratings():
    rerate = teacher({"x": 0, "y": 1}, {})
    assert [r.value for r in rerate.label_batch(batch("x", "y")).labels] == [0, 1]
    assert not next(iter(rerate._others.values())).asked
    assert rerate.stats()["rerate_disagreement"] == 0.0


def test_rounds_do_not_wait_for_one_another():
    first, other = Scripted({"x": 4, "y": 0}), Scripted({"x": 4}, late=True)
    rerate = ReratingTeacher(first, {"w": other})
    slow, fast = rerate.submit(batch("x")), rerate.submit(batch("y"))
    assert fast.done() and not slow.done()
    other.release()
    assert slow.result(1).labels[0].value == 4


@pytest.mark.parametrize("where", [0, 1])
def test_a_failure_ends_the_round(where):
    table = [{"x": 4}, {"x": 4}]
    table[where] = {"x": RuntimeError("the ledger is full")}
    with refused(RuntimeError, shows="the ledger is full"):
        teacher(*table).submit(batch("x")).result(1)


def test_budget_close_and_what_only_the_first_offers():
    rerate = teacher({}, {}, {})
    others = list(rerate._others.values())
    others[1].budget_left = 3
    assert rerate.budget_left == 3
    assert rerate.check_endpoint() == ["a model"]
    assert rerate.texts()["rerating"] == "w0, w1"
    rerate.close(0.1)
    assert rerate.teacher.closed and all(o.closed for o in others)
    with pytest.raises(AttributeError):
        _ = rerate.nothing_of_the_kind


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"votes": 1}, Code.VALUE),
        ({"from_class": -2}, Code.VALUE),
        ({"undecided": "guess"}, Code.VALUE),
        ({"votes": 3}, Code.DOES_NOT_FIT),
        ({"from_class": 5}, Code.VALUE),
    ],
)
def test_options_that_make_no_sense_are_refused(options, code):
    with refused(ConfigError, parameter=f"vlm_rater.rerate.{next(iter(options))}", code=code):
        teacher({}, {}, **options)


def test_a_class_that_the_task_does_not_have_is_refused():
    with refused(ConfigError, parameter="vlm_rater.rerate.from_class", code=Code.DOES_NOT_FIT):
        ReratingTeacher(Scripted({}, names=CLASSES[:3]), {"w": Scripted({})}, ReratingConfig(from_class=3))


def test_soft_labels_of_the_first_are_kept_only_while_its_class_is():
    soft = np.array([0, 0, 0, 0.4, 0.6], np.float32)
    first = Scripted({"x": 4, "y": 4})
    answer = first.submit

    def with_soft(b):
        done = answer(b).result()
        future = Future()
        future.set_result(replace(done, labels=[replace(r, probabilities=soft) for r in done.labels]))
        return future

    first.submit = with_soft
    rerate = ReratingTeacher(first, {"a": Scripted({"x": 4, "y": 0}), "b": Scripted({"y": 0})})
    x, y = rerate.label_batch(batch("x", "y")).labels
    assert x.probabilities is soft
    assert (y.value, y.probabilities) == (0, None)
