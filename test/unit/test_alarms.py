# SPDX-License-Identifier: Apache-2.0
"""Training alarms: each signature raises its own alarm and no other; a healthy run raises none."""

from __future__ import annotations

import numpy as np
import pytest

from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.monitoring.alarms import ERROR, OK, WARN, TrainingAlarms


def rated(episode, step, rating):
    segment = Segment(f"e{episode}_t{step}_h1", [b"x"], np.zeros((1, 10)), np.zeros((1, 3)), np.array([0]))
    return Label.of(segment, rating, "" if rating >= 0 else "timeout")


class Run:
    """A made-up run: rounds of ratings of a robot that gets better, with a rater who errs."""

    def __init__(self, seed=0, error=0.2, n=5):
        self.alarms, self.rng, self.error, self.n = TrainingAlarms(), np.random.default_rng(seed), error, n
        self.round = 0
        self.answered = self.disagreed = 0.0

    def level(self, episode, step):
        """True class: later episodes come further, and get there sooner."""
        reach = min(1.0, 0.2 + episode / 40)
        return int(min(step / 25, 1.0) * reach * (self.n - 1) + 0.3)

    def rate(self, count=50, valid=1.0, level=None, neighbours=False, disagree=0.15):
        out = []
        for i in range(count):
            episode, step = 5 * self.round + int(self.rng.integers(5)), int(self.rng.integers(1, 51))
            if neighbours:
                episode, step = 1000 + self.round, i
            rating = (level or self.level)(episode, step)
            if self.rng.random() < self.error:
                rating = int((rating + self.rng.integers(1, self.n)) % self.n)
            out.append(rated(episode, step, rating if self.rng.random() < valid else -1))
        high = sum(r.value >= self.n // 2 for r in out)
        self.answered, self.disagreed = self.answered + high, self.disagreed + disagree * high
        self.alarms.metrics("vlm_rater", {"rerate_answered": self.answered, "rerate_disagreed": self.disagreed})
        self.alarms.labels(LabelBatch(self.round, self.n, count, out, "vlm"))
        self.round += 1

    def train(self, fresh=0.35, **learner):
        self.alarms.metrics("reward_trainer", {"round": float(self.round), "fresh_skill": fresh})
        figures = {"learning": 1.0, "reward_spread": 0.25, "reward_std": 0.06, "reward_std_recent": 0.08}
        figures |= {"reward_drift": 0.05, "reward_version": float(self.round)}
        self.alarms.metrics("learner", figures | learner)

    def episode(self, noise=0.03, top=0.8):
        rise = np.clip(np.arange(50) / 25, 0, 1) * top
        self.alarms.rewards(rise + self.rng.normal(0, noise, 50))

    def names(self):
        return {alarm.name for alarm in self.alarms.raised()}


def healthy(seed=0, error=0.2, n=5):
    run = Run(seed, error, n)
    run.rate(150)
    run.train()
    for _ in range(16):
        run.rate()
        run.train()
        for _ in range(5):
            run.episode()
        assert run.names() == set()
    return run


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("error", "n"), [(0.0, 5), (0.2, 5), (0.35, 5), (0.2, 3), (0.1, 2)])
def test_a_healthy_run_raises_none(seed, error, n):
    healthy(seed, error, n)


def test_nothing_heard_raises_nothing():
    alarms = TrainingAlarms()
    assert alarms.raised() == []
    assert all(a.level == OK and a.text == "" for a in alarms.check())
    assert len({a.name for a in alarms.check()}) == 11


def test_advantages_that_weigh_all_actions_alike():
    alarms = TrainingAlarms()

    def learn(share, *updates):
        for count in updates:
            alarms.metrics("learner", {"updates": float(count), "effective_share": share})
        return {alarm.name for alarm in alarms.raised()}

    assert learn(0.99, *range(100, 1000, 100)) == set()  # values are still near 0
    assert learn(0.99, 1000, 1100, 1200) == {"cloning"}
    assert learn(0.6, 1300, 1400, 1500) == set()


def test_an_all_bad_start():
    run = Run(error=0.0)
    run.rate(150, level=lambda episode, step: 0)
    assert run.names() == {"all_bad"}
    for _ in range(12):  # it ends when something else is seen
        run.rate(50, level=lambda episode, step: step % 5)
    assert run.names() == set()


def test_no_example_of_the_top_class():
    run = Run(error=0.0)
    for _ in range(13):
        run.rate(level=lambda episode, step: step % 3)
    assert run.names() == {"no_top_class"}


@pytest.mark.parametrize(("valid", "level"), [(0.5, WARN), (0.1, ERROR)])
def test_few_valid_ratings(valid, level):
    run = healthy()
    for _ in range(4):
        run.rate(valid=valid)
    assert [(a.name, a.level) for a in run.alarms.raised()] == [("few_valid_ratings", level)]
    for _ in range(3):
        run.rate()
    assert run.names() == set()


def test_reward_collapse_counts_only_once_learning_has_begun():
    run = healthy()
    run.train(reward_spread=0.005, learning=0.0)
    assert run.names() == set()
    run.train(reward_spread=0.005)
    assert [(a.name, a.level) for a in run.alarms.raised()] == [("reward_collapse", ERROR)]
    run.train()
    assert run.names() == set()


def test_noisy_reward_along_good_episodes():
    run = healthy()
    for _ in range(40):
        run.alarms.rewards(run.rng.random(50))
    assert run.names() == {"noisy_reward"}


def test_an_end_effector_that_comes_and_goes_is_no_noise():
    run = Run()
    for _ in range(40):
        wave = 0.4 + 0.4 * np.sin(np.arange(50) * 2 * np.pi / 8)  # there and back in 0.8 s
        run.alarms.rewards(wave + run.rng.normal(0, 0.05, 50))
    assert run.names() == set()


def test_an_end_effector_that_dithers_at_the_object_is_no_noise():
    run = Run()
    for _ in range(40):
        run.alarms.rewards(0.2 + 0.15 * (run.rng.random(50) < 0.5))
    assert run.names() == set()


def test_flat_episodes_are_not_called_noisy():
    run = Run()
    for _ in range(40):
        run.episode(noise=0.01, top=0.0)
    assert run.names() == set()


def test_a_teacher_that_contradicts_itself():
    run = Run(error=0.0)
    for _ in range(4):
        run.rate(neighbours=True, level=lambda episode, step: 4 * (step % 2))
    assert run.names() == {"contradicting_teacher"}


def test_high_ratings_that_are_not_confirmed():
    run = healthy()
    for _ in range(6):
        run.rate(disagree=0.7)
    assert run.names() == {"unconfirmed_ratings"}
    for _ in range(6):
        run.rate()
    assert run.names() == set()


def test_a_policy_in_an_uncertain_region():
    run = healthy()
    run.train(reward_std_recent=0.2)
    assert run.names() == {"uncertain_region"}
    run.train(reward_std_recent=0.1, reward_std=0.04)  # more than usual, but little
    assert run.names() == set()


def test_a_reward_model_that_foretells_nothing():
    run = healthy()
    for _ in range(4):
        run.rate()
        run.train(fresh=-0.1)
    assert run.names() == {"stale_reward"}


def test_rewards_that_never_settle():
    run = healthy()
    for _ in range(3):
        run.rate()
        run.train(reward_drift=0.4)
    assert run.names() == {"reward_drift"}


def test_the_same_round_and_figures_heard_twice_count_once():
    run = Run(error=0.0)
    batch = LabelBatch(0, 5, 60, [rated(0, i, 0) for i in range(60)], "vlm")
    for _ in range(3):
        run.alarms.labels(batch)
    assert run.names() == set()  # 60 ratings, not 180
    for _ in range(5):
        run.alarms.metrics("reward_trainer", {"round": 1.0, "fresh_skill": -1.0})
    assert run.names() == set()


def test_the_texts_tell_figures():
    run = Run(error=0.0)
    run.rate(150, level=lambda episode, step: 0)
    (alarm,) = run.alarms.raised()
    assert "100% of 150 ratings" in alarm.text
