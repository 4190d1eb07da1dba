# SPDX-License-Identifier: Apache-2.0
"""MiniGrid behind the backend seam, against MiniGrid itself; skipped where its package is not installed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("minigrid")

from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.choices import Moves
from erl_vlm_ros.data.text import MISSION
from erl_vlm_ros.sim.backend import backend_spaces, check_control_rate, make_backend, obey
from erl_vlm_ros.sim.demonstrator import rough_demonstrator
from erl_vlm_ros.sim.minigrid_scenes import ACTIONS, DONE, SCENES, TOGGLE, WORDS
from erl_vlm_ros.sim.rollout import roll_out


def made(scene: str):
    task = load_task(f"minigrid/{scene}")
    return make_backend("", task, (48, 48)), task


def played(scene: str, seed: int, noise: float = 0.0, least: int | None = None):
    world, task = made(scene)
    check_control_rate(world, task)
    spaces = backend_spaces(world, task)
    driver = rough_demonstrator(task, 0, seed, noise)
    done = roll_out(
        world, spaces, task.episode_steps, task.control_hz,
        lambda observation, jpeg: driver.act(world.state(), spaces.action.size),
        seed=seed, evaluation=False, index=0, actor_version=0, least=least,
        by_person=True,
    )  # fmt: skip
    world.close()
    return done


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_the_demonstrator_does_every_mission_on_a_shortest_way(scene):
    count = len(SCENES[scene])
    for seed in range(2 * count):
        done = played(scene, seed)
        first = int(done.success.argmax())
        assert done.success[-1] and (np.diff(done.progress[: first + 1]) > 0).all()
        assert (done.progress[first:] == 1).all() and (done.classes[first:, 3] == 2).all()
        assert (done.classes[0, 2:] == (0, 0, 1, 2)).all()  # nothing was done yet
        assert (done.classes[1:first, 2:] == (0, 1, 2, 3)).all()  # each step is nearer; the top class is success alone
        told = done.episode.observations[:, done.episode.spaces.observation.slice("last_action")]
        np.testing.assert_array_equal(told[: first + 1], [np.zeros(len(ACTIONS)), *done.episode.actions[:first]])
        assert (told[first:] == told[first]).all()  # the world stands still
        mission = done.episode.part(MISSION)[0]
        np.testing.assert_array_equal(mission, WORDS(done.episode.instruction))
        assert mission[-1] == 0, "a word of a mission is not in the vocabulary"
        assert SCENES[scene][seed % count].target in (None, tuple(done.episode.instruction.split()[-2:]))


def test_the_same_seed_gives_the_same_states_and_images_whatever_was_before():
    world, _ = made("three-5x5")

    def play():
        world.reset(7)
        world.choose({"choice": world.advice()})
        return world.observation().tobytes(), world.render().tobytes(), world.instruction

    first = play()
    world.reset(9)
    assert world.instruction != first[2]
    world.choose({"choice": TOGGLE})
    assert play() == first and world.render().shape == (48, 48, 3)


def test_what_ends_the_mission_badly_is_told_and_the_world_stands_still():
    world, task = made("GoToDoor-5x5")
    spaces = backend_spaces(world, task)
    for seed in range(100):
        world.reset(seed)
        if world.advice() != DONE:
            break
    obey(world, Moves.of(spaces.action).vector(DONE), spaces.action)
    truth = world.truth()
    assert (truth["success"], truth["progress"], truth["class_3"]) == (0.0, 0.0, 0.0)
    seen, pose = world.observation(), world.pose
    assert seen[spaces.observation.slice("ended")] == 1.0
    world.choose({"choice": 0})
    assert world.pose == pose and (world.observation() == seen).all()
    with refused(DataError, field="choice"):
        world.choose({"choice": len(ACTIONS)})


def test_an_episode_is_left_soon_after_its_end_but_not_before_the_least_steps():
    whole = played("GoToDoor-6x6", 3)
    end = int(whole.success.argmax())
    for least, steps in ((1, end + 2), (end + 6, end + 6)):
        cut = played("GoToDoor-6x6", 3, least=least)
        assert cut.episode.steps == steps == len(cut.episode.intervention) < whole.episode.steps and cut.success[-1]
        np.testing.assert_array_equal(cut.episode.observations, whole.episode.observations[: steps + 1])


def test_the_image_is_minigrids_own():
    world, task = made("Fetch-6x6")
    world = make_backend("", task, (48, 48))
    np.testing.assert_array_equal(world.render(), world.env.grid.render(8, world.env.agent_pos, world.env.agent_dir))


def test_a_disturbed_demonstrator_fails_now_and_then():
    wins = [played("three-5x5", seed, 0.8).success[-1] for seed in range(12)]
    assert 0 < sum(wins) < 12
