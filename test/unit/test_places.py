# SPDX-License-Identifier: Apache-2.0
"""Where exploration is sent: what touches hold the arm up is noticed, in free space nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from factories import ACT_DIM, OBS_DIM, PROP_DIM, make_episode, tagged_jpeg

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.spaces import EE_POSITION, spaces_of
from erl_vlm_ros.training.held_up import held_up
from erl_vlm_ros.training.places import found_places

STEP = 0.05  # m of a full step
SPACES = spaces_of(load_task("drawer_open"), 6)


def motions(episodes=6, steps=50, wall=None, lag=0.3, seed=0, push=False):
    """Random motions of an arm that lags; ``wall``: x that it does not get past; ``push``: always towards it. Positions
    [T, 3] before and after, commands [T, 3], first [T]."""
    rng = np.random.default_rng(seed)
    before, after, commands, first = [], [], [], []
    for _ in range(episodes):
        place, last, command = np.zeros(3), np.zeros(3), np.zeros(3)
        for step in range(steps):
            if step % 7 == 0:
                command = rng.uniform(-1, 1, 3)
                command[0] = rng.uniform(0.5, 1) if push else command[0]
            goes = STEP * ((1 - lag) * command + lag * last)
            there = place + goes
            if wall is not None:
                there[0] = min(there[0], wall)
            before.append(place), after.append(there), commands.append(command), first.append(step == 0)
            place, last = there, command
    return np.array(before), np.array(after), np.array(commands), np.array(first)


class TestHeldUp:
    def test_nothing_in_free_space_whatever_the_lag_and_the_unit(self):
        for lag, unit in ((0.0, 1.0), (0.3, 1.0), (0.3, 0.25)):
            before, after, commands, first = motions(lag=lag)
            assert not held_up(before, after, commands * unit, first).any()

    def test_steps_against_a_wall(self):
        before, after, commands, first = motions(wall=0.1, seed=1)
        pushed = (after[:, 0] >= 0.1) & (commands[:, 0] > 0.4) & (before[:, 0] >= 0.1)
        found = held_up(before, after, commands, first)
        assert pushed.sum() > 10
        assert found[pushed].all()
        assert (after[found][:, 0] > 0.1 - 2 * STEP).all()

    def test_an_arm_that_stays_with_what_it_found_is_held_up_most_of_the_time(self):
        free = motions(episodes=30, seed=3)
        stuck = motions(episodes=60, wall=0.2, seed=4, push=True)
        found = held_up(*(np.concatenate(pair) for pair in zip(free, stuck)))
        pushed = stuck[0][:, 0] >= 0.2
        assert pushed.mean() > 0.8
        assert not found[: len(free[0])].any() and found[len(free[0]) :][pushed].all()

    def test_noise_of_the_measured_position_is_none(self):
        before, after, commands, first = motions()
        noise = np.random.default_rng(2).normal(0, 0.001, (2, *before.shape))
        assert not held_up(before + noise[0], after + noise[1], commands, first).any()

    @pytest.mark.parametrize("steps", [0, 1, 99])
    def test_too_few_steps_tell_nothing(self, steps):
        before, after, commands, first = (part[:steps] for part in motions(wall=0.0))
        assert held_up(before, after, commands, first).shape == (steps,)
        assert not held_up(before, after, commands, first).any()

    def test_an_arm_that_does_not_move_at_all_finds_no_place(self):
        before, _, commands, first = motions()
        assert not held_up(before, before, commands, first).any()


@pytest.fixture
def pushing():
    """A buffer of an arm that now and then pushes against a wall at x = 0.1."""
    buffer = ReplayBuffer(1000, OBS_DIM, ACT_DIM, PROP_DIM, SPACES)
    where = SPACES.observation.slice(EE_POSITION)
    for index in range(6):
        before, after, commands, _ = motions(episodes=1, wall=0.1, seed=index)
        observations = np.zeros((len(commands) + 1, OBS_DIM), np.float32)
        observations[:, where] = np.vstack([before[:1], after])
        buffer.add_episode(
            make_episode(
                index, len(commands), observations=observations, actions=commands.astype(np.float32),
                jpegs=[tagged_jpeg("")] * (len(commands) + 1),
            )
        )  # fmt: skip
    return buffer


class TestFoundPlaces:
    def test_half_are_where_it_was_held_up_and_half_of_the_highest_reward(self, pushing):
        positions = pushing.frame_observations[:, SPACES.observation.slice(EE_POSITION)]
        reward = np.zeros(pushing.n_frames)
        best = np.argsort(positions[:, 0])[:16]
        reward[best] = 1.0
        places = found_places(pushing, reward, 64)
        assert len(places) % 2 == 0 and len(places) <= 64
        held, liked = np.split(places, 2)
        assert (held[:, 0] > 0.0).all()
        assert {tuple(place) for place in liked} == {tuple(place) for place in positions[best]}

    def test_before_a_reward_model_only_where_it_was_held_up(self, pushing):
        places = found_places(pushing, None, 20)
        assert 0 < len(places) <= 20 and (places[:, 0] > 0.0).all()

    def test_none_where_nothing_is_known(self):
        empty = ReplayBuffer(1000, OBS_DIM, ACT_DIM, PROP_DIM, SPACES)
        assert found_places(empty, None, 64).shape == (0, 3)
