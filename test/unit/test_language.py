# SPDX-License-Identifier: Apache-2.0
"""The local loop with discrete actions and a sentence for each episode, on a toy world; worlds without an arm."""

from __future__ import annotations

import dataclasses

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.common.worlds import scene_names, world_names
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.feedback.kinds import kind_named
from erl_vlm_ros.graphs.build import train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.sim.backend import backend_spaces, make_backend
from erl_vlm_ros.sim.grid_plan import distances, ends_before
from erl_vlm_ros.sim.minigrid_scenes import classes_of_step
from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

TRANSITIONS = {"feedback": "transitions"}


def test_every_scene_has_a_task():
    assert {"metaworld", "minigrid"} <= set(world_names())
    for scene in scene_names("minigrid"):
        task = load_task(f"minigrid/{scene}")
        assert task.world == "minigrid" and set(task.classes) == {2, 3, 4, 5} and task.episode_steps > 8


def test_the_graph_refuses_a_world_without_an_arm(tmp_path):
    scripted = {"vlm_rater": {"teacher": "scripted"}}
    arguments = RunArguments("minigrid/three-5x5", tmp_path, headless=True, overrides=scripted, real=RealOptions())
    with refused(ConfigError, parameter="task", code=Code.DOES_NOT_FIT):
        train_sim(arguments)


def test_shortest_ways_on_a_grid():
    """A corridor of three cells, the target beyond its right end."""
    found = distances(ends_before((3, 0), True), lambda x, y: y == 0 and 0 <= x < 3)
    assert [found[0, 0, d] for d in range(4)] == [2, 3, 4, 3] and found[2, 0, 0] == 0 and len(found) == 12
    beside = distances(ends_before((3, 0), False), lambda x, y: y == 0 and 0 <= x < 3)
    assert beside[2, 0, 2] == 0 and distances(ends_before((9, 9), True), lambda x, y: False) == {}


@pytest.mark.parametrize("nearer, done, over, classes", [
    (2, False, False, (0, 1, 2, 3)), (0, False, False, (0, 0, 1, 2)), (-1, False, False, (0, 0, 0, 1)),
    (1, False, True, (0, 0, 0, 0)), (0, True, False, (1, 2, 3, 4)),
])  # fmt: skip
def test_a_step_is_classed_by_what_it_changed(nearer, done, over, classes):
    assert tuple(classes_of_step(nearer, done, over).values()) == classes


@pytest.fixture(scope="module")
def loop():
    task = dataclasses.replace(load_task("minigrid/three-5x5"), episode_steps=8)
    arm = make_backend("toy_grid:Shelf", task, (48, 48))
    spaces = backend_spaces(arm, task)
    learner = {
        **TRANSITIONS, "segment_length": 4, "warmup_steps": 160, "max_warmup_steps": 200, "first_ratings": 40,
        "round_steps": 80, "round_ratings": 20, "max_ratings": 120, "iql.hidden": [32], "iql.tau": 0.05,
        "demo_share": 0.0,
    }  # fmt: skip
    reward = {**TRANSITIONS, "trunk.first_iterations": 30, "trunk.iterations": 10}
    exploring = {"exploration.prefix_share": 0.3, "exploration.prefix_steps": [1, 3], "exploration.burst_share": 0.0}
    values = {
        "learner": node_values("learner", task, learner),
        "reward_trainer": node_values("reward_trainer", task, reward),
        "policy_controller": node_values("policy_controller", task, exploring),
    }
    config = LocalConfig(
        learner=learner_config(values["learner"], task, spaces), max_steps=800, eval_every=800, eval_episodes=4,
        reward=reward_config(values["reward_trainer"], task, spaces), backend="toy_grid:Shelf", image_size=48,
        exploration=exploration_config(values["policy_controller"]),
    )  # fmt: skip
    made = LocalLoop(task, config, 0, lambda truth: TruthTeacher(truth, 3, 0.2, 5, kind_named("transitions")))
    made.summed = made.run()
    return made


@pytest.mark.slow
def test_one_policy_learns_two_missions_from_ratings_of_each_transition(loop):
    assert loop.summed["ratings_requested"] == 120 and loop.valid == 120 * 3
    assert loop.summed["rating_accuracy"] == pytest.approx(0.8, abs=0.1)
    (row,) = loop.history
    assert row["success_rate"] == 1.0 and row["by_mission"] == [1.0, 1.0]


@pytest.mark.slow
def test_the_buffer_keeps_each_episodes_sentence(loop):
    replay = loop.learner.replay
    said = [replay.instruction(i) for i in range(replay.n_frames)]
    assert set(said) == {"put down the cup", "put down the plate"}
    again = ReplayBuffer(1000, replay.obs_dim, replay.act_dim, replay.prop_dim, replay.spaces)
    again.load_state_dict(replay.state_dict())
    assert [again.instruction(i) for i in range(again.n_frames)] == said
    again._evict()
    assert [again.instruction(i) for i in range(again.n_frames)] == said[9:]
