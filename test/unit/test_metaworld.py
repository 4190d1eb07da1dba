# SPDX-License-Identifier: Apache-2.0
"""MetaWorld behind the backend seam, against MetaWorld itself; skipped where its package is not installed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("metaworld")

from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import action_to_command
from erl_vlm_ros.sim.backend import backend_spaces, check_control_rate, make_backend
from erl_vlm_ros.sim.demonstrator import Demonstrator
from erl_vlm_ros.sim.metaworld import MetaWorld
from erl_vlm_ros.sim.metaworld_scenes import PLACEMENTS
from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

FULL_SPEED = 0.8  # m/s: what 1 is in MetaWorld's action


def made(scene: str, **changes) -> MetaWorld:
    return make_backend("", dataclasses.replace(load_task(f"metaworld/{scene}"), **changes), (48, 48))


@pytest.fixture(scope="module", params=sorted(PLACEMENTS))
def arm(request):
    world = made(f"{request.param}")
    yield world
    world.close()


def act(world: MetaWorld, action: np.ndarray) -> None:
    world.apply(action[:3] * FULL_SPEED, 0.04 * (1.0 - action[3]))


def test_the_same_seed_gives_the_same_states_and_images_whatever_was_before(arm):
    def play():
        arm.reset(7)
        act(arm, np.array([0.5, 0.3, -0.2, 1.0]))
        return arm.observation.tobytes(), arm.render().tobytes()

    first = play()
    arm.reset(8)
    assert arm.observation.tobytes() != first[0]
    for _ in range(20):
        act(arm, np.array([0.0, 1.0, -1.0, -1.0]))
    assert play() == first


def test_an_action_is_metaworlds_own_step_repeated(arm):
    box = {"workspace_min": (-9.0, -9.0, -9.0), "workspace_max": (9.0, 9.0, 9.0)}
    ours, theirs = made(arm.scene, **box), made(arm.scene, control_hz=80, **box)
    rng = np.random.default_rng(0)
    for world in (ours, theirs):
        world.reset(3)
    for _ in range(10):
        action = rng.uniform(-1.0, 1.0, 4)
        act(ours, action)
        for _ in range(4):
            observation, reward, _, _, info = theirs.env.step(action)
        # of the step before only the newest part differs: MetaWorld stacks the last two of its own steps
        np.testing.assert_allclose(ours.observation[:18], observation[:18], atol=1e-9)
        assert ours.reward == pytest.approx(reward) and ours.truth()["success"] == info["success"]


def test_the_first_observation_shows_the_object_where_it_is(arm):
    for seed in range(3):
        arm.reset(seed)
        before = arm.observe().object_position
        arm.env.do_simulation([0, 0], n_frames=1)
        after = arm.env._get_pos_objects()
        assert np.abs(before[:2] - after[:2]).max() < 0.002


def test_the_spaces_and_the_rate_are_those_of_the_task(arm):
    check_control_rate(arm, arm.config)
    spaces = backend_spaces(arm, arm.config)
    assert spaces.observation.size == 7 + 3 + 1 + 9 and spaces.action.size == 4
    state = arm.observe()
    assert state.joints.shape == (7,) and state.fingers.sum() == pytest.approx(arm.gripper_width)
    assert arm.camera_matrix().shape == (3, 3) and arm.render().shape == (48, 48, 3)


def test_the_paper_begins_every_episode_alike_and_the_hand_elsewhere(arm):
    paper, places = made(f"{arm.scene}-paper"), []
    for seed in (1, 2):
        paper.reset(seed)
        arm.reset(seed)
        places.append((paper.observation[:7].copy(), arm.observation[4:7].copy()))
    (first, random), (second, other) = places
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.abs(random - other).max() > 0.005
    assert np.linalg.norm(first[:2] - np.array(PLACEMENTS[arm.scene].hand)[:2]) < 0.02


def test_the_hand_does_not_leave_the_workspace():
    world = made("drawer-open-v3")
    for _ in range(60):
        act(world, np.array([1.0, -1.0, 1.0, 0.0]))
    low, high = np.array(world.config.workspace_min), np.array(world.config.workspace_max)
    position = world.observe().ee_position
    assert (position > low - 0.02).all() and (position < high + 0.02).all()


def test_what_cannot_be_is_refused():
    with refused(ConfigError, parameter="action.rotation", code=Code.DOES_NOT_FIT):
        made("drawer-open-v3", rotation="yaw")
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="soccer-v3"):
        made("hammer-v3-paper")
    with refused(ConfigError, parameter="name", code=Code.DOES_NOT_FIT, shows="metaworld/SCENE"):
        MetaWorld(load_task("drawer_open"))
    world = made("reach-v3")
    with refused(DataError, field="action"):
        world.apply(np.array([0.0, np.nan, 0.0]), 0.0)
    with refused(ConfigError, parameter="lock_step", code=Code.DOES_NOT_FIT):
        world.track(np.zeros(7), 0.0, 0.1)


@pytest.mark.filterwarnings("ignore:Constant")
def test_the_expert_opens_the_drawer_and_every_class_is_passed():
    world, seen = made("drawer-open-v3"), set()
    spec = backend_spaces(world, world.config).action
    expert = Demonstrator(world.config, 0.0, np.random.default_rng(0))
    world.reset(1)
    for _ in range(40):
        linear, _, width = action_to_command(expert.act(world.state(), spec.size), spec)
        world.apply(np.array(linear), width)
        seen.add(int(world.truth()["class_5"]))
    assert world.truth()["success"] == 1.0 and seen == {0, 1, 2, 3, 4}


def test_a_run_in_one_process_begins_with_demonstrations():
    task = dataclasses.replace(load_task("metaworld/drawer-open-v3"), episode_steps=40)
    values = {node: node_values(node, task) for node in ("learner", "policy_controller", "reward_trainer")}
    world = made("drawer-open-v3")
    spaces = backend_spaces(world, task)
    config = LocalConfig(
        learner_config(values["learner"], task, spaces), reward_config(values["reward_trainer"], task, spaces),
        exploration_config(values["policy_controller"]), max_steps=120, eval_every=0, image_size=32, demos=2,
    )  # fmt: skip
    loop = LocalLoop(task, config, 3, lambda truth: TruthTeacher(truth, 3, 0.0, 0))
    loop.run()
    assert loop.learner.replay.demonstrations.size == 80 and loop.learner.env_steps == 120
    assert max(loop.truth.progress[e].max() for e in (0, 1)) > loop.truth.progress[2].max()
