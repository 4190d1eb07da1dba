# SPDX-License-Identifier: Apache-2.0
"""The controller's decisions, without ROS and without time."""

import pytest

from erl_vlm_ros.control.episode_machine import (
    DISARMED,
    EVALUATING,
    FINISHED,
    RESETTING,
    RUNNING,
    WAITING,
    EpisodeMachine,
    LearnerStatus,
    Plan,
    Schedule,
)  # fmt: skip


def schedule(**changes):
    values = {
        "max_steps": 1000,
        "eval_every": 0,
        "eval_episodes": 2,
        "final_eval_episodes": 3,
        "eval_seed": 70,
    } | changes
    return Schedule(**values)


def learner(budget=10**6, version=0, env_steps=0, episodes=0, weights=True):
    return LearnerStatus(version, env_steps, episodes, budget, explore=not weights, has_weights=weights)


def machine(armed=True, **changes):
    out = EpisodeMachine(schedule(**changes))
    out.set_armed(armed)
    return out


def run_one(m, now=0.0, steps=50):
    """One whole episode; returns its plan."""
    plan = m.poll(now)
    assert plan is not None, m.summary()
    assert m.state == RESETTING
    m.reset_done()
    assert m.state == (EVALUATING if plan.evaluation else RUNNING)
    m.episode_done(steps)
    return plan


def test_nothing_starts_disarmed_or_without_a_learner():
    m = machine(armed=False)
    m.set_learner(learner(), 0.0)
    assert m.state == DISARMED and m.poll(0.0) is None
    m = machine()
    assert m.poll(0.0) is None and m.summary()["awaits"] == "actor"


def test_the_budget_holds_training_back():
    m = machine()
    m.set_learner(learner(budget=2, weights=False), 0.0)
    assert run_one(m) == Plan(False, 0, -1, explore=True)
    assert run_one(m) == Plan(False, 1, -1, explore=True)
    assert m.poll(0.0) is None and m.state == WAITING
    assert m.summary()["awaits"] == "budget"
    m.set_learner(learner(budget=3, env_steps=100, episodes=2), 0.0)
    assert run_one(m) == Plan(False, 2, -1, explore=False)
    assert (m.env_steps, m.episodes) == (150, 3)


def test_evaluation_rounds_come_when_due_and_at_the_end():
    m = machine(eval_every=100, max_steps=230)
    m.set_learner(learner(), 0.0)
    plans = [run_one(m) for _ in range(9)]
    assert [(p.evaluation, p.index, p.seed) for p in plans] == [
        (False, 0, -1), (False, 1, -1), (True, 0, 70), (True, 1, 71),
        (False, 2, -1), (False, 3, -1), (True, 0, 70), (True, 1, 71), (False, 4, -1),
    ]  # fmt: skip
    m.set_learner(learner(env_steps=250), 0.0)
    plans = [run_one(m) for _ in range(3)]
    assert [(p.evaluation, p.seed, p.final) for p in plans] == [
        (True, 70, True),
        (True, 71, True),
        (True, 72, True),
    ]
    assert m.state == FINISHED and m.poll(0.0) is None
    assert m.summary()["state"] == "finished" and m.summary()["eval_round"] == 3
    assert m.env_steps == 250  # evaluation steps are not training steps


def test_no_evaluation_without_weights():
    m = machine(eval_every=50, max_steps=100, final_eval_episodes=2, settle_timeout_s=0.0)
    m.set_learner(learner(weights=False), 0.0)
    assert [run_one(m).evaluation for _ in range(2)] == [False, False]
    assert m.poll(0.0) is None and m.state == FINISHED and m.summary()["eval_round"] == 0


def test_the_final_round_waits_for_the_learner_but_not_for_ever():
    m = machine(max_steps=50, settle_timeout_s=20.0)
    m.set_learner(learner(), 0.0)
    run_one(m)
    assert m.poll(100.0) is None and m.summary()["awaits"] == "learner"
    assert m.poll(119.0) is None
    assert m.poll(120.0).final
    m = machine(max_steps=50, settle_timeout_s=20.0)
    m.set_learner(learner(), 0.0)
    run_one(m)
    m.set_learner(learner(env_steps=50, episodes=1), 1.0)
    assert m.poll(1.0).final


def test_evaluate_mode_needs_no_learner():
    m = machine(train=False)
    assert [run_one(m).seed for _ in range(3)] == [70, 71, 72]
    assert m.state == FINISHED
    m = machine(train=False, final_eval_episodes=0)
    assert m.poll(0.0) is None and m.state == FINISHED


def test_a_fresh_process_adopts_the_learners_counters_once():
    m = machine(eval_every=1000, max_steps=10_000)
    m.set_learner(learner(env_steps=5050, episodes=101), 0.0)
    assert (m.env_steps, m.episodes) == (5050, 101)
    assert run_one(m).index == 101  # and no evaluation for the thousands that are past
    m.set_learner(learner(env_steps=5050, episodes=101), 0.0)
    assert (m.env_steps, m.episodes) == (5100, 102)


def test_a_restored_machine_follows_the_learner_and_still_owes_the_evaluation():
    first = machine(eval_every=1000, max_steps=10_000)
    first.set_learner(learner(env_steps=950, episodes=19), 0.0)
    run_one(first)
    m = machine(eval_every=1000, max_steps=10_000)
    m.load_state_dict(first.state_dict())
    assert (m.env_steps, m.episodes) == (1000, 20)
    m.set_learner(learner(env_steps=1000, episodes=20), 0.0)
    assert m.poll(0.0).evaluation
    m = machine(eval_every=1000, max_steps=10_000)
    m.load_state_dict(first.state_dict())
    m.set_learner(learner(env_steps=800, episodes=16), 0.0)  # it lost the last four
    plan = m.poll(0.0)
    assert (plan.evaluation, plan.index, m.env_steps) == (False, 16, 800)


def test_disarming_ends_an_episode_and_a_round_goes_on_where_it_was():
    m = machine(max_steps=50)
    m.set_learner(learner(env_steps=50, episodes=1), 0.0)
    assert run_one(m).seed == 70
    m.poll(0.0)
    m.reset_done()
    m.abandon()
    m.set_armed(False)
    assert m.state == DISARMED and m.poll(0.0) is None
    m.set_armed(True)
    assert m.poll(0.0).seed == 71


def test_a_lost_episode_is_planned_again_and_a_split_one_counts_twice():
    m = machine()
    m.set_learner(learner(), 0.0)
    assert m.poll(0.0).index == 0
    m.reset_done()
    m.abandon()
    assert m.poll(0.0).index == 0
    m.reset_done()
    m.part_done(20)
    assert m.plan.index == 1 and m.state == RUNNING
    m.episode_done(25)
    assert (m.env_steps, m.episodes) == (45, 2)


def test_an_answer_to_a_dropped_reset_changes_nothing():
    m = machine()
    m.set_learner(learner(), 0.0)
    m.poll(0.0)
    m.abandon()
    m.reset_done()
    assert m.state == WAITING
    m.episode_done(50)
    assert m.env_steps == 0


def test_a_learner_that_lost_episodes_for_good_does_not_block_for_ever():
    m = machine()
    m.set_learner(learner(budget=5), 0.0)
    for _ in range(5):
        run_one(m)
    m.set_learner(learner(budget=5, env_steps=200, episodes=4), 10.0)
    m.set_learner(learner(budget=3, env_steps=100, episodes=2), 20.0)  # restarted from an old checkpoint
    assert m.poll(25.0) is None  # it may still receive them again
    plan = m.poll(31.0)
    assert (plan.index, m.env_steps) == (2, 100)
    # a learner that is only slow is not mistaken for one
    m = machine()
    m.set_learner(learner(budget=2), 0.0)
    run_one(m), run_one(m)
    assert m.poll(1000.0) is None and m.episodes == 2


@pytest.mark.parametrize("failure, state", [("", "running"), ("reset failed", "failed")])
def test_summary_names_state_and_reason(failure, state):
    summary = machine(armed=False).summary(failure)
    assert summary["state"] == state
    assert summary["awaits"] == "guard" and (not failure or summary["waiting_for"] == failure)
