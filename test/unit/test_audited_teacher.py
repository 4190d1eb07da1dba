# SPDX-License-Identifier: Apache-2.0
"""A share of the ratings is given once more by a trusted auditor: which, what becomes of them, what is kept."""

from __future__ import annotations

import numpy as np
import pytest
from factories import tagged_jpeg
from refusals import refused
from test_rerating import Scripted
from test_teachers import NAMES, TASK, segments, values_of

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.query import LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.file import AUDIT
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teacher_configs import AuditConfig
from erl_vlm_ros.feedback.teachers import make_teacher
from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
from erl_vlm_ros.feedback.teachers.record import Record
from erl_vlm_ros.feedback.teachers.replayed import ReplayedTeacher
from erl_vlm_ros.params.layers import read_parameter_file


class Rater(Scripted):
    """Answers by segment id, and says who it is."""

    def __init__(self, answers, name="vlm", **options):
        super().__init__(answers, names=NAMES, **options)
        self.name = name

    def texts(self):
        return {"teacher": self.name}

    def stats(self):
        return {"spent": 3.0, "in_flight": float(sum(len(b.segments) for b, _ in self.waiting))}


def segment(name, place):
    proprio = np.zeros((1, 10), np.float32)
    proprio[0, 6:9] = place
    return Segment(name, [tagged_jpeg(name)], proprio, np.zeros((1, 3)), np.array([7]))


def audited(told, truth, share=0.5, record=None, **options):
    return AuditedTeacher(Rater(told), Rater(truth, "human", **options), AuditConfig(share=share), record)


def ids(rater):
    return [name for asked in rater.asked for name in asked]


def test_the_auditors_answer_takes_the_place_of_the_teachers_and_is_marked():
    told, truth = {"a": 4, "b": 3, "c": 0, "d": 0}, {"a": 1, "b": 3}
    teacher = audited(told, truth)
    batch = QueryBatch.of(2, [segment(name, (0.1 * i, 0, 0)) for i, name in enumerate("abcd")])
    result = teacher.label_batch(batch)
    assert ids(teacher.auditor) == ["a", "b"]  # high ratings first
    assert [r.value for r in result.labels] == [1, 3, 0, 0]
    assert [r.audited for r in result.labels] == [True, True, False, False]
    assert (result.round, result.requested, result.teacher) == (2, 4, "vlm audited by human")
    stats = teacher.stats()
    assert stats["audits"] == 2 and stats["audit_agreement"] == 0.5 and stats["audit_too_high"] == 0.5
    assert teacher.texts()["teacher"] == "vlm audited by human"


def test_audits_are_spread_over_places_and_answers():
    # three views at one place that are told the same, one told otherwise, and one elsewhere
    near = [(0.300, 0, 0), (0.301, 0, 0), (0.302, 0, 0), (0.303, 0, 0), (0.5, 0, 0)]
    told = {"a": 4, "b": 4, "c": 4, "d": 3, "e": 2}
    teacher = audited(told, dict.fromkeys(told, 4), share=0.6)
    teacher.label_batch(QueryBatch.of(0, [segment(n, p) for n, p in zip(told, near)]))
    assert set(ids(teacher.auditor)) == {"a", "d", "e"}
    later = {"f": 4, "g": 1}  # the next round remembers what was audited
    teacher.teacher.answers, teacher.auditor.answers = later, dict.fromkeys(later, 0)
    teacher.label_batch(QueryBatch.of(1, [segment("f", near[0]), segment("g", (0.7, 0, 0))]))
    assert ids(teacher.auditor)[3:] == ["g"]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 1.0])
def test_as_many_as_the_share_says(share):
    told = {s.id: i % 5 for i, s in enumerate(segments(200))}
    teacher = audited(told, told, share=share)
    for i in range(20):
        teacher.label_batch(QueryBatch.of(i, segments(10, start=10 * i)))
        assert abs(len(ids(teacher.auditor)) - share * 10 * (i + 1)) <= 0.5
    assert teacher.stats()["audit_agreement"] == 1.0


def test_what_has_no_rating_may_be_audited_but_an_outage_is_not():
    told = {"a": -1, "b": 0}
    teacher = audited(told, {"a": 4, "b": 0}, share=0.5)
    places = {"a": (0.3, 0, 0), "b": (0.5, 0, 0)}
    result = teacher.label_batch(QueryBatch.of(0, [segment(n, p) for n, p in places.items()]))
    assert [(r.value, r.reason, r.audited) for r in result.labels] == [(4, "", True), (0, "", False)]
    assert teacher.stats()["audit_agreement"] == 0.0  # nothing to compare with
    down = audited({}, {})
    down.teacher.submit = lambda batch: _outage(batch)
    result = down.label_batch(QueryBatch.of(0, [segment(n, p) for n, p in places.items()]))
    assert [r.reason for r in result.labels] == ["endpoint_down"] * 2 and not down.auditor.asked


def _outage(batch):
    from concurrent.futures import Future

    from erl_vlm_ros.data.query import Label

    done = Future()
    rated = [Label.of(s, -1, "endpoint_down") for s in batch.segments]
    done.set_result(LabelBatch(batch.round, 5, len(rated), rated, "vlm"))
    return done


def test_what_the_auditor_leaves_keeps_the_teachers_rating():
    teacher = audited({"a": 4, "b": 3}, {"a": -1, "b": 2}, share=1.0)
    result = teacher.label_batch(QueryBatch.of(0, [segment("a", (0, 0, 0)), segment("b", (1, 0, 0))]))
    assert [(r.value, r.audited) for r in result.labels] == [(4, False), (2, True)]
    assert teacher.stats()["audit_unanswered"] == 1


def test_a_round_waits_for_its_audits_and_a_failure_ends_it():
    teacher = audited({"a": 4}, {"a": 2}, share=1.0, late=True)
    future = teacher.submit(QueryBatch.of(0, [segment("a", (0, 0, 0))]))
    assert not future.done() and teacher.stats()["audits_waiting"] == 1
    teacher.auditor.release()
    assert future.result(0).labels[0].value == 2
    broken = audited({"a": 4}, {"a": OSError("no page")}, share=1.0)
    with refused(OSError, shows="no page"):
        broken.label_batch(QueryBatch.of(0, [segment("a", (0, 0, 0))]))
    broken.close()
    assert broken.teacher.closed and broken.auditor.closed


def test_audits_are_recorded_and_replayed_as_such(tmp_path):
    batch = QueryBatch.of(0, segments(6))
    told = {s.id: i % 5 for i, s in enumerate(batch.segments)}
    with_ledger = Ledger(tmp_path / "ledger.sqlite")
    Record(with_ledger, TASK.name, NAMES, "vlm").add(0, [_outcome(s, told[s.id]) for s in batch.segments])
    record = Record(with_ledger, TASK.name, NAMES, AUDIT, "vlm audited by human")
    teacher = audited(told, dict.fromkeys(told, 2), share=0.5, record=record)
    result = teacher.label_batch(batch)
    replay = ReplayedTeacher("", with_ledger, TASK, 5).label_batch(batch)
    assert [(r.value, r.audited) for r in replay.labels] == [(r.value, r.audited) for r in result.labels]
    assert sum(r.audited for r in replay.labels) == 3
    model_only = ReplayedTeacher("", with_ledger, TASK, 5, model="vlm").label_batch(batch)
    assert [r.value for r in model_only.labels] == list(told.values())
    with_ledger.close()


def _outcome(segment, rating):
    from erl_vlm_ros.feedback.teachers.record import Outcome

    return Outcome(Query(segment), rating)


def test_the_mark_travels():
    teacher = audited({"a": 4, "b": 0}, {"a": 1}, share=0.5)
    result = teacher.label_batch(QueryBatch.of(0, [segment("a", (0, 0, 0)), segment("b", (1, 0, 0))]))
    back = LabelBatch.from_bundle(decode(encode(result.to_bundle()), "labels"))
    assert [r.audited for r in back.labels] == [True, False] and back.teacher == result.teacher


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"teacher": "human"}, {"parameter": "vlm_rater.audit.share", "code": Code.DOES_NOT_FIT}),
        (
            {"teacher": "scripted", "audit.teacher": "scripted"},
            {"parameter": "vlm_rater.audit.share", "code": Code.DOES_NOT_FIT},
        ),
        ({"teacher": "ledger"}, {"parameter": "vlm_rater.audit.share", "code": Code.DOES_NOT_FIT}),
        (
            {"audit.teacher": "vlm"},
            {"parameter": "vlm_rater.audit.model", "code": Code.NOT_GIVEN, "shows": "audit.base_url"},
        ),
    ],
)
def test_audits_that_make_no_sense_are_refused(tmp_path, changes, fields):
    values = values_of(**{"audit.share": 0.1, "human.port": 0} | changes)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with refused(ConfigError, **fields):
        make_teacher(values["teacher"], values, TASK, ledger)
    ledger.close()
    with refused(ConfigError, parameter="vlm_rater.audit.share"):
        AuditConfig(share=1.5)


def test_a_person_audits_a_model_from_parameters(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    teacher = make_teacher("vlm", values_of(**{"audit.share": 0.1, "human.port": 0}), TASK, ledger)
    assert isinstance(teacher, AuditedTeacher) and teacher.name == "vlm audited by human"
    assert teacher.auditor.page.url.startswith("http://127.0.0.1:")
    assert teacher.auditor.config.round_timeout_s == 120.0  # a round without a person goes out after that
    other = values_of(
        **{"audit.share": 0.1, "audit.teacher": "vlm", "audit.model": "better", "feedback": "transitions"}
    )
    teacher.close()
    teacher = make_teacher("vlm", other, TASK, ledger)
    assert teacher.auditor.cfg.model == "better" and teacher.teacher.cfg.model == "stand-in"
    assert teacher.auditor.cfg.feedback == "rating"  # it gets single transitions
    teacher.close()
    ledger.close()


def test_the_shipped_files_against_systematic_errors_tell_the_reward_model_the_same():
    audited, asked = (
        read_parameter_file(resource(f"config/params/{n}.yaml")) for n in ("audited", "systematic_errors")
    )
    assert audited["reward_trainer"] == asked["reward_trainer"]  # what benchmarks/teachers.py measures with either
    assert audited["vlm_rater"]["audit.share"] == 0.1
