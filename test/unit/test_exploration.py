# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import EE_POSITION, RELEASED_OBSERVATION, spaces_of

TASK = dataclasses.replace(
    load_task("drawer_open"), workspace_min=(0.2, -0.3, 0.03), workspace_max=(0.66, 0.3, 0.4), goal=(0.36, 0.0, 0.11)
)
SPACES = spaces_of(TASK, 6)


class Still:
    def act(self, observation, deterministic, rng):
        return np.zeros(3, np.float32)


def observation(position):
    return build_observation(
        SPACES.observation, np.zeros(6), position, 0.0, np.array([0.5, 0, 0.1]), np.array(TASK.goal)
    )


def follow(policy, steps=50, actor=None):
    position, path = np.array([0.4, 0.0, 0.2]), []
    for _ in range(steps):
        action = policy.act(observation(position), actor)
        assert np.abs(action).max() <= 1
        position = position + action[:3] * TASK.linear_speed / TASK.control_hz
        path.append(position.copy())
    return np.array(path)


@pytest.mark.parametrize("name", ["prefix_steps", "burst_steps", "burst_start", "speed"])
def test_a_range_that_runs_backwards_is_refused(name):
    with refused(ConfigError, parameter=f"exploration.{name}"):
        ExplorationConfig(**{name: (0.9, 0.4)})


def test_observation_layout():
    obs = observation(np.array([0.1, 0.2, 0.3]))
    assert obs.shape == (RELEASED_OBSERVATION.size,) == (19,)
    np.testing.assert_allclose(obs[RELEASED_OBSERVATION.slice(EE_POSITION)], [0.1, 0.2, 0.3], rtol=1e-6)


def test_waypoints_cross_the_workspace():
    policy = RolloutPolicy(ExplorationConfig(object_share=0.0), TASK, SPACES, 0)
    paths = []
    for _ in range(8):
        policy.begin_episode(explore=True, evaluation=False)
        paths.append(follow(policy))
    spread = np.concatenate(paths).std(0)
    assert (spread > 0.04).all()  # uniform random actions stay within about 0.03 in 50 steps in z


def test_waypoints_near_the_object_bring_the_end_effector_there():
    near = []
    for share in (0.0, 1.0):
        policy = RolloutPolicy(ExplorationConfig(object_share=share), TASK, SPACES, 1)
        hits = 0
        for _ in range(10):
            policy.begin_episode(explore=True, evaluation=False)
            hits += (np.linalg.norm(follow(policy) - [0.5, 0, 0.1], axis=1) < 0.08).sum()
        near.append(hits)
    assert near[1] > 3 * near[0]


def test_evaluation_is_the_actor_alone():
    config = ExplorationConfig(prefix_share=1.0, burst_share=1.0)
    policy = RolloutPolicy(config, TASK, SPACES, 0)
    policy.begin_episode(explore=False, evaluation=True)
    assert np.ptp(follow(policy, actor=Still()), axis=0).max() == 0


def test_prefix_and_burst_windows_are_left_again():
    config = ExplorationConfig(
        prefix_share=1.0, prefix_steps=(5, 5), burst_share=1.0, burst_start=(20, 20), burst_steps=(6, 6)
    )
    policy = RolloutPolicy(config, TASK, SPACES, 0)
    policy.begin_episode(explore=False, evaluation=False)
    moved = np.abs(np.diff(follow(policy, actor=Still()), axis=0)).max(1) > 0
    assert moved[0:4].all() and not moved[5:18].any() and moved[20:24].any() and not moved[27:].any()


def test_same_seed_same_actions_and_resume_continues():
    a, b = (RolloutPolicy(ExplorationConfig(), TASK, SPACES, 5) for _ in range(2))
    a.begin_episode(True, False), b.begin_episode(True, False)
    np.testing.assert_array_equal(follow(a), follow(b))
    c = RolloutPolicy(ExplorationConfig(), TASK, SPACES, 99)
    c.load_state_dict(a.state_dict())
    a.begin_episode(True, False), c.begin_episode(True, False)
    np.testing.assert_array_equal(follow(a), follow(c))


def test_gripper_tasks_get_a_fourth_action():
    task = dataclasses.replace(TASK, gripper="continuous")
    policy = RolloutPolicy(ExplorationConfig(), task, spaces_of(task, 6), 0)
    policy.begin_episode(True, False)
    assert policy.act(observation(np.array([0.4, 0, 0.2])), None).shape == (4,)


def test_a_drift_is_added_to_what_the_actor_does_for_a_while():
    config = ExplorationConfig(
        prefix_share=0.0, burst_share=0.0, burst_start=(10, 10), burst_steps=(6, 6), drift_share=1.0
    )
    policy, ways = RolloutPolicy(config, TASK, SPACES, 0), []
    for _ in range(30):
        policy.begin_episode(explore=False, evaluation=False)
        steps = np.diff(follow(policy, 25, Still()), axis=0, prepend=[[0.4, 0.0, 0.2]])
        assert not steps[:10].any() and not steps[16:].any()
        np.testing.assert_allclose(steps[10:16], steps[10:11].repeat(6, 0), atol=1e-9)
        ways.append(steps[10] * TASK.control_hz / TASK.linear_speed)
    assert 0.25 < np.std(ways) < 0.75  # 0.5, cut at 1
    policy.begin_episode(explore=False, evaluation=True)
    assert np.ptp(follow(policy, actor=Still()), axis=0).max() == 0
