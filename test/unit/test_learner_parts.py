# SPDX-License-Identifier: Apache-2.0
"""What the learner is made of, each alone: pacing of updates, schedule of rounds, picking, relabelling."""

import numpy as np
import pytest
from factories import ACT_DIM, OBS_DIM, PROP_DIM, make_episode, make_queries
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.data.learner_state import upgraded
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.feedback.kinds import RATING
from erl_vlm_ros.reward.info import RewardModelInfo
from erl_vlm_ros.training.batches import ReplayBatches
from erl_vlm_ros.training.query_picker import QueryPicker
from erl_vlm_ros.training.rating_schedule import RatingPlan, RatingSchedule
from erl_vlm_ros.training.update_pacer import UpdatePacer

PLAN = RatingPlan(warmup_steps=100, round_steps=50, first=5, later=3, most=10)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 50)), max_size=20), st.floats(0, 4), st.integers(0, 3))
def test_no_update_is_lost_or_made_up(events, rate, lag):
    pacer, steps, done = UpdatePacer(rate, 50, lag), 0, 0
    for collected, most in events:
        pacer.collected(collected)
        steps += collected
        done += (taken := pacer.take(most))
        assert 0 <= taken <= most
    assert pacer.done == done and pacer.done + pacer.pending_updates == pytest.approx(rate * steps)
    pacer.take(10**9)
    assert pacer.pending_updates < 1 and pacer.episodes_ahead() == 1 + lag


def test_the_arm_waits_for_updates():
    pacer = UpdatePacer(1.0, 20, 1)
    assert pacer.episodes_ahead() == 2
    pacer.collected(20)
    assert pacer.episodes_ahead() == 1
    pacer.grant(15)
    assert pacer.episodes_ahead() == 0


def queries(schedule):
    batch = make_queries(schedule.size(), schedule.sent)
    schedule.begin(batch, 100)
    return batch


def test_rounds_come_one_at_a_time_within_the_budget():
    schedule = RatingSchedule(PLAN)
    assert not schedule.due(99) and schedule.due(100) and schedule.size() == 5 and schedule.steps_missing(30) == 70
    queries(schedule)
    assert schedule.waiting and not schedule.due(1000)
    schedule.finish(1)
    assert not schedule.waiting and not schedule.due(149) and schedule.due(150) and schedule.size() == 3
    for number in (1, 2):
        queries(schedule)
        schedule.finish(number + 1)
    assert schedule.requested == 10 and schedule.over and not schedule.due(10**6)


def test_an_outage_is_refunded_once_and_another_round_not_at_all():
    schedule = RatingSchedule(PLAN)
    batch = queries(schedule)
    lost = [Label(query, -1, "timeout") for query in batch.queries]
    for number, want in ((0, 0), (0, 0), (7, 0)):
        schedule.answered(LabelBatch(number, 3, 5, lost))
        assert schedule.requested == want
    other = RatingSchedule(PLAN)
    other.load_state_dict(schedule.state_dict())
    assert (other.requested, other.refunded, other.sent, other.next_at) == (0, 5, 1, 150)
    assert [query.id for query in other.pending.queries] == [query.id for query in batch.queries]


def test_no_round_number_is_given_twice_after_a_return_to_an_older_checkpoint():
    schedule = RatingSchedule(PLAN)
    queries(schedule)
    schedule.finish(4, requested=9)
    assert (schedule.sent, schedule.done, schedule.requested, schedule.pending) == (4, 4, 9, None)
    assert schedule.size() == 1


def buffer(episodes=3, capacity=1000):
    replay = ReplayBuffer(capacity, OBS_DIM, ACT_DIM, PROP_DIM)
    for i in range(episodes):
        replay.add_episode(make_episode(i), rewards=np.arange(20.0) + 100 * i)
    return replay


def test_nothing_is_asked_twice():
    replay, picker = buffer(), QueryPicker(RATING, SelectionConfig(), 2, np.random.default_rng(0))
    seen = [query.id for _ in range(4) for query in picker.pick(replay, None, 15)]
    assert len(seen) == len(set(seen)) == 57  # of 3 x 19 segments of two frames
    again = QueryPicker(RATING, SelectionConfig(), 2, np.random.default_rng(0))
    again.load_state_dict(picker.state_dict())
    assert again.pick(replay, None, 15) == []


def test_windows_lie_within_their_episode():
    replay = buffer()
    batches = ReplayBatches(replay, [], np.random.default_rng(0), 0.0)
    drawn = batches.windows(400, 7)
    rewards = drawn.reward.numpy()
    assert drawn.obs.shape == (400, 7, OBS_DIM) and drawn.action.shape == (400, 7, ACT_DIM)
    np.testing.assert_array_equal(np.diff(rewards, axis=1), 1)
    assert {*rewards[:, 0]} == {100.0 * e + t for e in range(3) for t in range(14)}
    for row in (0, 13):
        e, t = divmod(int(rewards[row, 0]), 100)
        np.testing.assert_array_equal(drawn.obs[row].numpy(), make_episode(e).observations[t : t + 7])
    with pytest.raises(ValueError):
        batches.windows(1, 21)


def test_the_released_form_of_a_checkpoint_is_read():
    counters = dict.fromkeys(("env_steps", "episodes", "version", "updates", "refunded"), 1)
    counters |= {"phase": "learn", "owed": 2.5, "ratings_requested": 9, "rounds_sent": 3, "rounds_done": 2}
    counters |= {"next_round_at": 70, "last_return": 0.5}
    parts = dict.fromkeys(("sac", "replay", "rng", "batch_rng", "model", "pending"))
    state = upgraded({"counters": counters, "rated": [4], **parts})
    schedule, pacer = RatingSchedule(PLAN), UpdatePacer(1.0, 50, 1)
    schedule.load_state_dict(state["schedule"])
    pacer.load_state_dict(state["pacer"])
    assert (schedule.requested, schedule.sent, schedule.done, schedule.next_at) == (9, 3, 2, 70)
    assert (pacer.pending_updates, pacer.done) == (2.5, 1)


def test_info_of_a_released_reward_model_is_read_from_its_figures():
    info = RewardModelInfo.from_meta({"health": {"round": 3.0, "requested": 90.0, "skill": 0.2, "loss": 1.0}})
    assert info == RewardModelInfo(round=3, requested=90, skill=0.2)
    assert RewardModelInfo.from_meta({"info": info.to_meta(), "health": {"round": 77.0}}) == info


@given(
    st.dictionaries(
        st.sampled_from(["round", "requested", "skill", "assumed_noise", "rating_noise", "x"]),
        st.one_of(st.none(), st.floats(), st.integers(-3, 3), st.text(max_size=2), st.booleans()),
    )
)
def test_info_from_a_message_is_right_or_refused(info):
    from erl_vlm_ros.data.bundle import BundleError

    try:
        found = RewardModelInfo.from_meta({"info": info})
    except BundleError:
        return
    assert type(found.round) is int and found.round >= 0 and np.isfinite(found.skill)
