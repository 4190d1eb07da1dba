# SPDX-License-Identifier: Apache-2.0
"""A policy from proprioception and image features: what it sees, what is stored, demonstrations, and a short run."""

from dataclasses import replace

import numpy as np
import pytest
from onnx_writer import onnx_file

from erl_vlm_ros.agents.encoders.features import ImageFeatures
from erl_vlm_ros.agents.encoders.file import FileEncoder
from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.actor_source import read_published
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode, encode
from erl_vlm_ros.data.selection import novelty_view
from erl_vlm_ros.data.spaces import EE_POSITION, FEATURES, OBJECT, SpecError, image_spaces, spaces_of
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.backend import backend_spaces
from erl_vlm_ros.sim.cameras import sim_cameras
from erl_vlm_ros.sim.demonstrations import rough_demonstrations
from erl_vlm_ros.sim.demonstrator import rough_demonstrator
from erl_vlm_ros.training import own_trunk
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

TASK = load_task("drawer_open")
SPACES = image_spaces(spaces_of(TASK, 6), 74)


def loop_of(reward=None, learner=None):
    small = {
        "warmup_steps": 100, "first_ratings": 20, "round_steps": 50, "round_ratings": 10, "max_ratings": 30,
        "min_skill": -1.0, "observe": "images",
    }  # fmt: skip
    trunk = {"trunk.first_iterations": 10, "trunk.enough_frames": 1, "observe": "images"}
    config = LocalConfig(
        learner=learner_config(node_values("learner", TASK, small | (learner or {})), TASK),
        reward=reward_config(node_values("reward_trainer", TASK, trunk | (reward or {})), TASK),
        max_steps=200, eval_every=200, eval_episodes=1, image_size=64, demos=1,
    )  # fmt: skip
    return LocalLoop(TASK, config, 3, lambda truth: TruthTeacher(truth, 5, 0.0, 0))


@pytest.fixture(scope="module")
def trained():
    loop = loop_of()
    return loop, loop.run()


def test_a_run_learns_from_images_and_every_frame_is_seen_by_the_same_encoder(trained):
    loop, out = trained
    learner = loop.learner
    replay, features = learner.replay, learner.spaces.observation.slice(FEATURES)
    assert out["success_rate"] is not None and learner.updates > 0 and learner.images.fitted
    again = learner.images.features(replay.frame_jpegs, replay.frame_proprio)
    np.testing.assert_allclose(replay.frame_observations[:, features], again, atol=1e-4)
    assert replay.frame_observations[:, features].std(0).max() > 0.1
    assert OBJECT not in learner.spaces.observation and FEATURES not in loop.spaces.observation
    assert replay.intervention[:50].all() and not replay.intervention[50:].any()
    transition = replay.frame_observations[0].nbytes + np.mean([len(jpeg) for jpeg in replay.frame_jpegs])
    assert transition < 10_000


def test_the_robot_side_acts_as_the_learner_on_the_frames_it_stored(trained):
    learner = trained[0].learner
    bundle = decode(encode(learner.actor_bundle()), "actor")
    status, actor, places = read_published(bundle, learner.config.spaces)
    within = make_policy("squashed_gaussian", learner.agent.policy().arrays, {})
    replay = learner.replay
    for frame in range(0, replay.n_frames, 37):
        jpeg, proprio = replay.frame_jpegs[frame], replay.frame_proprio[frame]
        acted = actor.act(proprio, True, None, lambda jpeg=jpeg: jpeg)
        np.testing.assert_allclose(acted, within.act(replay.frame_observations[frame], True), atol=1e-5)
    assert status.has_weights and not status.explore
    spec = learner.spaces.observation
    np.testing.assert_allclose(places, replay.frame_observations[1:51, spec.slice(EE_POSITION)], atol=1e-6)
    with pytest.raises(ValueError):
        actor.act(replay.frame_proprio[0], True)  # blind


def test_a_learner_from_images_goes_on_from_its_state(trained):
    from erl_vlm_ros.training.learner import Learner

    learner = trained[0].learner
    other = Learner(learner.config, 9)
    other.load_state_dict(learner.state_dict())
    frames = learner.replay.frame_jpegs[:3], learner.replay.frame_proprio[:3]
    np.testing.assert_array_equal(other.images.features(*frames), learner.images.features(*frames))
    np.testing.assert_array_equal(other.replay.frame_observations, learner.replay.frame_observations)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, meta: arrays.pop("seeing.mean"),
        lambda arrays, meta: arrays.update({"seeing.deviation": -arrays["seeing.deviation"]}),
        lambda arrays, meta: arrays.update({"seeing.encoder.bias_1": arrays["seeing.encoder.bias_1"][:3]}),
        lambda arrays, meta: arrays.update({"demonstrated": np.full((2, 3), np.nan, np.float32)}),
        lambda arrays, meta: meta.update(encoder=None),
        lambda arrays, meta: meta.update(within="from_images"),
        lambda arrays, meta: meta.update(encoder={"name": "file", "image_size": 64, "version": "x"}),
        lambda arrays, meta: meta.update(encoder={"name": "keypoints", "image_size": "48"}),
    ],
)
def test_a_damaged_policy_from_images_is_refused(trained, damage):
    learner = trained[0].learner
    whole = learner.actor_bundle()
    arrays, meta = dict(whole.arrays), dict(whole.meta)
    damage(arrays, meta)
    with pytest.raises(BundleError):
        read_published(Bundle("actor", arrays, meta), learner.config.spaces)


def test_a_given_encoder_is_known_by_its_version(trained):
    class Mean:
        image_size, size, version = 16, 2, "one"

        def encode(self, images):
            return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    learner = trained[0].learner
    own = learner.config.prop_dim
    features = ImageFeatures("mean", Mean(), np.zeros(own + 2), np.ones(own + 2))
    arrays, meta = features.export()
    frames = learner.replay.frame_jpegs[:4], learner.replay.frame_proprio[:4]
    np.testing.assert_array_equal(ImageFeatures.read(arrays, meta, Mean())(*frames), features(*frames))
    other = Mean()
    other.version = "two"
    for given in (None, other):
        with pytest.raises(ValueError):
            ImageFeatures.read(arrays, meta, given)


@pytest.mark.slow
def test_a_file_encoder_sees_for_a_policy(tmp_path):
    file = onnx_file(tmp_path / "net.onnx", 16)
    loop = loop_of(learner={"encoder.name": "file", "encoder.path": file, "encoder.image_size": 16})
    loop.run()
    learner = loop.learner
    assert learner.images.size == learner.config.prop_dim + 4
    given = FileEncoder(file, 16)
    _, actor, _ = read_published(decode(encode(learner.actor_bundle()), "actor"), learner.config.spaces, given)
    proprio, jpeg = learner.replay.frame_proprio[0], learner.replay.frame_jpegs[0]
    assert np.isfinite(actor.act(proprio, True, None, lambda: jpeg)).all()
    with pytest.raises(BundleError):  # a robot side without the file
        read_published(learner.actor_bundle(), learner.config.spaces)


@pytest.mark.parametrize(
    ("reward", "learner", "parameter"),
    [
        ({"reward_model": "erl_vlm"}, {}, "reward_trainer.reward_model"),
        ({}, {"trunk.channels": [16]}, "trunk.channels"),
        ({}, {"encoder.name": "file", "encoder.path": "/nowhere.onnx"}, "encoder.path"),
    ],
)
def test_what_cannot_see_is_refused_by_name(reward, learner, parameter):
    with pytest.raises(ConfigError) as error:
        loop_of(reward, learner).run()
    assert error.value.parameter == parameter


def test_demonstrations_of_a_run_with_a_tracker_serve_one_from_images():
    task = replace(TASK, observed_object="none")
    arm = SimArm(TASK, (32, 32))
    episode = rough_demonstrations(arm, TASK, 1, 0)[0].episode
    wanted = backend_spaces(arm, task)
    seen = episode.seen_as(wanted)
    assert seen.spaces == wanted
    np.testing.assert_array_equal(seen.part(EE_POSITION), episode.part(EE_POSITION))
    assert seen.seen_as(wanted) is seen
    with pytest.raises(SpecError):
        seen.seen_as(episode.spaces)  # nobody tracked the object
    with pytest.raises(SpecError):
        episode.seen_as(spaces_of(task, ("a", "b", "c", "d", "e", "f")))  # another arm


def test_image_spaces_hold_proprioception_and_features_alone():
    spec = SPACES.observation
    assert spec.size == spec.proprio_size + 74 and OBJECT not in spec
    assert type(SPACES).from_json(SPACES.to_json()) == SPACES
    with pytest.raises(SpecError):
        SPACES.require(spaces_of(TASK, 6), "an actor with a tracker")


def test_a_part_of_the_buffer_can_be_replaced_with_its_like_only():
    from erl_vlm_ros.data.replay import ReplayBuffer

    spec = SPACES.observation
    replay = ReplayBuffer(100, spec.size, SPACES.action.size, spec.proprio_size, SPACES)
    for bad in (np.zeros((1, 74), np.float32), np.zeros((0, 73), np.float32)):
        with pytest.raises(ValueError):
            replay.set_part(FEATURES, bad)
    with pytest.raises(SpecError):
        replay.set_part(OBJECT, np.zeros((0, 3), np.float32))


def test_novelty_weighs_the_place_and_eight_whitened_components():
    rng, spec = np.random.default_rng(0), SPACES.observation
    observations = rng.normal(0, 3, (200, spec.size)).astype(np.float32)
    view = novelty_view(observations, spec)
    np.testing.assert_array_equal(view[:, :3], observations[:, spec.slice(EE_POSITION)])
    assert view.shape == (200, 11)
    np.testing.assert_allclose(view[:, 3:].std(0), 1, atol=1e-3)
    observations[:, spec.slice(FEATURES)] = 0  # no encoder yet
    assert novelty_view(observations, spec).shape == (200, 3)
    assert novelty_view(observations, None) is observations


def test_half_of_the_waypoints_are_near_a_demonstration():
    rollout = RolloutPolicy(ExplorationConfig(), replace(TASK, observed_object="none"), SPACES, 0)
    place = np.array([[0.4, 0.1, 0.12]])
    rollout.demonstrated(place)
    waypoints = np.array([rollout._next_waypoint(np.zeros(SPACES.observation.size)) for _ in range(500)])
    near = np.linalg.norm(waypoints - place, axis=1) < 0.1
    assert 0.4 < near.mean() < 0.7


def test_a_demonstrator_is_repeatable_and_rough():
    arm = SimArm(TASK, (32, 32))
    arm.reset(0)
    state = arm.state()

    def first(seed):
        return rough_demonstrator(TASK, seed, 0).act(state, SPACES.action.size)

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2)) and np.abs(first(1)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("cameras", [(), ("scene", "wrist")])
def test_without_a_reward_model_the_encoder_is_learned_from_the_frames_alone(cameras, monkeypatch):
    """Behaviour cloning from images: no label is asked for, and all frames are seen by one encoder."""
    few = {"algorithm": "bc", "warmup_steps": 50, "max_ratings": 0, "observe": "images"}
    few |= {"cameras": list(cameras) or None}
    monkeypatch.setattr(own_trunk, "ITERATIONS", 20)
    config = LocalConfig(
        learner=learner_config(node_values("learner", TASK, few), TASK),
        reward=reward_config(node_values("reward_trainer", TASK, {"observe": "images"}), TASK),
        max_steps=50, eval_every=0, image_size=64, demos=1, cameras=cameras,
    )  # fmt: skip
    learner = LocalLoop(TASK, config, 3, lambda truth: TruthTeacher(truth, 5, 0.0, 0)).learner
    arm = SimArm(TASK, (64, 64), cameras=sim_cameras(cameras, None, None, (64, 64)))
    shown = rough_demonstrations(arm, TASK, 1, 0, image_size=128)[0].episode
    learner.add_episode(shown.seen_as(learner.config.spaces))
    assert learner.images.fitted and learner.phase == "learn" and learner.model is None
    features = learner.spaces.observation.slice(FEATURES)
    again = learner.images.features(learner.replay.frame_jpegs, learner.replay.frame_proprio)
    np.testing.assert_allclose(learner.replay.frame_observations[:, features], again, atol=1e-4)
    learner.update(3)
    assert read_published(decode(encode(learner.actor_bundle()), "actor"), learner.config.spaces)[1] is not None
