# SPDX-License-Identifier: Apache-2.0
"""Kinds of feedback: what each says of itself, and one from outside the package through teachers, ledger and loop."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_feedback import COIN

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.selection import Candidates, SelectionConfig, select
from erl_vlm_ros.feedback.kinds import RATING, TRANSITIONS, BadQuery, FeedbackKind, kind_named, known_kind, register
from erl_vlm_ros.feedback.ledger.file import SCHEMA_VERSION, open_file
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.ledger.reparse import reparse
from erl_vlm_ros.feedback.teacher_configs import ScriptedConfig
from erl_vlm_ros.feedback.teachers.record import Outcome, Record
from erl_vlm_ros.feedback.teachers.replayed import ReplayedTeacher
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.vlm.answer import Answer
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.question import QuestionMaker
from erl_vlm_ros.monitoring.record import RunRecord

TASK = load_task("drawer_open")


def segment(i=0, h=1, names=()):
    rng = np.random.default_rng(i)
    extras = rng.normal(size=(h, len(names)))
    return Segment(
        f"e0_t{i + h}_h{h}", [b"\xff\xd8" + bytes([i % 250, k]) for k in range(h)], rng.normal(size=(h, 10)),
        rng.normal(size=(h, 3)), np.arange(h) + 100 * i, extras, names,
    )  # fmt: skip


class Pair(FeedbackKind):
    """Which of two segments is further: only what a test of pairs needs."""

    name, size, captions = "test_pair", 2, ("First:", "Second:")
    templates = RATING.templates

    def draw(self, candidates, count, config, rng):
        return []

    def classes(self, task, n_classes=0):
        return [replace(c, name=name) for c, name in zip(task.classes[3], ("first", "second", "neither"))]

    def schema(self, names, count):
        return RATING.schema(names, count)

    def parse(self, text, names, count):
        return RATING.parse(text, names, count)

    def truth(self, truths, n_classes):
        first, second = (truth["progress"] for truth in truths)
        return 2 if first == second else int(second > first)


PAIR = register(Pair())


# -- the registry


def test_kinds_are_found_by_name_and_by_module():
    assert kind_named("rating") is RATING and kind_named("transitions") is TRANSITIONS
    assert kind_named("toy_feedback:COIN") is COIN and known_kind("coin_flip") is COIN
    assert kind_named("coin_flip") is COIN  # known by its name from now on
    assert known_kind("os:path") is None  # nothing is imported for a name in a message


@pytest.mark.parametrize("name", ["ratings", "", "toy_feedback:NOT_A_KIND", "toy_feedback:NONE", "no_module:X", ":X"])
def test_what_is_no_kind_is_refused(name):
    with pytest.raises(ConfigError):
        kind_named(name)


def test_a_name_belongs_to_one_kind():
    class Rating(Pair):
        name = "rating"

    with pytest.raises(ConfigError):
        register(Rating())
    assert kind_named("rating") is RATING


# -- what each kind says of itself


def test_rating_draws_as_the_selection_does():
    observations = np.random.default_rng(0).normal(size=(50, 4))
    candidates = Candidates(observations, np.arange(50) < 5)
    drawn = RATING.draw(candidates, 12, SelectionConfig(), np.random.default_rng(3))
    chosen = select(candidates, 12, SelectionConfig(), np.random.default_rng(3))
    assert (
        drawn
        == [(int(i),) for i in chosen]
        == TRANSITIONS.draw(candidates, 12, SelectionConfig(), np.random.default_rng(3))
    )


def test_parts_of_a_query():
    query = Query(segment(1, h=4))
    assert RATING.parts(query) == [query] and RATING.part is RATING
    parts = TRANSITIONS.parts(query)
    assert [part[0].jpegs for part in parts] == [[jpeg] for jpeg in query.jpegs[1:]]
    assert TRANSITIONS.part is RATING


@pytest.mark.parametrize(
    ("kind", "query", "reason"),
    [
        (TRANSITIONS, Query(segment(h=1)), "too_short"),
        (RATING, Query(segment(1), segment(2)), "bad_query"),
        (PAIR, Query(segment(1)), "bad_query"),
    ],
)
def test_a_query_that_does_not_fit_its_kind(kind, query, reason):
    with pytest.raises(BadQuery) as caught:
        kind.parts(query)
    assert caught.value.reason == reason


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))
def test_a_query_survives_the_ledgers_row(size, h, extras):
    names = tuple(f"wrench_{i}" for i in range(extras))
    query = Query(*(segment(7 * i, h, names) for i in range(size)))
    back = RATING.from_row(query.id, query.jpegs, *RATING.to_row(query))
    assert back.id == query.id and len(back) == size
    for one, other in zip(query, back):
        assert one.spaces == other.spaces
        assert one.jpegs == other.jpegs and one.extra_names == other.extra_names
        for name in ("proprio", "actions", "stamps", "extras"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_stakes_are_high_where_a_policy_is_drawn_to():
    np.testing.assert_array_equal(RATING.stakes(np.array([0, 2, 4, NO_LABEL]), 5), [0, 0.5, 1, 0.5])


# -- a question about two segments


def test_each_segment_of_a_query_is_shown_under_its_caption():
    prompts = load_prompts(TASK, 3, kind=PAIR)
    names = PAIR.class_names(TASK)
    maker = QuestionMaker(RaterConfig(n_classes=3, two_stage=False), TASK, prompts, names)
    question = maker.make(Query(segment(1, h=2), segment(2, h=2)))
    content = maker.request(question, "rating")["messages"][0]["content"]
    kinds = [part["text"] if part["type"] == "text" else "image" for part in content]
    assert kinds[:-1] == ["First:", "image", "image", "Second:", "image", "image"]
    turned = maker.make(Query(segment(2, h=2), segment(1, h=2)))
    assert turned.digest != question.digest  # the order is part of the question
    assert maker.read(question, json.dumps({"rating": "second"}), "") == ([1], "")
    assert maker.read(question, "", "refusal") == ([-1], "refusal")


def test_the_truth_about_both_segments_answers_a_comparison():
    teacher = ScriptedTeacher(ScriptedConfig(), TASK.name, PAIR.class_names(TASK), None, PAIR)
    future = teacher.submit(QueryBatch(4, [Query(segment(1), segment(2)), Query(segment(2), segment(3))], PAIR.name))
    for i, progress in ((3, 0.9), (1, 0.2), (2, 0.9)):  # in any order
        teacher.add_truth(100 * i, {"progress": progress, "class_5": 1.0})
    batch = future.result(timeout=10)
    assert [label.value for label in batch.labels] == [1, 2] and batch.kind == PAIR.name


def test_the_monitor_judges_comparisons_by_their_kind():
    names = PAIR.class_names(TASK)
    record = RunRecord("drawer_open", 0, {}, 100, 10, 0.0, true_class=lambda kind, truths, n: PAIR.truth(truths, n))
    pairs = [Query(segment(1), segment(2)), Query(segment(2), segment(1))]
    labels = [Label(pairs[0], 1), Label(pairs[1], 1)]
    record.add_labels(LabelBatch(0, 3, 2, labels, "vlm", PAIR.name, names))
    for i, progress in ((1, 0.2), (2, 0.9)):
        record.add_truth(100 * i, {"progress": progress, "success": 0.0})
    assert record.rating_accuracy == 0.5 and record.last_rating == "second" and record.class_names[3] == names


# -- the ledger


@pytest.mark.parametrize("kind", [RATING, PAIR, COIN])
def test_labels_of_a_kind_are_kept_and_replayed_as_such(tmp_path, kind):
    assert kind_named("toy_feedback:COIN") is COIN  # a ledger is read by names
    names = kind.class_names(TASK, 3)
    queries = [Query(*(segment(10 * i + k) for k in range(kind.size))) for i in range(4)]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        record = Record(ledger, TASK.name, names, "human", kind=kind)
        record.add(0, [Outcome(query, i % len(names)) for i, query in enumerate(queries)])
        assert record.known(queries[1], 0) == (1, "") and record.known(queries[1], 1) is None
        assert [label.value for _, label in ledger.labels(kind=kind.name)] == [i % len(names) for i in range(4)]
        assert all(len(label.query) == kind.size for _, label in ledger.labels(TASK.name))
        teacher = ReplayedTeacher("", ledger, TASK, 3, kind=kind)
        batch = teacher.label_batch(QueryBatch(9, queries, kind.name))
        assert [label.value for label in batch.labels] == [i % len(names) for i in range(4)]
        assert batch.kind == kind.name
        others = [other for other in (RATING, PAIR, COIN) if other is not kind]
        for other in others:
            assert not ledger.labels(kind=other.name)


def test_rows_of_a_kind_that_is_not_known_stay_and_are_left_out(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        Record(ledger, TASK.name, ["a", "b"], "human").add(0, [Outcome(Query(segment()), 1)])
        ledger.run(lambda db: db.execute("UPDATE queries SET kind = 'of_tomorrow'") and None)
        assert ledger.labels() == [] and reparse(ledger) == (0, 0)
        assert ledger.run(lambda db: db.execute("SELECT COUNT(*) FROM ratings").fetchone()[0]) == 1


# As release 0.1 made it.
_VERSION_2 = """
CREATE TABLE images (hash TEXT PRIMARY KEY, jpeg BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE queries (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, content TEXT NOT NULL, segment_id TEXT NOT NULL, round INTEGER NOT NULL,
  source TEXT NOT NULL, task TEXT NOT NULL, n_classes INTEGER NOT NULL, classes TEXT NOT NULL, model TEXT NOT NULL,
  params TEXT NOT NULL, prompts TEXT NOT NULL, images TEXT NOT NULL, shapes TEXT NOT NULL,
  proprio BLOB NOT NULL, actions BLOB NOT NULL, extras BLOB NOT NULL, stamps BLOB NOT NULL,
  created REAL NOT NULL, UNIQUE (hash, segment_id, round));
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL, charged INTEGER NOT NULL,
  tokens INTEGER NOT NULL, money REAL NOT NULL, currency TEXT NOT NULL, detail TEXT NOT NULL, sent REAL NOT NULL,
  ended REAL);
CREATE TABLE answers (
  hash TEXT NOT NULL, stage TEXT NOT NULL, text TEXT NOT NULL, problem TEXT NOT NULL, model TEXT NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency_s REAL NOT NULL, cost REAL NOT NULL,
  currency TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (hash, stage));
CREATE TABLE ratings (
  query INTEGER PRIMARY KEY REFERENCES queries (id), rating INTEGER NOT NULL, reason TEXT NOT NULL,
  attempts INTEGER NOT NULL, parser_version INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX queries_content ON queries (content);
CREATE INDEX attempts_charged ON attempts (hash) WHERE charged = 1;
PRAGMA application_id=1163021398;
PRAGMA user_version=2;
"""


def old_ledger(path):
    """One rating, and one question about three frames whose two transitions have rows of their own."""
    names = json.dumps(TASK.class_names(3))
    with Ledger(path.with_suffix(".new")) as ledger:  # rows of today give the columns that have not changed
        whole, single = Query(segment(20, h=3)), Query(segment(5))
        for digest, query in (("a" * 64, single), ("b" * 64, whole)):
            ledger.add_query(digest, query, 1, "endpoint", TASK.name, 3, "m", {}, {}, [], RATING).result()
        for i, part in enumerate(TRANSITIONS.parts(whole), start=1):
            row = (f"{'b' * 64}.{i}", part, 1, "transition", TASK.name, 3, "m", {}, {}, [])
            ledger.add_query(*row).result()
        columns = ledger.run(lambda db: [c[1] for c in db.execute("PRAGMA table_info(queries)") if c[1] != "kind"])
        rows = ledger.run(lambda db: db.execute(f"SELECT {', '.join(columns)} FROM queries ORDER BY id").fetchall())
        images = ledger.run(lambda db: db.execute("SELECT * FROM images").fetchall())
    db = sqlite3.connect(path)
    db.executescript(_VERSION_2)
    db.executemany(f"INSERT INTO queries ({', '.join(columns)}) VALUES ({','.join('?' * len(columns))})", rows)
    db.executemany("INSERT INTO images VALUES (?,?)", images)
    db.execute("UPDATE queries SET classes = ? WHERE source = 'transition' OR hash LIKE 'a%'", (names,))
    for digest, text in (("a", '{"rating": "Good"}'), ("b", "Bad, Good")):
        row = (digest * 64, "rating", text, "", "m", 10, 2, 0.5, 0.01, "USD", 1.0)
        db.execute(f"INSERT INTO answers VALUES ({','.join('?' * len(row))})", row)
        attempt = (digest * 64, "rating", "answered", 1, 12, 0.01, "USD", "", 1.0, 1.5)
        db.execute(
            "INSERT INTO attempts (hash, stage, state, charged, tokens, money, currency, detail, sent, ended)"
            f" VALUES ({','.join('?' * len(attempt))})",
            attempt,
        )
    by_hash = dict(db.execute("SELECT hash, id FROM queries"))
    for digest, rating in (("a" * 64, 2), (f"{'b' * 64}.1", 0), (f"{'b' * 64}.2", 2)):
        db.execute("INSERT INTO ratings VALUES (?,?,'',1,1,1.0)", (by_hash[digest], rating))
    db.commit()
    db.close()
    return single, whole


def test_a_ledger_of_the_released_layout_is_read_and_brought_up(tmp_path):
    path = tmp_path / "old.sqlite"
    single, whole = old_ledger(path)
    with Ledger(path) as ledger:
        kinds = dict(ledger.run(lambda db: db.execute("SELECT hash, kind FROM queries").fetchall()))
        assert kinds == {
            "a" * 64: "rating",
            "b" * 64: "transitions",
            f"{'b' * 64}.1": "rating",
            f"{'b' * 64}.2": "rating",
        }
        assert ledger.spending.queries == 2 and ledger.spending.money == {"USD": 0.02}
        assert [(label.query.id, label.value) for _, label in ledger.labels()] == [
            (single.id, 2), (TRANSITIONS.parts(whole)[0].id, 0), (TRANSITIONS.parts(whole)[1].id, 2),
        ]  # fmt: skip
        one = ReplayedTeacher("", ledger, TASK, 3).label_batch(QueryBatch(1, [single]))
        each = ReplayedTeacher("", ledger, TASK, 3, kind=TRANSITIONS).label_batch(QueryBatch(1, [whole], "transitions"))
        assert [label.value for label in one.labels] == [2] and [label.value for label in each.labels] == [0, 2]
    assert open_file(path).execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    with Ledger(path) as ledger:  # once more: nothing changes
        assert len(ledger.labels()) == 3


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path):
    path = tmp_path / "old.sqlite"
    old_ledger(path)
    db = sqlite3.connect(path)
    db.execute("CREATE TRIGGER no BEFORE UPDATE ON queries BEGIN SELECT RAISE(ABORT, 'not here'); END")
    db.commit()
    with pytest.raises(ConfigError):
        Ledger(path)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert "kind" not in [column[1] for column in db.execute("PRAGMA table_info(queries)")]
    db.close()


def test_answers_about_transitions_are_parsed_again_like_others(tmp_path, monkeypatch):
    path = tmp_path / "old.sqlite"
    old_ledger(path)
    with Ledger(path) as ledger:
        reparse(ledger)
        monkeypatch.setattr("erl_vlm_ros.feedback.ledger.reparse.PARSER_VERSION", 99)
        monkeypatch.setattr(TRANSITIONS.__class__, "parse", lambda self, text, names, count: [1] * count)
        written, changed = reparse(ledger)
        assert written == 3 and changed == 2
        assert [label.value for _, label in ledger.labels()] == [2, 1, 1]
        assert reparse(ledger) == (0, 0)


# -- from outside the package, end to end


def coin_prompts(folder):
    folder.mkdir()
    for template in COIN.templates.values():
        fields = " ".join(f"{{{name}}}" for name in sorted(template.required))
        (folder / f"{template.file}.txt").write_text(f"A coin. {fields}\n")
    return str(folder)


def test_a_coin_is_asked_about_parsed_and_kept(tmp_path):
    from erl_vlm_ros.feedback.vlm.rater import VlmRater

    config = RaterConfig(prompts=coin_prompts(tmp_path / "coin"), feedback="toy_feedback:COIN", two_stage=False)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        rater = VlmRater(config, TASK, ledger)
        query = Query(segment(3))
        question = rater._questions.make(query)
        assert "Tails" in question.prompts["rating"] and rater.class_names == ["Tails", "Heads"]
        schema = rater._questions.request(question, "rating")["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["coin"]["enum"] == ["Tails", "Heads"]
        # the answer is in the ledger, so that no endpoint is needed
        ledger.add_answer(question.digest, "rating", Answer('{"coin": "Heads"}')).result()
        batch = rater.label_batch(QueryBatch(0, [query], "coin_flip"))
        assert [(label.value, label.reason) for label in batch.labels] == [(1, "")] and batch.kind == "coin_flip"
        assert [label.value for _, label in ledger.labels(kind="coin_flip")] == [1]
        rater.close()


@pytest.mark.slow
def test_a_run_learns_from_coins(tmp_path):
    """The whole loop in one process: drawn, answered, learned from."""
    from erl_vlm_ros.agents.exploration import ExplorationConfig
    from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

    kind = {"feedback": "toy_feedback:COIN"}
    small = {
        **kind, "warmup_steps": 60, "first_ratings": 20, "round_steps": 60, "round_ratings": 10, "max_ratings": 40,
        "min_skill": -1.0,
    }  # fmt: skip
    config = LocalConfig(
        learner=learner_config(node_values("learner", TASK, small), TASK),
        reward=reward_config(
            node_values("reward_trainer", TASK, {**kind, "trunk.first_iterations": 2, "heads.iterations": 10}), TASK
        ),
        exploration=ExplorationConfig(),
        max_steps=200,
        eval_every=0,
        image_size=48,
    )
    assert config.reward.n_classes == 2
    loop = LocalLoop(TASK, config, 3, lambda truth: TruthTeacher(truth, 2, 0.0, 0, COIN))
    summary = loop.run()
    assert summary["ratings_requested"] == 30 == summary["ratings_valid"] and summary["rating_accuracy"] == 1.0
    assert loop.learner.model.n_classes == 2 and loop.learner.updates > 0
    assert loop.trainer.counts().sum() == 30
