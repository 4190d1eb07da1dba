# SPDX-License-Identifier: Apache-2.0
"""Replay buffer: pairing, eviction of whole episodes, time-outs, relabelling, saving."""

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.replay import ReplayBuffer


def numbered_episode(number, steps, terminated=False, truncated=True, **changes):
    """Observation = (episode, time, ...), action = (episode, time): every pairing can be checked."""
    times = np.arange(steps + 1)
    observations = np.zeros((steps + 1, 4), np.float32)
    observations[:, 0], observations[:, 1] = number, times
    values = {
        "observations": observations,
        "actions": observations[:-1, :2] / 1000,
        "jpegs": [f"{number}:{t}".encode() for t in times],
        "stamps": times + 1000 * number,
        "terminated": terminated,
        "truncated": truncated,
        "evaluation": False,
        "index": number,
        "actor_version": 0,
        "seed": -1,
        "prop_dim": 2,
    }
    return Episode(**{**values, **changes})


def make_buffer(capacity=100, episodes=()):
    buffer = ReplayBuffer(capacity, 4, 2, 2)
    for number, steps in episodes:
        buffer.add_episode(numbered_episode(number, steps))
    return buffer


def assert_consistent(buffer):
    batch = buffer.gather(np.arange(len(buffer)))
    np.testing.assert_array_equal(batch.obs[:, 0], batch.next_obs[:, 0])  # never across episodes
    np.testing.assert_array_equal(batch.obs[:, 1] + 1, batch.next_obs[:, 1])
    np.testing.assert_allclose(batch.action * 1000, batch.obs[:, :2], rtol=1e-5)
    for t, frame in enumerate(buffer.transition_frame):
        name = f"{int(batch.next_obs[t, 0])}:{int(batch.next_obs[t, 1])}"
        assert buffer.frame_jpegs[frame] == name.encode()
        np.testing.assert_array_equal(buffer.frame_proprio[frame], batch.next_obs[t, :2])
        assert buffer.frame_stamps[frame] == 1000 * batch.next_obs[t, 0] + batch.next_obs[t, 1]


def test_transitions_pair_frames_of_one_episode():
    buffer = make_buffer(episodes=[(0, 3), (1, 1), (2, 5)])
    assert len(buffer) == 9 and buffer.n_frames == 12
    assert_consistent(buffer)
    assert buffer.transition_frame.tolist() == [1, 2, 3, 5, 7, 8, 9, 10, 11]
    assert buffer.frame_episode.tolist() == [0] * 4 + [1] * 2 + [2] * 6
    assert buffer.transition_episode.tolist() == [0] * 3 + [1] + [2] * 5


def test_eviction_takes_whole_episodes_oldest_first():
    buffer = make_buffer(10, [(0, 4), (1, 4)])
    buffer.add_episode(numbered_episode(2, 3))
    assert len(buffer) == 7 and buffer.first_frame_id == 5 and buffer.frame_jpegs[0] == b"1:0"
    assert_consistent(buffer)
    buffer.add_episode(numbered_episode(3, 10))
    assert len(buffer) == 10 and buffer.n_frames == 11 and buffer.episodes_added == 4
    assert_consistent(buffer)


def test_long_use_stays_consistent_and_within_capacity():
    buffer, rng = make_buffer(60), np.random.default_rng(0)
    for number in range(300):
        buffer.add_episode(numbered_episode(number, int(rng.integers(1, 21))))
        assert len(buffer) <= 60
        if number % 37 == 0:
            assert_consistent(buffer)
    assert_consistent(buffer)
    assert buffer.first_frame_id + buffer.n_frames == 300 + sum(np.random.default_rng(0).integers(1, 21, 300))
    assert max(len(column._data) for column in buffer._frames.values()) < 1000  # storage does not grow for ever


def test_terminated_and_truncated_are_apart_and_only_at_the_end():
    buffer = make_buffer()
    buffer.add_episode(numbered_episode(0, 3, terminated=True, truncated=False))
    buffer.add_episode(numbered_episode(1, 3, terminated=False, truncated=True))
    assert buffer.terminated.tolist() == [0, 0, 1, 0, 0, 0]
    assert buffer.truncated.tolist() == [0, 0, 0, 0, 0, 1]
    assert buffer.gather(np.array([2, 5])).terminated.tolist() == [1, 0]


def test_sampling_is_uniform_seeded_and_returns_float32_tensors():
    buffer = make_buffer(episodes=[(0, 5), (1, 5)])
    batch = buffer.sample(4000, np.random.default_rng(1))
    same = buffer.sample(4000, np.random.default_rng(1))
    for a, b in zip(batch, same):
        assert a.dtype == torch.float32 and torch.equal(a, b)
    counts = np.unique(batch.obs[:, 0] * 10 + batch.obs[:, 1], return_counts=True)[1]
    assert len(counts) == 10 and counts.min() > 300
    batch.obs.zero_()  # a copy: the buffer is unharmed
    assert_consistent(buffer)


def test_set_rewards_replaces_all_and_add_episode_takes_rewards():
    buffer = make_buffer(episodes=[(0, 2)])
    buffer.add_episode(numbered_episode(1, 2), rewards=np.array([5.0, 6.0]))
    assert buffer.rewards.tolist() == [0, 0, 5, 6]
    buffer.set_rewards(np.arange(4))
    assert buffer.gather(np.array([3, 0])).reward.tolist() == [3, 0]
    for bad in (np.zeros(3), np.array([0, 0, 0, np.nan])):
        with refused(DataError, field="rewards"):
            buffer.set_rewards(bad)


def test_refusals():
    buffer = make_buffer(5)
    with refused(DataError, field="size"):
        buffer.sample(1, np.random.default_rng(0))
    with refused(DataError, field="evaluation"):
        buffer.add_episode(numbered_episode(0, 2, evaluation=True))
    with refused(DataError, field="steps"):
        buffer.add_episode(numbered_episode(0, 6))
    with refused(DataError, field="sizes"):
        ReplayBuffer(5, 5, 2, 2).add_episode(numbered_episode(0, 2))
    with refused(DataError, field="prop_dim"):
        buffer.add_episode(numbered_episode(0, 2, prop_dim=3))
    buffer.add_episode(numbered_episode(0, 2))
    for bad in ([2], [-1], []):
        with pytest.raises(IndexError):
            buffer.gather(np.array(bad, np.int64))


def test_state_dict_round_trip_continues_identically():
    buffer = make_buffer(20, [(0, 8), (1, 8), (2, 8)])
    buffer.set_rewards(np.arange(16))
    copy = make_buffer(20)
    copy.load_state_dict(buffer.state_dict())
    for target in (buffer, copy):
        target.add_episode(numbered_episode(3, 7))
    assert copy.first_frame_id == buffer.first_frame_id and copy.frame_jpegs == buffer.frame_jpegs
    for a, b in zip(buffer.sample(64, np.random.default_rng(3)), copy.sample(64, np.random.default_rng(3))):
        assert torch.equal(a, b)
    assert_consistent(copy)


def test_loading_into_a_smaller_buffer_keeps_the_newest_and_other_sizes_are_refused():
    buffer = make_buffer(20, [(0, 8), (1, 8)])
    small = make_buffer(10)
    small.load_state_dict(buffer.state_dict())
    assert len(small) == 8 and small.frame_jpegs[0] == b"1:0"
    assert_consistent(small)
    with refused(DataError, field="obs_dim"):
        ReplayBuffer(10, 5, 2, 2).load_state_dict(buffer.state_dict())
    state = buffer.state_dict()
    state["steps"]["reward"] = state["steps"]["reward"][:-1]
    with refused(DataError, field="columns"):
        make_buffer(20).load_state_dict(state)


def driven_buffer():
    """Episode 1 was driven by a person in its steps 1 and 3."""
    buffer = make_buffer(episodes=[(0, 5)])
    buffer.add_episode(numbered_episode(1, 5, intervention=np.array([False, True, False, True, False])))
    buffer.add_episode(numbered_episode(2, 30))
    return buffer


def test_demonstrations_get_their_share_of_each_batch():
    buffer = driven_buffer()
    assert buffer.demonstrations.tolist() == [6, 8]
    assert buffer.intervention.sum() == 2
    batch = buffer.sample(1000, np.random.default_rng(0), demo_share=0.25)
    shown = (batch.obs[:, 0] == 1) & ((batch.obs[:, 1] == 1) | (batch.obs[:, 1] == 3))
    assert shown[:250].all() and 0 < shown[250:].sum() < 120  # the rest is uniform: 2 of 40
    assert set(batch.obs[:250, 1].tolist()) == {1.0, 3.0}
    none = buffer.sample(1000, np.random.default_rng(0))
    assert torch.equal(none.obs, buffer.gather(np.random.default_rng(0).integers(0, 40, 1000)).obs)


def test_without_demonstrations_a_share_changes_nothing():
    buffer = make_buffer(episodes=[(0, 5), (1, 5)])
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(3):
        for a, b in zip(buffer.sample(64, one, demo_share=0.5), buffer.sample(64, other)):
            assert torch.equal(a, b)
    assert one.bit_generator.state == other.bit_generator.state


def test_demonstrations_leave_with_their_episode():
    buffer = ReplayBuffer(12, 4, 2, 2)
    buffer.add_episode(numbered_episode(0, 5, intervention=np.ones(5, bool)))
    buffer.add_episode(numbered_episode(1, 5))
    assert len(buffer.demonstrations) == 5
    buffer.add_episode(numbered_episode(2, 5, intervention=np.array([0, 0, 0, 0, 1], bool)))
    assert buffer.demonstrations.tolist() == [9]
    assert_consistent(buffer)


def test_extras_are_kept_with_their_frames_and_must_stay_the_same():
    buffer = make_buffer()
    extras = np.arange(8, dtype=np.float32).reshape(4, 2)
    buffer.add_episode(numbered_episode(0, 3, extras=extras, extra_names=["wrench_fx", "wrench_fy"]))
    assert buffer.extra_names == ["wrench_fx", "wrench_fy"]
    np.testing.assert_array_equal(buffer.frame_extras, extras)
    with refused(DataError, field="extras"):
        buffer.add_episode(numbered_episode(1, 3))


def test_marks_and_extras_are_saved_and_an_older_checkpoint_has_neither():
    buffer = driven_buffer()
    state = buffer.state_dict()
    copy = make_buffer()
    copy.load_state_dict(state)
    assert copy.demonstrations.tolist() == [6, 8]
    for key in ("steps", "frames"):
        state[key] = {k: v for k, v in state[key].items() if k not in ("intervention", "extras")}
    del state["extra_names"]
    old = make_buffer()
    old.load_state_dict(state)
    assert len(old) == 40 and not len(old.demonstrations) and old.frame_extras.shape == (43, 0)
    assert_consistent(old)
