# SPDX-License-Identifier: Apache-2.0
"""Comparisons: what is asked, how answers are read, and what is learned from them."""

from __future__ import annotations

import math
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from factories import make_episode, make_segment
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.pairs import disagreement, select_pairs
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.selection import Candidates, SelectionConfig
from erl_vlm_ros.feedback.kinds import PREFERENCE, RATING
from erl_vlm_ros.feedback.kinds.preference import FIRST, NAMES, NO_PREFERENCE, SECOND, swapped, swapped_back
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teacher_configs import ScriptedConfig
from erl_vlm_ros.feedback.teachers.both_orders import ORDER, BothOrders
from erl_vlm_ros.feedback.teachers.record import Record
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.parsing import NoRating
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.question import QuestionMaker, fewer_frames
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.objectives import RETURNS, BradleyTerry, Labels, ObjectiveSettings, make_objective
from erl_vlm_ros.reward.scores import fit_scores
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer

TASK = load_task("drawer_open")

#: (answer, class that it states; None: none)
ANSWERS = [
    ("First", 0), ("Second", 1), ("No preference", 2), ("first.", 0), ("**Second**", 1), ('"No preference"', 2),
    ("no_preference", 2), ("Neither", 2), ("The second is closer.\nAnswer: Second", 1), ("Preference: First", 0),
    ("My choice is: Second", 1), ("Final answer: No preference.", 2), ("<answer>First</answer>", 0),
    ('{"preference": "Second"}', 1), ('{"preference": "First"}', 0), ('{"answer": "No preference"}', 2),
    ('```json\n{"preference": "Second"}\n```', 1), ("Answer: First image", 0), ("Answer: the second one", None),
    ("Antwort: Second", 1), ("Präferenz: First", 0), ("Meine Auswahl ist: No preference", 2),
    ("Das erste Bild zeigt es besser.", None), ("Antwort: Zweite", None), ("Respuesta: First", 0),
    ("Preferencia: Second", 1), ("Mi elección es: Second", 1), ("La primera imagen es mejor", None),
    ("Réponse : First", 0), ("Préférence : Second", 1), ("Aucune préférence", None), ("答案：Second", 1),
    ("偏好：First", 0), ("我的选择是：No preference", 2), ("第二张更好", None), ("答え Second かもしれない", None),
    ("選択：First", 0), ("답: Second", 1), ("선호: First", 0), ("첫 번째", None),
    ("0", None), ("1", None), ("-1", None), ("Image 1", None), ("2", None), ("First and Second", None),
    ("First or Second?", None), ("Not First", None), ("The first is better.", None), ("Second. No, First.", None),
    ("Answer: First\nAnswer: Second", None), ('{"preference": "First", "answer": "Second"}', None),
    ('{"preference": 1}', None), ('{"preference": ""}', None), ("", None), ("I cannot compare these.", None),
    ("Answer: First. The second is worse.", None), ("It is not true that the answer is: Second", None),
    ("<think>Answer: First</think>Second", 1), ("If the drawer moved: Second", None), ("Splendid", None),
    ("Answer: Second, I think, or First", None), ("The First", None), ("SECOND", 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "right"), ANSWERS)
def test_no_answer_is_invented(text, right):
    try:
        read = PREFERENCE.parse(text, NAMES, 1)[0]
    except NoRating:
        read = None
    assert read == right


@given(st.text(st.sampled_from("ab好이 .,:;!?\n\t*`'{}[]<>/-_019"), max_size=60))
def test_text_that_names_no_class_states_none(text):
    with pytest.raises(NoRating):
        PREFERENCE.parse(text, NAMES, 1)


# -- what is asked


def frames(n=60, seed=0, predicted=False):
    rng = np.random.default_rng(seed)
    mean = rng.random(n) if predicted else None
    members = np.stack([mean, mean + rng.normal(0, 0.3, n)]) if predicted else None
    std = None if mean is None else members.std(0)
    return Candidates(rng.normal(size=(n, 4)), np.arange(n) < 5, mean, std, mean, members)


@pytest.mark.parametrize("how", ["frames", "uniform", "disagreement", "difference"])
@pytest.mark.parametrize("predicted", [False, True])
def test_pairs_are_of_two_frames_and_the_same_for_a_seed(how, predicted):
    drawn = [
        select_pairs(frames(predicted=predicted), 12, SelectionConfig(pairs=how), np.random.default_rng(3))
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 12 and all(a != b for a, b in drawn[0])
    if how == "frames":  # each frame once, none that was asked about
        flat = [i for pair in drawn[0] for i in pair]
        assert len(set(flat)) == 24 and min(flat) >= 5


@pytest.mark.parametrize("how", ["frames", "uniform", "disagreement", "difference"])
def test_too_few_frames_give_no_pair(how):
    one = Candidates(np.zeros((1, 4)), np.zeros(1, bool), np.zeros(1), np.zeros(1), np.zeros(1))
    assert select_pairs(one, 5, SelectionConfig(pairs=how), np.random.default_rng(0)) == []


def test_disagreement_is_that_of_the_members():
    candidates = frames(predicted=True)
    pairs = np.array([[0, 1], [7, 3]])
    m = candidates.members
    expected = [np.std([1 / (1 + math.exp(m[e, a] - m[e, b])) for e in (0, 1)]) for a, b in pairs]
    np.testing.assert_allclose(disagreement(candidates, pairs), expected)
    drawn = select_pairs(candidates, 10, SelectionConfig(pairs="disagreement"), np.random.default_rng(1))
    some = select_pairs(candidates, 200, SelectionConfig(pairs="uniform"), np.random.default_rng(1))
    assert disagreement(candidates, np.array(drawn)).mean() > 1.5 * disagreement(candidates, np.array(some)).mean()


def segment(name="e0_t1_h1", length=1, stamp=0, shade=0):
    jpeg = encode_jpeg(np.full((32, 32, 3), shade, np.uint8))
    return Segment(name, [jpeg] * length, np.zeros((length, 10)), np.zeros((length, 3)), np.arange(length) + stamp)


def test_a_question_shows_each_under_its_caption_and_the_order_matters():
    for two_stage in (True, False):
        config = RaterConfig(feedback="preference", two_stage=two_stage)
        maker = QuestionMaker(config, TASK, load_prompts(TASK, 5, kind=PREFERENCE), list(NAMES))
        query = Query(make_segment("a", 1), make_segment("b", 1))
        question = maker.make(query)
        stage = "analysis" if two_stage else "rating"
        content = maker.request(question, stage)["messages"][0]["content"]
        assert [c.get("text", "image") for c in content[:4]] == ["First:", "image", "Second:", "image"]
        assert maker.make(swapped(query)).digest != question.digest
        schema = maker.request(question, "rating", "words")["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["preference"]["enum"] == list(NAMES)


def test_fewer_frames_keep_the_first_and_the_last():
    whole = make_segment("a", 50)
    some = fewer_frames(whole, 3)
    assert some.jpegs == [whole.jpegs[0], whole.jpegs[24], whole.jpegs[49]] and some.stamps.tolist() == [5, 29, 54]
    assert fewer_frames(whole, 0) is whole and fewer_frames(whole, 64) is whole
    assert fewer_frames(whole, 1).jpegs == whole.jpegs[-1:]
    with pytest.raises(ConfigError):
        transitions = RaterConfig(feedback="transitions", shown_frames=3)
        QuestionMaker(transitions, TASK, load_prompts(TASK, 5), TASK.class_names(5))  # prompts of ratings: no refusal
        from erl_vlm_ros.feedback.kinds import TRANSITIONS

        QuestionMaker(transitions, TASK, load_prompts(TASK, 5, kind=TRANSITIONS), TASK.class_names(5))


# -- who answers


@given(st.floats(0, 1), st.floats(0, 1))
def test_swapping_a_pair_turns_the_truth(a, b):
    truths = [{"progress": a}, {"progress": b}]
    assert PREFERENCE.truth(truths, 3) == swapped_back(PREFERENCE.truth(truths[::-1], 3))


def test_mistakes_turn_the_answer():
    rng = np.random.default_rng(0)
    assert {PREFERENCE.mistake(FIRST, 3, rng) for _ in range(20)} == {SECOND}
    assert {PREFERENCE.mistake(NO_PREFERENCE, 3, rng) for _ in range(20)} == {FIRST, SECOND}
    np.testing.assert_allclose(PREFERENCE.mistakes(3).sum(1), 1)
    np.testing.assert_allclose(RATING.mistakes(4), (1 - np.eye(4)) / 3)


def test_the_scripted_teacher_compares_and_leaves_a_record(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        record = Record(ledger, TASK.name, NAMES, "scripted", kind=PREFERENCE)
        teacher = ScriptedTeacher(ScriptedConfig(), TASK.name, list(NAMES), record, PREFERENCE)
        for stamp, progress in enumerate((0.1, 0.5, 0.52, 0.9)):
            teacher.add_truth(stamp, {"progress": progress, "class_5": 0, "success": 0})
        s = [segment(f"e0_t{i}_h1", 1, i, 40 * i) for i in range(4)]
        batch = QueryBatch(0, [Query(s[0], s[3]), Query(s[3], s[0]), Query(s[1], s[2])], "preference")
        labels = teacher.label_batch(batch)
        assert [label.value for label in labels.labels] == [SECOND, FIRST, NO_PREFERENCE]
        assert labels.kind == "preference" and labels.n_classes == 3 and labels.requested == 3
        long = Query(segment("e0_t1_h2", 2, 0), segment("e0_t3_h2", 2, 2))  # 0.3 against 0.71 on average
        assert teacher.label_batch(QueryBatch(1, [long], "preference")).labels[0].value == SECOND
        kept = [(label.query.id, label.value) for _, label in ledger.labels(kind="preference")]
        assert len(kept) == 4 and ("e0_t1_h1|e0_t2_h1", NO_PREFERENCE) in kept
        teacher.close()


class Answering:
    """A teacher that gives the answers it was told, in turn."""

    kind, class_names, budget_left = PREFERENCE, list(NAMES), 9

    def __init__(self, *values):
        self.values, self.asked = values, []

    def submit(self, batch):
        self.asked.append(batch)
        future = Future()
        labels = [Label(q, v, "unreadable" if v < 0 else "") for q, v in zip(batch.queries, self.values)]
        future.set_result(LabelBatch(batch.round, 3, len(labels), labels, "toy", "preference"))
        return future

    def stats(self):
        return {}

    def texts(self):
        return {"teacher": "toy"}

    def close(self, grace_s=0.0):
        pass


def test_both_orders_keep_what_turns_with_the_order():
    queries = [Query(segment(f"e0_t{i}_h1"), segment(f"e0_t{i + 50}_h1")) for i in range(5)]
    toy = Answering(FIRST, FIRST, NO_PREFERENCE, SECOND, NO_LABEL, SECOND, FIRST, NO_PREFERENCE, NO_PREFERENCE, FIRST)
    teacher = BothOrders(toy)
    batch = teacher.label_batch(QueryBatch(3, queries, "preference"))
    assert [label.value for label in batch.labels] == [FIRST, NO_LABEL, NO_PREFERENCE, NO_LABEL, NO_LABEL]
    assert [label.reason for label in batch.labels] == ["", ORDER, "", ORDER, "unreadable"]
    assert [label.query for label in batch.labels] == queries
    assert len(toy.asked[0].queries) == 10 and toy.asked[0].queries[5] == swapped(queries[0])
    stats = teacher.stats()
    assert stats["order_agreement"] == 2 / 4 and stats["order_first"] == 4 / 6 and stats["reason_order"] == 2
    assert teacher.budget_left == 4
    toy.kind = RATING
    with pytest.raises(ConfigError):
        BothOrders(toy)


@pytest.mark.slow
@pytest.mark.parametrize("two_stage", [True, False])
def test_the_stand_in_compares_over_http_and_shows_its_bias(tmp_path, two_stage):
    from erl_vlm_ros.sim.trajectories import collect_frames

    seen = collect_frames("drawer_open", 60, seed=5)
    rung = np.array([frame.classes[5] for frame in seen])
    low, high = np.flatnonzero(rung == 0)[:8], np.flatnonzero(rung >= 3)[:8]
    count = min(len(low), len(high))
    assert count >= 3
    s = [segment(f"e0_t{i}_h1", 1, i) for i in range(len(seen))]
    for i, frame in enumerate(seen):
        s[i].jpegs[:] = [frame.jpeg]
    queries = [Query(s[a], s[b]) for a, b in zip(low[:count], high[:count])]
    for bias in (0.0, 1.0):
        config = AnswererConfig(order_bias=bias)
        with StandinServer(Answerer(config)) as server, Ledger(tmp_path / f"{bias}.sqlite") as ledger:
            own = RaterConfig(base_url=server.base_url, feedback="preference", two_stage=two_stage)
            with VlmRater(own, TASK, ledger) as rater:
                teacher = BothOrders(rater)
                labels = teacher.label_batch(QueryBatch(0, queries, "preference")).labels
                stats = teacher.stats()
        assert stats["spent_queries"] == 2 * count  # both orders are paid for
        if bias:
            assert {label.reason for label in labels} == {ORDER} and stats["order_first"] == 1.0
        else:
            assert [label.value for label in labels] == [SECOND] * count and stats["order_agreement"] == 1.0


# -- what is learned


def test_bradley_terry_by_hand():
    returns = torch.tensor([[1.0, 3.0], [0.5, -0.5]])
    labels = Labels(torch.tensor([1, 1]))
    expected = [-math.log(1 / (1 + math.exp(-2.0))), -math.log(1 / (1 + math.exp(1.0)))]
    np.testing.assert_allclose(BradleyTerry().terms(returns, labels), expected, rtol=1e-6)
    noisy = Labels(labels.classes, noise=torch.tensor([0.2, 0.2]))
    expected = [-math.log(0.2 + 0.6 / (1 + math.exp(-2.0))), -math.log(0.2 + 0.6 / (1 + math.exp(1.0)))]
    np.testing.assert_allclose(BradleyTerry().terms(returns, noisy), expected, rtol=1e-6)
    assert BradleyTerry().answers(returns, labels).tolist() == [1, 0]


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 1)), min_size=1, max_size=20))
def test_bradley_terry_does_not_care_for_the_order(rows):
    returns, classes = torch.tensor([r[:2] for r in rows]), torch.tensor([r[2] for r in rows])
    one = BradleyTerry().terms(returns, Labels(classes))
    other = BradleyTerry().terms(returns.flip(-1), Labels(1 - classes))
    assert torch.equal(one, other) and torch.isfinite(one).all() and (one >= 0).all()


def test_an_objective_of_another_feedback_is_refused():
    with pytest.raises(ConfigError):
        make_objective("bradley_terry", ObjectiveSettings(3), RETURNS, 1)
    with pytest.raises(ConfigError):
        make_objective("erl_mae", ObjectiveSettings(3), RETURNS, 2)
    with pytest.raises(ConfigError):
        RewardTrainer(RewardTrainerConfig(reward_model="erl_vlm", n_classes=3, segments=2), 0)


@pytest.mark.slow
def test_scores_learn_an_order_from_wrong_comparisons():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(500, 2, 1, 6)).astype(np.float32)
    labels = (pairs[:, 1, 0, 0] > pairs[:, 0, 0, 0]).astype(np.int64)
    wrong = np.where(rng.random(500) < 0.2, 1 - labels, labels)
    scores, report = fit_scores(pairs, wrong, HeadConfig(), 1, BradleyTerry(), np.zeros(500, bool))
    fresh = rng.normal(size=(400, 6)).astype(np.float32)
    assert np.corrcoef(scores.scaled(fresh).rewards(fresh).mean(0), fresh[:, 0])[0, 1] > 0.9
    assert 0.65 < report["held_out_accuracy"] < 0.9
    low, high = np.percentile(scores.scaled(fresh).rewards(fresh), (1, 99.5), axis=1)
    np.testing.assert_allclose(low, 0, atol=1e-4)
    np.testing.assert_allclose(high, 1, atol=1e-4)


def small():
    trunk = TrunkConfig(image_size=32, target_size=16, channels=(8, 8), features=8, first_iterations=5, iterations=2)
    return RewardTrainerConfig(n_classes=3, segments=2, trunk=trunk, heads=HeadConfig(iterations=60))


def compared(values, round_=0):
    rng = np.random.default_rng(round_)
    queries = [Query(segment(f"e0_t{i}_h1", shade=int(rng.integers(255))), segment(f"e1_t{i}_h1")) for i in range(40)]
    labels = [Label(q, values[i % len(values)]) for i, q in enumerate(queries)]
    return LabelBatch(round_, 3, 40, labels, "toy", "preference")


def test_no_preference_never_trains():
    trainer = RewardTrainer(small(), 0)
    trainer.add_episode(make_episode(0, 30))
    assert trainer.add_labels(compared([NO_PREFERENCE])) == 0 and len(trainer.ratings) == 0
    assert trainer.add_labels(compared([FIRST, NO_PREFERENCE])) == 20
    assert trainer.counts().tolist() == [20, 0, 0] and trainer.requested == 40  # paid for, all of them


def test_a_model_of_comparisons_travels_and_is_kept():
    trainer = RewardTrainer(small(), 0)
    trainer.add_episode(make_episode(0, 30))
    trainer.add_labels(compared([FIRST, SECOND, FIRST]))
    model = trainer.train()
    again = load_reward_model(decode(encode(model.to_bundle()), "reward_model"))
    images, proprio = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8), np.zeros((9, 10))
    mine, other = (m.predict(m.features(images), proprio) for m in (model, again))
    np.testing.assert_allclose(mine.mean, other.mean, rtol=1e-5)
    assert mine.members.shape == (5, 9) and np.isfinite(mine.mean).all()
    assert model.info.requested == 40 and model.info.round == 1
    copy = RewardTrainer(small(), 0)
    copy.load_state_dict(trainer.state_dict())
    assert copy.images.shape == trainer.images.shape and copy.model.version == 1
    trainer.add_labels(compared([FIRST], 1))
    assert "fresh_agreement" in trainer.train().health


def test_labels_of_another_feedback_are_refused():
    trainer = RewardTrainer(small(), 0)
    batch = compared([FIRST])
    ratings = LabelBatch(0, 3, 1, [Label.of(batch.labels[0].query[0], 1)], "toy", "rating")
    with pytest.raises(ValueError):
        trainer.add_labels(ratings)
