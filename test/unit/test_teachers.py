# SPDX-License-Identifier: Apache-2.0
"""Teachers without a page: the simulation's truth with errors, votes, replay, joystick; made from parameters."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from concurrent.futures import Future

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import PREFERENCE, RATING, TRANSITIONS
from erl_vlm_ros.feedback.kinds.base import BadQuery
from erl_vlm_ros.feedback.ledger.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.noise_model import NoiseModel
from erl_vlm_ros.feedback.teacher_configs import HumanConfig, ScriptedConfig, VoteConfig
from erl_vlm_ros.feedback.teachers import TEACHERS, make_teacher
from erl_vlm_ros.feedback.teachers.build import ensemble_members
from erl_vlm_ros.feedback.teachers.ensemble import EnsembleTeacher, count_votes
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.teachers.joy import JoyPresses
from erl_vlm_ros.feedback.teachers.record import Record
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.standin.server import StandinServer
from erl_vlm_ros.training.configs import node_values

TASK = load_task("drawer_open")
NAMES = TASK.class_names(5)


def segments(count, spread=True, h=1, start=0):
    """Segments with stamps start, start + 1, ...; the end effector is in another place in each when ``spread``."""
    out = []
    for i in range(start, start + count):
        proprio = np.zeros((h, 10), np.float32)
        proprio[:, 6:9] = (0.3 + 0.013 * i, 0.0, 0.1) if spread else (0.3, 0.0, 0.1)
        jpegs = [b"\xff\xd8" + f"{i} {k}".encode() for k in range(h)]
        out.append(Segment(f"e0_t{i + h - 1}_h{h}", jpegs, proprio, np.zeros((h, 3)), np.arange(i, i + h)))
    return out


def truth(value, n=5):
    classes = {2: int(value == 4), 3: (0, 0, 1, 1, 2)[value], 4: (0, 1, 2, 2, 3)[value], 5: value}
    return {"progress": value / 4, "success": float(value == 4)} | {f"class_{k}": float(v) for k, v in classes.items()}


def scripted(record=None, kind=RATING, **options):
    return ScriptedTeacher(ScriptedConfig(**options), TASK.name, NAMES, record, kind)


def rate_all(teacher, batch, value=lambda i: i % 5):
    future = teacher.submit(QueryBatch.of(0, batch))
    for segment in batch:
        for stamp in segment.stamps.tolist():
            teacher.add_truth(stamp, truth(value(stamp)))
    return future.result(timeout=10)


# -- scripted


def test_scripted_ratings_are_the_truth_and_say_who_made_them():
    teacher = scripted()
    batch = rate_all(teacher, segments(20))
    assert [r.value for r in batch.labels] == [i % 5 for i in range(20)]
    assert batch.teacher == "scripted" and teacher.stats()["scripted"] == 1.0
    assert teacher.texts()["teacher"] == "scripted"


def test_truth_may_come_before_or_after_and_what_never_comes_is_no_rating():
    teacher = scripted(timeout_s=0.3)
    teacher.add_truth(0, truth(3))
    future = teacher.submit(QueryBatch.of(0, segments(3)))
    assert not future.done()
    teacher.add_truth(1, truth(4))
    batch = future.result(timeout=10)
    assert [(r.value, r.reason) for r in batch.labels] == [(3, ""), (4, ""), (-1, "no_truth")]
    teacher.add_truth(2, truth(1))  # too late
    assert teacher.stats()["reason_no_truth"] == 1 and teacher.stats()["in_flight"] == 0


def test_independent_errors_come_at_their_rate_and_the_same_frame_keeps_its_rating():
    batch = segments(600)
    first = [r.value for r in rate_all(scripted(error_rate=0.3, seed=3), batch).labels]
    wrong = np.mean([r != i % 5 for i, r in enumerate(first)])
    assert 0.24 < wrong < 0.36
    assert first == [r.value for r in rate_all(scripted(error_rate=0.3, seed=3), batch[::-1]).labels][::-1]
    assert first != [r.value for r in rate_all(scripted(error_rate=0.3, seed=4), batch).labels]
    teacher = scripted(error_rate=0.3, seed=3)
    draws = {teacher.judge(Query(batch[0]), 2, 2, sample) for sample in range(40)}
    assert 2 in draws and len(draws) > 1


def test_systematic_errors_hit_whole_kinds_of_view():
    teacher = scripted(systematic_rate=0.3, seed=1)
    by_kind: dict[int, Counter] = {}
    for segment in segments(400):
        by_kind.setdefault(int(segment.proprio[0, 6] // 0.08), Counter())[teacher.judge(Query(segment), 2, 2)] += 1
    assert all(len(counts) == 1 for counts in by_kind.values())  # every view of a kind is judged alike
    wrong = np.mean([2 not in counts for counts in by_kind.values()])
    assert 0.1 < wrong < 0.5


@pytest.mark.parametrize("errors", ["over", "under"])
def test_errors_may_be_of_one_direction(errors):
    given = [r.value for r in rate_all(scripted(error_rate=0.5, errors=errors), segments(100)).labels]
    off = np.array(given) - np.arange(100) % 5
    assert (off * (1 if errors == "over" else -1) >= 0).all() and 20 < np.count_nonzero(off) < 60
    with refused(ConfigError, parameter="vlm_rater.scripted.errors", code=Code.DOES_NOT_FIT):
        scripted(error_rate=0.5, errors=errors, kind=PREFERENCE)


def test_a_confusion_matrix_and_a_file_decide_how_it_errs(tmp_path):
    confusion = np.eye(5)
    confusion[1] = [0.0, 0.0, 1.0, 0.0, 0.0]
    batch = segments(10)
    by_matrix = [r.value for r in rate_all(scripted(confusion=confusion.ravel().tolist()), batch).labels]
    assert by_matrix == [0, 2, 2, 3, 4] * 2
    NoiseModel(confusion, task=TASK.name).save(tmp_path / "noise.yaml")
    assert by_matrix == [r.value for r in rate_all(scripted(noise_model=str(tmp_path / "noise.yaml")), batch).labels]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"error_rate": 1.5}, {"parameter": "vlm_rater.scripted.error_rate"}),
        ({"systematic_rate": -0.1}, {"parameter": "vlm_rater.scripted.systematic_rate"}),
        ({"errors": "up"}, {"parameter": "vlm_rater.scripted.errors"}),
        ({"confusion": [0.5, 0.5]}, {"parameter": "vlm_rater.scripted.confusion", "code": Code.DOES_NOT_FIT}),
        ({"confusion": [0.5] * 25}, {"parameter": "vlm_rater.scripted.confusion"}),
        ({"noise_model": "/no/such.yaml"}, {"code": Code.MISSING_FILE, "file": "/no/such.yaml"}),
    ],
)
def test_errors_that_make_no_sense_are_refused(options, fields):
    with refused(ConfigError, **fields):
        scripted(**options)


def test_scripted_ratings_are_recorded_as_such_and_replayed_as_such(tmp_path):
    values = node_values("vlm_rater", TASK, {"teacher": "scripted"})
    with Ledger(tmp_path / "l.sqlite") as ledger:
        teacher = make_teacher("scripted", values, TASK, ledger)
        given = [r.value for r in rate_all(teacher, segments(8)).labels]
        teacher.close()
        assert ledger.run(lambda db: db.execute("SELECT DISTINCT source FROM queries").fetchall()) == [("scripted",)]
        assert ledger.spending.queries == 0
    values = node_values("vlm_rater", TASK, {"replay.ledger": str(tmp_path / "l.sqlite")})
    with Ledger(tmp_path / "own.sqlite") as own:
        replayed = make_teacher("ledger", values, TASK, own)
        batch = replayed.label_batch(QueryBatch.of(0, segments(9)))
        assert [r.value for r in batch.labels] == [*given, -1] and batch.labels[-1].reason == "not_in_ledger"
        assert batch.teacher == replayed.texts()["teacher"] == "scripted"
        replayed.close()


def test_each_transition_by_the_truth():
    batch = rate_all(scripted(kind=TRANSITIONS), segments(1, h=4))
    assert [(r.segment.id, r.value) for r in batch.labels] == [("e0_t1_h1", 1), ("e0_t2_h1", 2), ("e0_t3_h1", 3)]
    with refused(BadQuery, shows="segment_length"):
        scripted(kind=TRANSITIONS).submit(QueryBatch.of(0, segments(1)))


# -- votes


@pytest.mark.parametrize(
    ("votes", "config", "rating", "reason"),
    [
        ([2, 2, 1], {}, 2, ""),
        ([2, 1], {}, -1, "disagreement"),
        ([2, 2, 1, 1, 0], {}, -1, "disagreement"),
        ([2, 2, 1], {"min_margin": 0.34}, -1, "disagreement"),
        ([2, 2, 1], {"min_margin": 1 / 3}, 2, ""),
        ([2, 2, -1], {"min_margin": 1.0}, 2, ""),
        ([2, -1, -1], {}, -1, "too_few_votes"),
        ([2, -1, -1], {"min_votes": 1}, 2, ""),
        ([-1, -1], {"min_votes": 1}, -1, "too_few_votes"),
    ],
)
def test_majority_margin_and_abstention(votes, config, rating, reason):
    got, why, shares = count_votes(votes, 3, VoteConfig(**config))
    assert (got, why) == (rating, reason)
    given = [v for v in votes if v >= 0]
    if why != "too_few_votes":
        np.testing.assert_allclose(shares, np.bincount(given, minlength=3) / len(given), atol=1e-6)


class Fixed:
    """A member that answers what it is told, when it is told."""

    def __init__(self, ratings=(), error=None, hold=False):
        self.ratings, self.error, self.hold = ratings, error, hold
        self.kind, self.class_names, self.budget_left, self.closed = RATING, NAMES, 7, False
        self.waiting = []

    def submit(self, batch):
        future = Future()
        self.waiting.append((batch, future))
        if not self.hold:
            self.release()
        return future

    def release(self):
        for batch, future in self.waiting:
            if self.error is not None:
                future.set_exception(self.error)
            else:
                rated = [Label.of(s, r, "" if r >= 0 else "refusal") for s, r in zip(batch.segments, self.ratings)]
                future.set_result(LabelBatch(batch.round, 5, len(rated), rated, "vlm"))
        self.waiting = []

    def stats(self):
        return {"spent_queries": 4.0, "tokens_in": 10.0, "latency_s": 1.0, "valid": 3.0}

    def texts(self):
        return {"teacher": "vlm", "model": "m", "currency": "USD"}

    def close(self, grace_s=0.0):
        self.closed = True


def test_an_ensemble_votes_and_offers_soft_labels(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        members = {"a": Fixed([4, 1, 0, -1]), "b": Fixed([4, 2, 1, -1]), "c": Fixed([3, 2, 2, 4])}
        ensemble = EnsembleTeacher(members, VoteConfig(), Record(ledger, TASK.name, NAMES, "ensemble", "a + b + c"))
        batch = ensemble.label_batch(QueryBatch.of(2, segments(4)))
        assert [(r.value, r.reason) for r in batch.labels] == [
            (4, ""), (2, ""), (-1, "disagreement"), (-1, "refusal"),
        ]  # fmt: skip
        np.testing.assert_allclose(batch.labels[0].probabilities, [0, 0, 0, 1 / 3, 2 / 3], atol=1e-6)
        assert batch.labels[2].probabilities is None and batch.teacher == "ensemble" and batch.round == 2
        stats = ensemble.stats()
        assert stats["disagreement"] == pytest.approx((1 / 3 + 1 / 3 + 2 / 3) / 3)
        assert (stats["agree_a"], stats["agree_b"], stats["agree_c"]) == (0.5, 1.0, 0.5)
        assert (stats["spent_queries"], stats["tokens_in"], stats["budget_left"]) == (4.0, 30.0, 2.0)
        assert ensemble.texts()["members"] == "a, b, c" and ensemble.texts()["model_b"] == "m"
        values = node_values("vlm_rater", TASK)
        replayed = make_teacher("ledger", values, TASK, ledger).label_batch(QueryBatch.of(2, segments(4)))
        assert [r.value for r in replayed.labels] == [4, 2, -1, -1] and replayed.teacher == "ledger"
        np.testing.assert_allclose(replayed.labels[0].probabilities, [0, 0, 0, 0.333333, 0.666667], atol=1e-5)
        ensemble.close()
    assert all(m.closed for m in members.values())


def test_a_dead_or_slow_member_has_no_vote():
    dead, slow = Fixed(error=RuntimeError("gone")), Fixed([0, 0], hold=True)
    members = {"a": Fixed([4, 1]), "b": Fixed([4, 1]), "dead": dead, "slow": slow}
    ensemble = EnsembleTeacher(members, VoteConfig(min_votes=2, straggler_s=0.2))
    batch = ensemble.submit(QueryBatch.of(0, segments(2))).result(timeout=10)
    assert [r.value for r in batch.labels] == [4, 1]
    slow.release()  # its late answer changes nothing
    assert ensemble.stats()["in_flight"] == 0 and ensemble.stats()["requested"] == 2


def test_when_all_members_fail_the_round_fails_with_their_error():
    members = {"a": Fixed(error=LedgerError("disk full")), "b": Fixed(error=LedgerError("disk full"))}
    with refused(LedgerError, shows="disk full"):
        EnsembleTeacher(members, VoteConfig()).label_batch(QueryBatch.of(0, segments(1)))


def test_ensembles_that_make_no_sense_are_refused():
    with refused(ConfigError, parameter="vlm_rater.ensemble.votes", code=Code.NOT_GIVEN):
        EnsembleTeacher({"a": Fixed()}, VoteConfig())
    with refused(ConfigError, parameter="vlm_rater.ensemble.min_votes", code=Code.DOES_NOT_FIT):
        EnsembleTeacher({"a": Fixed(), "b": Fixed()}, VoteConfig(min_votes=3))
    with refused(ConfigError, parameter="vlm_rater.ensemble.min_margin"):
        VoteConfig(min_margin=2.0)


def values_of(**changes):
    return node_values("vlm_rater", TASK, {key.replace("__", "."): value for key, value in changes.items()})


def test_members_from_parameters():
    members = ensemble_members(
        values_of(
            model="base", ensemble__models=["", "other"], ensemble__base_urls=["http://x/v1"], ensemble__votes=2,
            ensemble__temperature=0.5,
        )
    )  # fmt: skip
    assert [(name, repeat) for name, _, repeat in members] == [
        ("base #1", 0), ("base #2", 1), ("other #1", 0), ("other #2", 1),
    ]  # fmt: skip
    assert {cfg.base_url for _, cfg, _ in members} == {"http://x/v1"}
    assert {cfg.temperature for _, cfg, _ in members} == {0.5}
    worded = ensemble_members(values_of(model="m", ensemble__prompts=["", "reworded", "mirrored"]))
    assert [name for name, _, _ in worded] == ["m", "m reworded", "m mirrored"]
    assert {cfg.temperature for _, cfg, _ in worded} == {0.0}
    with refused(ConfigError, parameter="vlm_rater.ensemble.models", code=Code.DOES_NOT_FIT):
        ensemble_members(values_of(ensemble__models=["a", "a"]))
    with refused(ConfigError, parameter="vlm_rater.ensemble.prompts", code=Code.DOES_NOT_FIT):
        ensemble_members(values_of(ensemble__models=["a", "b", "c"], ensemble__prompts=["default", "reworded"]))


class ImageMind:
    """Answers by the brightness of the left half of the image: a mirrored one looks different."""

    def __init__(self):
        self.models = Counter()

    def answer(self, request):
        self.models[request["model"]] += 1
        content = request["messages"][0]["content"]
        if not isinstance(content, list):
            names = request["response_format"]["json_schema"]["schema"]["properties"]["rating"]["enum"]
            return json.dumps({"rating": names[int(re.search(r"left is (\d)", content).group(1))]})
        jpeg = base64.b64decode(content[0]["image_url"]["url"].partition(",")[2])
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        return f"left is {int(image[:, :16].mean() > 128)}"


def test_an_ensemble_over_views_asks_an_endpoint(tmp_path):
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, :16] = 255
    segment = Segment("e0_t1_h1", [encode_jpeg(half)], np.zeros((1, 10)), np.zeros((1, 3)), np.arange(1))
    answerer = ImageMind()
    with StandinServer(answerer) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        values = values_of(
            n_classes=2, base_url=server.base_url, model="m", ensemble__prompts=["", "reworded", "mirrored"]
        )
        ensemble = make_teacher("ensemble", values, TASK, ledger)
        ensemble.check_endpoint()
        batch = ensemble.label_batch(QueryBatch.of(0, [segment]))
        assert batch.labels[0].value == 1 and batch.labels[0].segment.jpegs == segment.jpegs
        np.testing.assert_allclose(batch.labels[0].probabilities, [1 / 3, 2 / 3], atol=1e-6)
        assert ensemble.stats()["spent_queries"] == 3  # the budget is that of the ledger
        ensemble.close()
        repeated = make_teacher("ensemble", {**values, "ensemble.prompts": [""], "ensemble.votes": 3}, TASK, ledger)
        before = sum(answerer.models.values())
        assert repeated.label_batch(QueryBatch.of(1, [segment])).labels[0].value == 1
        assert sum(answerer.models.values()) - before == 6  # two stages, three times: no vote is another's echo
        repeated.close()


# -- made from parameters


def test_every_teacher_is_a_choice_of_the_parameter():
    from erl_vlm_ros.params.tables import PARAMETERS

    (param,) = [p for p in PARAMETERS["vlm_rater"] if p.name == "teacher"]
    assert set(param.choices) == set(TEACHERS)


def test_a_model_and_a_person_from_parameters(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        vlm = make_teacher("vlm", values_of(), TASK, ledger)
        assert isinstance(vlm, VlmRater) and vlm.texts()["teacher"] == "vlm"
        vlm.close()
        human = make_teacher("human", values_of(human__port=0, n_classes=3), TASK, ledger)
        assert human.class_names == TASK.class_names(3) and human.page.url.startswith("http://127.0.0.1:")
        human.close()
        with refused(ConfigError, parameter="vlm_rater.teacher", code=Code.UNKNOWN):
            make_teacher("oracle", values_of(), TASK, ledger)
        with refused(
            ConfigError, parameter="vlm_rater.replay.ledger", code=Code.MISSING_FILE, file=tmp_path / "none.sqlite"
        ):
            make_teacher("ledger", values_of(replay__ledger=str(tmp_path / "none.sqlite")), TASK, ledger)
        with refused(ConfigError, parameter="classes.7", code=Code.NOT_GIVEN, file=TASK.path):
            make_teacher("human", {**values_of(), "n_classes": 7}, TASK, ledger)


def test_joystick_buttons_rate_skip_and_take_back():
    teacher = HumanTeacher(HumanConfig(undo_s=60.0), TASK, 3, None)
    joy = JoyPresses(teacher, [0, 1, 4], skip=2, undo=3)
    assert joy.used and not joy.buttons([1, 0, 0, 0, 0])  # nothing to rate yet
    assert not joy.buttons([0, 0, 0, 0, 0])
    future = teacher.submit(QueryBatch.of(0, segments(3)))
    assert joy.buttons([0, 0, 0, 0, 1])
    assert not joy.buttons([0, 0, 0, 0, 1])  # still held
    assert joy.buttons([0, 0, 1, 0, 0])
    joy.buttons([0, 0, 0, 0, 0])
    assert joy.buttons([0, 0, 0, 1, 0])
    assert joy.buttons([0, 1, 0, 0, 0])
    joy.buttons([0, 0, 0, 0, 0])
    assert joy.buttons([1, 0, 0, 0, 0])
    teacher.close()
    assert [r.value for r in future.result(timeout=10).labels] == [2, 1, 0]
    assert not JoyPresses(teacher, None).used
    for wrong in (([0, 1],), ([0, 1, 1],), ([0, 1, 2], 2), ([0, 1, -1],)):
        with refused(ConfigError, parameter="vlm_rater.human.joy_buttons", code=Code.DOES_NOT_FIT):
            JoyPresses(teacher, *wrong)
