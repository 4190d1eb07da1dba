# SPDX-License-Identifier: Apache-2.0
"""learner, reward_trainer and vlm_rater as processes over DDS; the test plays the controller."""

import dataclasses
import json
import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from factories import make_episode
from std_msgs.msg import Float32MultiArray, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.checkpoint import save_state
from erl_vlm_ros.data.query import Label, LabelBatch, QueryBatch
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.trainer import RewardTrainer
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.learner import Learner

QUICK_LEARNER = {
    "warmup_steps": 60,
    "first_ratings": 15,
    "round_steps": 20,
    "round_ratings": 5,
    "max_ratings": 25,
}
QUICK_REWARD = {"trunk__first_iterations": 5, "trunk__iterations": 3, "heads__iterations": 10}


def episode(index, steps=20):
    return make_episode(index, steps, side=64, stamps=np.arange(steps + 1) + 10_000 * index)


class Workstation:
    """Subscriptions and publishers of the rest of the graph."""

    def __init__(self, ros):
        self.ros = ros
        self.actors = ros.collect(UInt8MultiArray, names.ACTOR, qos.latched())
        self.segments = ros.collect(UInt8MultiArray, names.QUERIES, qos.bulk())
        self.models = ros.collect(UInt8MultiArray, names.REWARD_MODEL, qos.latched())
        self.episodes = ros.node.create_publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self.ratings = ros.node.create_publisher(UInt8MultiArray, names.LABELS, qos.bulk())

    def send_episode(self, index):
        self.episodes.publish(convert.bytes_message(encode(episode(index).to_bundle())))

    def send_ratings(self, batch, rate=lambda i: i % 5):
        rated = [Label.of(s, rate(i), "" if rate(i) >= 0 else "refusal") for i, s in enumerate(batch.segments)]
        bundle = LabelBatch(batch.round, 5, len(rated), rated).to_bundle()
        self.ratings.publish(convert.bytes_message(encode(bundle)))

    @property
    def actor(self):
        """(meta, arrays) of the newest actor, or an empty one."""
        if not self.actors:
            return {}, {}
        bundle = decode(convert.bytes_of(self.actors[-1]), "actor")
        return bundle.meta, bundle.arrays

    def round(self, number):
        """The segments of a round, once they are there."""
        self.ros.until(lambda: len(self.segments) > number, f"round {number}")
        return QueryBatch.from_bundle(decode(convert.bytes_of(self.segments[number]), "queries"))


def test_episodes_become_segments_a_reward_model_and_an_actor(ros):
    station, folder = Workstation(ros), str(ros.folder)
    rewards = ros.collect(Float32MultiArray, names.EPISODE_REWARD, qos.latched())
    ros.start("learner", checkpoint_dir=folder, **QUICK_LEARNER)
    ros.start("reward_trainer", checkpoint_dir=folder, **QUICK_REWARD)
    ros.until(
        lambda: station.actor[0].get("episode_budget") == 2,
        "the budget of the warm-up (60 steps, 50 an episode)",
    )
    assert station.actor[1] == {}
    ros.until(lambda: station.episodes.get_subscription_count() == 2, "both nodes to listen")
    for index in range(3):
        station.send_episode(index)
    batch = station.round(0)
    assert len(batch.segments) == 15 and len({s.id for s in batch.segments}) == 15
    ros.until(lambda: station.actor[0]["episode_budget"] == 3, "the learner to hold the arm still")

    station.send_ratings(batch)
    ros.until(lambda: station.models, "a reward model")
    model = load_reward_model(decode(convert.bytes_of(station.models[-1]), "reward_model"))
    assert model.n_classes == 5 and model.health["ratings"] == 15
    # random ratings explain nothing: exploration goes on and another round is asked for
    ros.until(lambda: station.actor[0]["episode_budget"] > 3, "permission to go on")
    station.send_episode(3)
    second = station.round(1)
    ros.until(lambda: rewards, "what the fourth episode earned")
    earned, number = convert.rewards_of(rewards[-1])
    assert number == 3 and earned.shape == (20,) and (earned >= 0).all()
    # evaluation episodes are judged, by a person's word or the learned reward, and not learned from
    figures = ros.collect(DiagnosticArray, names.METRICS, qos.metrics())
    judged = ros.publisher(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
    for index, success in enumerate((True, False)):
        shown = dataclasses.replace(episode(50 + index), evaluation=True, index=index, success=success)
        judged.publish(convert.bytes_message(encode(shown.to_bundle())))

    def share():
        told = (convert.metrics_of(m).get("learner", {}) for m in figures)
        return [values["evaluation_success_share"] for values in told if "evaluation_success_share" in values]

    ros.until(lambda: 0.5 in share(), "the share of successes of the evaluation")
    assert station.actor[0]["episodes"] == 4
    assert second.round == 1 and not {s.id for s in second.segments} & {s.id for s in batch.segments}


def test_killed_learner_and_trainer_go_on_where_they_were(ros):
    station, folder = Workstation(ros), str(ros.folder)
    learner = QUICK_LEARNER | {"min_skill": -1.0, "checkpoint_every": 1, "checkpoint_dir": folder}
    trainer = QUICK_REWARD | {"checkpoint_dir": folder}
    ros.start("learner", **learner)
    ros.start("reward_trainer", **trainer)
    ros.until(lambda: station.episodes.get_subscription_count() == 2, "both nodes to listen")
    for index in range(3):
        station.send_episode(index)
    station.send_ratings(station.round(0))
    ros.until(lambda: station.actor[1], "an actor with weights")
    station.send_episode(3)
    ros.until(lambda: station.actor[0]["episodes"] == 4, "the fourth episode")
    batch = station.round(1)
    ros.stop("learner", signal.SIGINT)
    ros.stop("reward_trainer", signal.SIGKILL)
    before = len(station.actors)
    ros.start("learner", resume=True, **learner)
    ros.start("reward_trainer", resume=True, **trainer)
    ros.until(lambda: len(station.actors) > before, "the learner to be back")
    assert station.actor[0]["episodes"] == 4 and station.actor[0]["env_steps"] == 80 and station.actor[1]
    again = station.round(2)  # the round under way is published again
    assert [s.id for s in again.segments] == [s.id for s in batch.segments]
    models = len(station.models)
    station.send_ratings(again)
    ros.until(lambda: len(station.models) > models, "the next reward model")
    newest = lambda: load_reward_model(decode(convert.bytes_of(station.models[-1]), "reward_model"))  # noqa: E731
    ros.until(lambda: newest().health["ratings"] == 20,
              "all ratings to be remembered")  # fmt: skip


def test_a_round_that_only_the_trainer_finished_before_the_stop_is_not_waited_for(ros):
    """Ctrl-C while the reward model trains: the trainer saves the round as done, the learner as under way."""
    folder = str(ros.folder)
    parameters = {key.replace("__", "."): value for key, value in QUICK_REWARD.items()}
    task = load_task("drawer_open")
    learner = Learner(learner_config(node_values("learner", task, QUICK_LEARNER), task), 0)
    trainer = RewardTrainer(reward_config(node_values("reward_trainer", task, parameters), task), 0)
    for index in range(3):
        learner.add_episode(episode(index)), trainer.add_episode(episode(index))
    batch = learner.make_round()
    trainer.add_labels(LabelBatch(0, 5, 15, [Label.of(s, i % 5, "") for i, s in enumerate(batch.segments)]))
    trainer.train()
    save_state(ros.folder / "learner.safetensors", learner.state_dict(), "learner")
    save_state(ros.folder / "reward_trainer.safetensors", trainer.state_dict(), "reward_trainer")

    station = Workstation(ros)
    ros.start("learner", resume=True, checkpoint_dir=folder, **QUICK_LEARNER)
    again = station.round(0)
    assert [s.id for s in again.segments] == [s.id for s in batch.segments]
    ros.start("reward_trainer", resume=True, checkpoint_dir=folder, **QUICK_REWARD)
    ros.until(lambda: station.actor[0].get("episode_budget", 0) > 3, "permission to go on")
    station.send_ratings(again)  # the rater answers from its ledger; nothing may count twice
    ros.until(lambda: station.episodes.get_subscription_count() == 2, "both nodes to listen")
    station.send_episode(3)
    station.send_ratings(station.round(1))
    ros.until(lambda: len(station.models) > 1, "the next reward model")
    model = load_reward_model(decode(convert.bytes_of(station.models[-1]), "reward_model"))
    assert (model.health["ratings"], model.health["requested"], model.health["round"]) == (20, 20, 2)


def test_ratings_that_all_fail_end_the_run_in_one_line_that_can_be_continued(ros):
    station, folder = Workstation(ros), str(ros.folder)
    settings = QUICK_LEARNER | {"checkpoint_dir": folder}
    process = ros.start("learner", **(settings | {"max_ratings": 15}))
    ros.until(lambda: station.episodes.get_subscription_count() == 1, "the learner")
    for index in range(3):
        station.send_episode(index)
    station.send_ratings(station.round(0), rate=lambda i: -1)
    ros.until(lambda: process.poll() is not None, "the learner to give up")
    assert process.returncode == 2 and "max_ratings (15) are spent" in ros.log("learner")
    assert "Traceback" not in ros.log("learner")
    before = len(station.actors)
    ros.start("learner", resume=True, **settings)
    ros.until(lambda: "waiting for" in ros.log("learner"), "the learner to wait for the trainer")
    assert len(station.actors) == before  # the arm rests while the trainer may yet find its file damaged
    ros.publisher(UInt8MultiArray, names.REWARD_MODEL, qos.latched())
    ros.until(lambda: station.actor[0]["episode_budget"] > 3, "the learner to explore on")


def test_a_reward_model_without_rewards_is_refused(ros):
    station = Workstation(ros)
    ros.start("learner", **QUICK_LEARNER)
    ros.until(lambda: station.episodes.get_subscription_count() == 1, "the learner")
    for index in range(3):
        station.send_episode(index)
    batch = station.round(0)
    task = load_task("drawer_open")
    small = {"trunk.first_iterations": 1, "heads.iterations": 1}
    trainer = RewardTrainer(reward_config(node_values("reward_trainer", task, small), task), 0)
    trainer.add_episode(episode(0))
    trainer.add_labels(LabelBatch(0, 5, 15, [Label.of(s, i % 5, "") for i, s in enumerate(batch.segments)]))
    model = trainer.train()
    model.heads.weights[0] *= np.nan
    models = ros.publisher(UInt8MultiArray, names.REWARD_MODEL, qos.latched())
    models.publish(convert.bytes_message(encode(model.to_bundle())))
    ros.until(lambda: "of no use" in ros.log("learner"), "a word about the reward model")
    ros.until(lambda: station.actor[0]["episode_budget"] > 3, "the learner to explore on")


def test_a_round_without_a_rating_is_not_taken_for_bad(ros):
    station = Workstation(ros)
    ros.start("learner", **QUICK_LEARNER)
    ros.start("reward_trainer", **QUICK_REWARD)
    ros.until(lambda: station.episodes.get_subscription_count() == 2, "both nodes to listen")
    for index in range(3):
        station.send_episode(index)
    station.send_ratings(station.round(0), rate=lambda i: -1)
    ros.until(lambda: station.actor[0]["episode_budget"] > 3, "the learner to explore on")
    assert not station.models
    station.send_episode(3)
    assert len(station.round(1).segments) == 5


def test_damaged_messages_are_reported_and_survived(ros):
    station = Workstation(ros)
    ros.start("learner", **QUICK_LEARNER)
    ros.until(lambda: station.episodes.get_subscription_count() == 1 and station.actor[0], "the learner")
    station.episodes.publish(convert.bytes_message(b"not a bundle"))
    ros.until(lambda: "message refused" in ros.log("learner"), "a word about the damaged episode")
    station.send_episode(0)
    ros.until(lambda: station.actor[0]["episodes"] == 1, "the next episode")


def test_the_rater_rates_through_the_endpoint_and_logs_in_words(ros):
    station = Workstation(ros)
    logs = ros.collect(DiagnosticArray, names.LABEL_LOG, qos.metrics())
    ratings = ros.collect(UInt8MultiArray, names.LABELS, qos.bulk())
    with StandinServer(Answerer(AnswererConfig())) as server:
        ros.start("vlm_rater", base_url=server.base_url, ledger=str(ros.folder / "ledger.sqlite"))
        segments = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
        ros.until(lambda: ros.node.count_publishers(names.LABELS) == 2, "the rater")
        ros.start("learner", **QUICK_LEARNER)
        ros.until(lambda: station.episodes.get_subscription_count() == 1, "the learner")
        for index in range(3):
            station.send_episode(index)
        ros.until(lambda: ratings, "ratings")
        batch = LabelBatch.from_bundle(decode(convert.bytes_of(ratings[0]), "labels"))
        assert batch.requested == 15 and [r.segment.id for r in batch.labels] == [
            s.id for s in station.round(0).segments
        ]
        ros.until(lambda: logs, "the log")
        assert {s.name for s in logs[0].status} == {r.segment.id for r in batch.labels}
        assert ros.node.destroy_publisher(segments)
        assert ros.stop("vlm_rater") == 0


@pytest.mark.parametrize(
    "name, parameters, words",
    [
        ("vlm_rater", {"base_url": "http://127.0.0.1:9/v1"}, "base_url"),
        ("vlm_rater", {"api_key_env": "ERL_TEST_NO_SUCH_KEY"}, "ERL_TEST_NO_SUCH_KEY"),
        ("learner", {"warmup_step": 3}, "warmup_steps"),
        ("learner", {"selection__bins_share": 0.9}, "selection"),
        ("reward_trainer", {"task": "fold_laundry"}, "fold_laundry"),
        ("reward_trainer", {"resume": True, "checkpoint_dir": "nowhere"}, "nowhere"),
        ("reward_trainer", {"heads__noise": 0.85}, "heads.noise"),
    ],
)
def test_bad_input_is_named_and_refused(ros, name, parameters, words):
    if name == "vlm_rater":
        parameters = parameters | {"ledger": str(ros.folder / "ledger.sqlite"), "max_retries": 0}
    process = ros.start(name, **parameters)
    ros.until(lambda: process.poll() is not None, f"{name} to refuse {json.dumps(parameters)}")
    assert process.returncode != 0 and words in ros.log(name) and "Traceback" not in ros.log(name)


def test_rounds_of_both_kinds_teach_one_reward_model(ros):
    station, folder = Workstation(ros), str(ros.folder)
    ros.start("learner", feedback="both", checkpoint_dir=folder, **QUICK_LEARNER)
    ros.start("reward_trainer", feedback="both", checkpoint_dir=folder, **QUICK_REWARD)
    ros.until(lambda: station.actor[0].get("episode_budget") == 2, "the learner")
    figures = ros.collect(DiagnosticArray, names.METRICS, qos.metrics())
    kinds = []
    for number in range(3):
        while len(station.segments) <= number:
            station.send_episode(station.actor[0]["episodes"])
            before = station.actor[0]["episodes"]
            ros.until(lambda b=before: station.actor[0]["episodes"] > b, "the episode")
        asked = station.round(number)
        kinds.append(asked.kind)
        labels = [Label(query, i % (2 if len(query) == 2 else 5)) for i, query in enumerate(asked.queries)]
        n = 3 if asked.kind == "preference" else 5
        bundle = LabelBatch(number, n, len(labels), labels, kind=asked.kind).to_bundle()
        station.ratings.publish(convert.bytes_message(encode(bundle)))
        ros.until(lambda k=number: len(station.models) > k, "the reward model")
    assert kinds == ["rating", "preference", "rating"]
    model = load_reward_model(decode(convert.bytes_of(station.models[-1]), "reward_model"))
    assert (model.n_classes, model.info.requested) == (5, 25) and model.health["preference_labels"] == 5
    ros.until(lambda: any("reward_trainer" in convert.metrics_of(m) for m in figures), "figures")
