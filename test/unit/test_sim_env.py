# SPDX-License-Identifier: Apache-2.0
"""The tasks as Gymnasium environments."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.sim import ENVIRONMENTS
from erl_vlm_ros.sim.env import ArmEnv
from erl_vlm_ros.sim.oracle import Oracle


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_passes_the_environment_checker(name):
    env = gymnasium.make(name, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.reset(seed=0)
    assert env.render().shape == (128, 128, 3)
    env.close()


@pytest.mark.parametrize(("name", "spec"), ENVIRONMENTS.items())
def test_only_the_time_limit_ends_an_episode(name, spec):
    task, steps = spec
    env = gymnasium.make(name)
    assert load_task(task).episode_steps == steps
    observation, info = env.reset(seed=3)
    assert observation.shape == (19,) and observation.dtype == np.float32
    oracle, dim, solved = Oracle(task), env.action_space.shape[0], False
    for k in range(steps):
        action = oracle.action(env.unwrapped.arm.state(), dim)
        observation, reward, terminated, truncated, info = env.step(action)
        solved |= info["success"]
        assert not terminated and truncated == (k == steps - 1)
        assert env.observation_space.contains(observation)
        assert reward == info["progress"] and {f"class_{n}" for n in (2, 3, 4, 5)} <= set(info)
    assert solved and info["success"]


def test_seed_fixes_the_episode_and_those_after_it():
    def play(seed: int) -> bytes:
        env = gymnasium.make("erl_vlm_ros/SweepInto-v0")
        rng, out = np.random.default_rng(0), []
        for episode in range(2):
            out.append(env.reset(seed=seed if episode == 0 else None)[0].tobytes())
            out += [env.step(rng.uniform(-1, 1, 3).astype(np.float32))[0].tobytes() for _ in range(5)]
        return b"".join(out)

    assert play(4) == play(4) != play(5)


def test_sparse_reward_is_success():
    env = ArmEnv("drawer_open", reward="sparse")
    env.reset(seed=0)
    oracle, rewards, successes = Oracle("drawer_open"), [], []
    for _ in range(25):
        _, reward, _, _, info = env.step(oracle.action(env.arm.state(), 3))
        rewards.append(reward)
        successes.append(float(info["success"]))
    assert rewards == successes and {0.0, 1.0} == set(rewards)


def test_wrong_arguments_are_named():
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN):
        ArmEnv("x")
    with refused(ConfigError, parameter="reward", shows=("shaped", "dense")):
        ArmEnv(reward="shaped")
    with refused(ConfigError, parameter="render_mode", shows=("human", "rgb_array")):
        ArmEnv(render_mode="human")
    env = ArmEnv(image_size=64, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (64, 64, 3)
    env.close()
