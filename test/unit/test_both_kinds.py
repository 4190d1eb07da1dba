# SPDX-License-Identifier: Apache-2.0
"""Feedback ``both``: rounds of ratings and of comparisons in turn, and one reward model from both."""

from __future__ import annotations

import sqlite3
import urllib.request

import numpy as np
import pytest
from factories import make_episode
from refusals import refused

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import BOTH, kinds_named, known_kind, register
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teachers import make_teacher
from erl_vlm_ros.graphs.offline import check_feedback
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.reward.compared import Compared
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.reward.heads import fit_heads, folds
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer
from erl_vlm_ros.training.learner import Learner, LearnerConfig

TASK = load_task("drawer_open")
RATED, COMPARED = "rating", "preference"


def segment(i, shade=0, episode=0):
    jpeg = encode_jpeg(np.full((32, 32, 3), shade % 256, np.uint8))
    return Segment(f"e{episode}_t{i}_h1", [jpeg], np.full((1, 10), shade / 255), np.zeros((1, 3)), np.array([100 + i]))


def batch(kind, count=3, round_=0, seed=0):
    shades = np.random.default_rng([seed, round_]).integers(0, 256, (count, 2))
    queries = [
        Query(segment(i, int(a)), *([segment(i + 500, int(b))] if kind == COMPARED else []))
        for i, (a, b) in enumerate(shades)
    ]
    return QueryBatch(round_, queries, kind)


def answered(asked, value=None):
    """The brighter, the better."""
    labels = []
    for query in asked.queries:
        shades = [float(s.proprio[0, 0]) for s in query]
        right = int(shades[-1] > shades[0]) if len(query) == 2 else min(int(5 * shades[0]), 4)
        labels.append(Label(query, right if value is None else value))
    return LabelBatch(asked.round, 3 if asked.kind == COMPARED else 5, len(labels), labels, "toy", asked.kind)


# -- what is asked


def learner(**over):
    base = {
        "episode_steps": 20, "warmup_steps": 40, "first_ratings": 12, "round_steps": 40, "round_ratings": 6,
        "max_ratings": 28, "feedback": BOTH,
    }  # fmt: skip
    sac = SACConfig(obs_dim=19, act_dim=3, hidden=(16, 16), batch_size=16)
    return Learner(LearnerConfig(AgentSpec("sac", sac), 19, 3, 10, **(base | over)), 0)


@pytest.mark.slow
def test_rounds_alternate_and_both_kinds_count_against_one_budget():
    one = learner()
    kinds, sizes, asked = [], [], set()
    for i in range(20):
        one.add_episode(make_episode(i, 20, noise=i))
        if i == 5:  # in the middle of it, as from a checkpoint
            other = learner()
            other.load_state_dict(one.state_dict())
            one = other
        if one.round_due():
            made = one.make_round()
            assert {len(query) for query in made.queries} == {2 if made.kind == COMPARED else 1}
            kinds.append(made.kind)
            sizes.append(len(made.queries))
            here = [s.id for s in made.segments]
            assert not asked & set(here)  # a frame that was rated is not compared
            asked |= set(here)
            assert one.add_labels(answered(made))
            one.schedule.finish(made.round + 1)
    assert kinds == [RATED, COMPARED, RATED, COMPARED] and sizes == [12, 6, 6, 4]
    assert one.schedule.requested == 28


def test_a_round_without_an_answer_is_over_and_the_other_kind_is_next():
    one = learner()
    for i in range(2):
        one.add_episode(make_episode(i, 20, noise=i))
    first = one.make_round()
    assert not one.add_labels(answered(first, NO_LABEL)) and one.schedule.done == 1
    for i in range(2, 4):
        one.add_episode(make_episode(i, 20, noise=i))
    second = one.make_round()
    assert second.kind == COMPARED
    assert not one.add_labels(answered(second, 2))  # no preference: nothing is learned


def test_labels_of_a_kind_that_is_not_asked_for_are_refused():
    one = learner()
    with pytest.raises(DataError) as caught:
        one.add_labels(LabelBatch(0, 2, 0, [], kind="coin_flip"))
    assert caught.value.field == "labels.meta.feedback"


def test_where_nothing_is_left_of_one_kind_the_other_is_asked():
    one = learner(first_ratings=200, round_ratings=20, max_ratings=1000, live=False)
    one.add_episode(make_episode(0, 20))
    one.end_of_data()
    made = one.make_round()
    one.schedule.finish(1)
    assert made.kind == RATED and len(made.queries) == 20  # all there are
    one.schedule.hasten(0)
    assert one.make_round().queries == [] and one.schedule.over


def test_both_is_a_setting_and_no_kind():
    class Bad(type(kinds_named(RATED)[0])):
        name = BOTH

    assert [kind.name for kind in kinds_named(BOTH)] == [RATED, COMPARED] and known_kind(BOTH) is None
    with pytest.raises(ConfigError) as caught:
        register(Bad())
    assert caught.value.code is Code.EXISTS


# -- what does not go together


def test_what_cannot_take_both_is_refused_at_start():
    nodes = {"learner": {"algorithm": "cpl"}, "vlm_rater": {"feedback": BOTH}}
    with refused(parameter="vlm_rater.feedback", code=Code.DOES_NOT_FIT):
        check_feedback(nodes)
    nodes = {"learner": {"algorithm": "sac"}, "vlm_rater": {"feedback": BOTH}}
    with refused(parameter="reward_trainer.reward_model", code=Code.DOES_NOT_FIT):
        check_feedback({**nodes, "reward_trainer": {"reward_model": "erl_vlm"}})
    check_feedback({**nodes, "reward_trainer": {"reward_model": "trunk_heads"}})
    for name in ("erl_vlm", "toy_reward_model:BrightnessTrainer"):
        with refused(parameter="reward_trainer.reward_model", code=Code.DOES_NOT_FIT):
            RewardTrainer(settings(reward_model=name), 0)
    with refused(parameter="reward_trainer.objective", code=Code.DOES_NOT_FIT):
        RewardTrainer(settings(objective="bradley_terry"), 0)
    with refused(parameter="reward_trainer.heads.noise"):
        settings(heads=HeadConfig(noise=0.6))


def test_an_agent_of_labels_does_not_take_both():
    from erl_vlm_ros.training.configs import learner_config, node_values

    with refused(parameter="learner.feedback", code=Code.DOES_NOT_FIT):
        Learner(learner_config(node_values("learner", TASK, {"algorithm": "cpl", "feedback": BOTH}), TASK), 0)


# -- what is learned


def settings(**changes):
    trunk = TrunkConfig(image_size=32, target_size=16, channels=(8, 8), features=8, first_iterations=5, iterations=2)
    base = {"n_classes": 5, "compared": (COMPARED, 3), "trunk": trunk, "heads": HeadConfig(iterations=60)}
    return RewardTrainerConfig(**(base | changes))


def world(count, rng):
    x = rng.normal(size=(count, 12)).astype(np.float32)
    return x, 1 / (1 + np.exp(-2 * x[:, 0]))


def learned(ratings, pairs, seed):
    """(correlation with the true level, root mean square error) from so many labels, a fifth of them wrong."""
    rng, config = np.random.default_rng(seed), HeadConfig()
    x, level = world(ratings, rng)
    classes = np.minimum((5 * level).astype(int), 4)
    classes = np.where(rng.random(ratings) < 0.2, (classes + rng.integers(1, 5, ratings)) % 5, classes)
    both, level = world(2 * pairs, rng)
    first, second = level.reshape(pairs, 2).T
    said = np.where(rng.random(pairs) < 0.2, second <= first, second > first).astype(np.int64)
    compared = None
    if pairs:
        parts = np.zeros(pairs, bool), 5, config, folds(said, config.members, rng), ratings
        compared = Compared(both.reshape(pairs, 2, 1, 12), said, *parts)
    heads, _ = fit_heads(x, classes, 5, config, seed, compared=compared)
    x, level = world(2000, rng)
    reward = heads.probabilities(x).mean(0) @ np.linspace(0, 1, 5)
    return float(np.corrcoef(reward, level)[0, 1]), float(np.sqrt(((reward - level) ** 2).mean()))


@pytest.mark.slow
def test_both_kinds_teach_more_than_either():
    rated, compared, both = (np.mean([learned(*n, seed) for seed in (1, 2)], 0) for n in ((60, 0), (0, 200), (60, 200)))
    assert both[0] > max(rated[0], compared[0]) + 0.03  # few ratings have no order, comparisons alone no scale
    assert both[1] < min(rated[1], compared[1]) - 0.02


def test_each_label_counts_alike():
    parts = np.zeros(3, bool), 5, HeadConfig(), np.zeros(3, int), 9
    assert Compared(np.zeros((3, 2, 1, 4), np.float32), np.zeros(3, int), *parts).share == 0.25


def test_the_trainer_keeps_a_store_of_each_kind_and_goes_on_from_a_checkpoint():
    trainer = RewardTrainer(settings(), 0)
    trainer.add_episode(make_episode(0, 30))
    for round_, kind in enumerate((COMPARED, RATED, COMPARED)):  # the first round of ratings may have failed
        assert trainer.add_labels(answered(batch(kind, 30, round_))) == 30
        if round_ != 1:
            model = trainer.train()
    assert len(trainer.ratings) == 30 and len(trainer.compared) == 60
    assert (model.info.requested, model.info.round) == (90, 3)
    health = model.health
    assert health["ratings"] == 30 and health["preference_labels"] == 60 and health["preference_class_2"] == 0
    for name in ("skill", "held_out_accuracy", "fresh_agreement"):
        assert name in health and f"preference_{name}" in health
    assert health["skill"] == pytest.approx((health["rating_skill"] + 2 * health["preference_skill"]) / 3)
    again = load_reward_model(decode(encode(model.to_bundle()), "reward_model"))
    assert again.n_classes == 5
    copy = RewardTrainer(settings(), 0)
    copy.load_state_dict(trainer.state_dict())
    for one in (trainer, copy):
        one.add_labels(answered(batch(RATED, 20, 3)))
    mine, other = trainer.train().heads.arrays(), copy.train().heads.arrays()
    assert all(np.array_equal(mine[name], other[name]) for name in mine)


def test_segments_of_several_frames_are_learned_from_as_well():
    trainer = RewardTrainer(settings(), 0)
    trainer.add_episode(make_episode(0, 30))
    frames = [Segment(f"e0_t{i}_h3", [encode_jpeg(np.full((32, 32, 3), 4 * i, np.uint8))] * 3,
                      np.full((3, 10), i / 60), np.zeros((3, 3)), np.arange(3)) for i in range(60)]  # fmt: skip
    pairs = [Label(Query(a, b), 1) for a, b in zip(frames[:30], frames[30:])]
    rated = [Label.of(frame, i // 12) for i, frame in enumerate(frames)]
    assert trainer.add_labels(LabelBatch(0, 5, 60, rated, kind=RATED)) == 60
    assert trainer.add_labels(LabelBatch(1, 3, 30, pairs, kind=COMPARED)) == 30
    assert np.isfinite(trainer.train().health["skill"])


def test_labels_that_do_not_fit_are_refused_and_change_nothing():
    trainer = RewardTrainer(settings(), 0)
    rated, compared = answered(batch(RATED)), answered(batch(COMPARED))
    wrong = [
        LabelBatch(0, 2, 1, rated.labels[:1], kind="coin_flip"),
        LabelBatch(0, 5, 1, compared.labels, kind=COMPARED),
        LabelBatch(0, 3, 1, rated.labels, kind=COMPARED),
        LabelBatch(0, 5, 1, compared.labels, kind=RATED),
    ]
    for labels in wrong:
        for label in labels.labels:
            label.value = 0
        with pytest.raises(DataError):
            trainer.add_labels(labels)
    assert len(trainer.ratings) == len(trainer.compared) == trainer.round == 0


def test_a_checkpoint_of_both_is_not_taken_for_one_and_ratings_may_go_on_with_both():
    both, one = RewardTrainer(settings(), 0), RewardTrainer(settings(compared=None), 0)
    with refused(parameter="reward_trainer.feedback", code=Code.DOES_NOT_FIT):
        one.load_state_dict(both.state_dict())
    one.add_labels(answered(batch(RATED)))
    both.load_state_dict(one.state_dict())
    assert len(both.ratings) == 3 and len(both.compared) == 0


# -- who answers


def values(tmp_path, **changes):
    table = {param.name: param.default for param in PARAMETERS["vlm_rater"]}
    return table | {"feedback": BOTH, "ledger": str(tmp_path / "ledger.sqlite")} | changes


def test_a_model_answers_each_batch_in_its_kind_within_one_budget(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with StandinServer(Answerer(AnswererConfig())) as server, Ledger(path) as ledger:
        teacher = make_teacher("vlm", values(tmp_path, base_url=server.base_url, max_queries=5), TASK, ledger)
        teacher.check_endpoint()
        rated = teacher.label_batch(batch(RATED, 3))
        compared = teacher.label_batch(batch(COMPARED, 4, 1))
        stats = teacher.stats()
        with pytest.raises(ValueError):
            teacher.submit(QueryBatch(2, [], "coin_flip"))
        teacher.close()
    assert (rated.kind, rated.n_classes, compared.kind, compared.n_classes) == (RATED, 5, COMPARED, 3)
    assert [label.reason for label in compared.labels].count("budget") == 2
    assert stats["spent_queries"] == 5 and stats["budget_left"] == 0 and stats["requested"] == 7
    rows = sqlite3.connect(path).execute("SELECT kind, n_classes, COUNT(*) FROM queries GROUP BY kind").fetchall()
    assert {row[:2] for row in rows} == {(RATED, 5), (COMPARED, 3)}


@pytest.mark.parametrize("own", [True, False])
def test_a_ledger_of_both_kinds_is_replayed(tmp_path, own):
    path = tmp_path / "ledger.sqlite"
    asked = [batch(RATED, 3), batch(COMPARED, 2, 1)]
    with Ledger(path) as ledger:
        given = values(tmp_path)
        teacher = make_teacher("scripted", given, TASK, ledger)
        for part in teacher.teachers.values():
            for stamp in range(100, 700):
                part.add_truth(
                    stamp, {"progress": stamp / 700, "success": 0, **{f"class_{n}": 1 for n in (2, 3, 4, 5)}}
                )
        before = [[label.value for label in teacher.label_batch(a).labels] for a in asked]
        teacher.close()
    with Ledger(path if own else tmp_path / "other.sqlite") as ledger:
        teacher = make_teacher("ledger", values(tmp_path) | {"replay.ledger": str(path)}, TASK, ledger)
        assert [[label.value for label in teacher.label_batch(a).labels] for a in asked] == before
        teacher.close()
    Ledger(path).close()  # nobody holds it any more


def test_a_person_has_one_page_for_both(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        given = values(tmp_path) | {"human.port": 0, "human.undo_s": 0.0}
        desk = make_teacher("human", given, TASK, ledger)
        rounds = [desk.submit(batch(RATED, 2)), desk.submit(batch(COMPARED, 1, 1))]
        state = desk.state()
        assert (len(state["classes"]), len(state["segments"]), state["waiting"]) == (5, 1, 3)
        assert urllib.request.urlopen(desk.page.url, timeout=10).status == 200
        assert desk.frame(state["key"], 0) and desk.rate(4, state["key"]) and not desk.rate(4, state["key"])
        assert desk.undo() and desk.state()["key"] == state["key"]
        assert desk.rate(4) and desk.rate(0)
        state = desk.state()
        assert (len(state["classes"]), state["segments"], len(state["captions"])) == (3, [1, 1], 2)
        assert desk.frame(state["key"], 1) and not desk.rate(4) and desk.rate(1)
        assert [[label.value for label in r.result(10).labels] for r in rounds] == [[4, 0], [1]]
        assert desk.state()["key"] is None and desk.state()["rated"] == 3
        desk.close()


def test_a_person_does_not_audit_both(tmp_path):
    with (
        Ledger(tmp_path / "ledger.sqlite") as ledger,
        refused(parameter="vlm_rater.audit.teacher", code=Code.DOES_NOT_FIT),
    ):
        make_teacher("vlm", values(tmp_path) | {"audit.share": 0.1, "audit.teacher": "human"}, TASK, ledger)


def test_a_person_compares_in_one_order(tmp_path):
    with (
        Ledger(tmp_path / "ledger.sqlite") as ledger,
        refused(parameter="vlm_rater.both_orders", code=Code.DOES_NOT_FIT),
    ):
        make_teacher("human", values(tmp_path, both_orders=True), TASK, ledger)


def test_the_record_shows_the_mix_of_the_first_kind():
    record = RunRecord("drawer_open", 0, {5: TASK.class_names(5)}, 100, 100, 0.0)
    for round_, kind in enumerate((RATED, COMPARED)):
        record.add_labels(answered(batch(kind, 10, round_)))
    assert len(record.mix) == 5 and sum(record.mix) == 10 and record.n_classes == 5
    assert (record.ratings_valid, record.ratings_requested) == (20, 20)


# -- all of it


@pytest.mark.slow
def test_a_run_learns_from_both_kinds():
    from erl_vlm_ros.agents.exploration import ExplorationConfig
    from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, truth_teacher

    small = {
        "feedback": BOTH, "warmup_steps": 50, "first_ratings": 20, "round_steps": 50, "round_ratings": 10,
        "max_ratings": 40, "min_skill": -1.0,
    }  # fmt: skip
    quick = {"feedback": BOTH, "trunk.first_iterations": 5, "trunk.iterations": 2, "heads.iterations": 40}
    run = LocalConfig(
        learner=learner_config(node_values("learner", TASK, small), TASK),
        reward=reward_config(node_values("reward_trainer", TASK, quick), TASK),
        exploration=ExplorationConfig(),
        max_steps=150,
        eval_every=0,
        image_size=48,
    )
    loop = LocalLoop(TASK, run, 3, lambda truth: truth_teacher(BOTH, TASK, 5, 0.0, 0, truth))
    summary = loop.run()
    assert summary["ratings_requested"] == 40 and summary["rating_accuracy"] == 1.0
    assert len(loop.trainer.ratings) == 30 and 0 < len(loop.trainer.compared) <= 10
    assert loop.learner.model.version == 3 and loop.learner.updates > 0
