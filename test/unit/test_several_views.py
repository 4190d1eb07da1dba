# SPDX-License-Identifier: Apache-2.0
"""Policy, reward model and rater see several cameras: each chooses its own by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from factories import make_episode, make_segment
from test_views import CAMERAS, PLAIN, TWO, frames

from erl_vlm_ros.agents.encoders.features import ImageFeatures
from erl_vlm_ros.agents.encoders.keypoints import Keypoints
from erl_vlm_ros.agents.encoders.several import SeveralViews, encoder_of
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import NONE, load_task
from erl_vlm_ros.data.bundle import BundleError, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg, jpeg_size
from erl_vlm_ros.data.query import Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.spaces import FEATURES, spaces_of, with_cameras
from erl_vlm_ros.data.views import Frame, decode_views, view
from erl_vlm_ros.feedback.kinds import BadQuery, kind_named
from erl_vlm_ros.feedback.teacher_configs import HumanConfig
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.question import QuestionMaker
from erl_vlm_ros.monitoring.live_reward import LiveReward
from erl_vlm_ros.monitoring.side_by_side import shown, side_by_side
from erl_vlm_ros.reward.model import load_reward_model, same_features
from erl_vlm_ros.reward.trainer import RewardTrainer
from erl_vlm_ros.standin.request_images import frames_in, split_frames
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.learner import Learner

TASK = load_task("drawer_open")
BLIND = dataclasses.replace(TASK, observed_object=NONE)
SPACES = with_cameras(spaces_of(BLIND, 6), CAMERAS, 128)


def noise_frames(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    image = lambda: encode_jpeg(rng.integers(0, 255, (32, 32, 3), np.uint8))  # noqa: E731
    return [Frame.of({name: image() for name in CAMERAS}) for _ in range(count)]


def episode(index: int, steps: int = 12, seed: int = 0) -> Episode:
    made = make_episode(index, steps)
    return dataclasses.replace(
        made, observations=made.observations[:, :10], spaces=SPACES, jpegs=noise_frames(steps + 1, seed + index)
    )


def keypoints(seed: int, image_size: int = 16) -> Keypoints:
    rng = np.random.default_rng(seed)
    arrays = {"weight_1": (4, 3, 3, 3), "bias_1": (4,), "weight_2": (5, 4, 3, 3), "bias_2": (5,)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in arrays.items()}
    return Keypoints(image_size, weights | {"mean": np.zeros(10), "deviation": np.ones(10)})


class TestEncoder:
    def test_features_one_after_the_other(self):
        one, other = keypoints(0), keypoints(1)
        both = SeveralViews((one, other))
        images = np.random.default_rng(0).integers(0, 255, (3, 32, 16, 3), np.uint8)
        wanted = np.hstack([one.encode(images[:, :16]), other.encode(images[:, 16:].copy())])
        assert np.array_equal(both.encode(images), wanted)
        assert both.size == 20 and both.version != SeveralViews((other, one)).version
        assert encoder_of([one]) is one

    def test_what_does_not_go_together(self):
        for encoders in ((keypoints(0),), (keypoints(0), keypoints(1, 32))):
            with pytest.raises(ValueError):
                SeveralViews(encoders)
        with pytest.raises(ValueError):
            SeveralViews((keypoints(0), keypoints(1))).encode(np.zeros((1, 16, 16, 3), np.uint8))

    def test_features_travel(self):
        encoder = SeveralViews((keypoints(0), keypoints(1)))
        features = ImageFeatures("keypoints", encoder, np.zeros(24), np.ones(24), CAMERAS)
        other = ImageFeatures.read(*features.export(), None)
        some, proprio = noise_frames(3), np.zeros((3, 4), np.float32)
        assert other.cameras == CAMERAS and np.array_equal(other(some, proprio), features(some, proprio))
        for cameras in (["scene"], ["scene", "scene"], "scene", ["scene", 1], [f"c{i}" for i in range(40)]):
            with pytest.raises(ValueError):
                ImageFeatures.read(features.export()[0], {**features.export()[1], "cameras": cameras}, None)
        with pytest.raises(ValueError):
            features([b"plain"], proprio[:1])

    def test_one_named_camera(self):
        features = ImageFeatures("keypoints", keypoints(0), np.zeros(14), np.ones(14), ("wrist",))
        other = ImageFeatures.read(*features.export(), None)
        some = noise_frames(2)
        plain = ImageFeatures("keypoints", keypoints(0), np.zeros(14), np.ones(14))
        proprio = np.zeros((2, 4), np.float32)
        assert np.array_equal(other(some, proprio), plain([view(one, "wrist") for one in some], proprio))


def trainer(**values) -> RewardTrainer:
    small = {"trunk.first_iterations": 2, "cameras": list(CAMERAS), "observe": "images", **values}
    return RewardTrainer(reward_config(node_values("reward_trainer", TASK, small), TASK, SPACES), 0)


def labels(count: int = 12) -> LabelBatch:
    rng = np.random.default_rng(0)
    made = []
    for i, frame in enumerate(noise_frames(count, 9)):
        arrays = {"proprio": rng.normal(size=(1, 10)), "actions": np.zeros((1, 3)), "stamps": np.zeros(1, np.int64)}
        made.append(Label(Query(make_segment(f"e0_t{i}_h1", 1, jpegs=[frame], **arrays)), i % 5))
    return LabelBatch(0, 5, count, made)


def trained(**values) -> RewardTrainer:
    out = trainer(**values)
    for index in range(2):
        out.add_episode(episode(index))
    out.add_labels(labels())
    out.train()
    return out


class TestRewardModel:
    def test_it_sees_both_and_travels(self):
        model = trained().model
        assert model.cameras == CAMERAS
        other = load_reward_model(decode(encode(model.to_bundle()), "reward_model"))
        images = decode_views(noise_frames(3), model.image_size, CAMERAS)
        assert np.array_equal(other.features(images), model.features(images))
        swapped = decode_views(noise_frames(3), model.image_size, CAMERAS[::-1])
        assert not np.array_equal(model.features(swapped), model.features(images))
        assert same_features(model, other) and other.cameras == CAMERAS
        bundle = model.to_bundle()
        for cameras in (["scene"], ["a", "b", "c"], "scene"):
            bundle.meta["cameras"] = cameras
            with pytest.raises(BundleError):
                load_reward_model(bundle)

    @pytest.mark.parametrize("model", ["trunk_heads", "erl_vlm"])
    def test_one_of_two(self, model):
        out = trained(reward_cameras=["wrist"], reward_model=model, **{"erl.ensemble": 2}
                      if model == "erl_vlm" else {})  # fmt: skip
        assert out.model.cameras == ("wrist",)
        other = load_reward_model(decode(encode(out.model.to_bundle()), "reward_model"))
        images = decode_views(noise_frames(3), other.image_size, other.cameras)
        assert np.array_equal(other.features(images), out.model.features(images))

    def test_the_papers_sees_the_first_unless_told(self):
        config = reward_config(
            node_values("reward_trainer", TASK, {"reward_model": "erl_vlm", "cameras": list(CAMERAS)}), TASK, SPACES
        )
        assert config.cameras == ("scene",)
        with pytest.raises(ConfigError) as error:
            trainer(reward_model="erl_vlm", reward_cameras=list(CAMERAS))
        assert error.value.parameter == "reward_trainer.reward_cameras"

    def test_checkpoint(self):
        one = trained()
        other = trainer()
        other.load_state_dict(one.state_dict())
        images = decode_views(noise_frames(3), one.model.image_size, CAMERAS)
        assert np.array_equal(other.train().features(images), one.train().features(images))
        with pytest.raises(ConfigError) as error:
            trainer(reward_cameras=["scene"]).load_state_dict(one.state_dict())
        assert error.value.parameter == "reward_trainer.reward_cameras"

    def test_live_reward_needs_the_images(self):
        model = trained().model
        live = LiveReward(32)
        live.set_model(model.to_bundle())
        rgb = np.zeros((32, 32, 3), np.uint8)
        assert live.of(rgb, np.zeros(10, np.float32), {"scene": rgb}) is None
        assert 0.0 <= live.of(rgb, np.zeros(10, np.float32), dict.fromkeys(CAMERAS, rgb)) <= 1.0


def learner(**values) -> Learner:
    seen = {"cameras": list(CAMERAS), "observe": "images", "min_skill": -1.0, "warmup_steps": 20, **values}
    return Learner(learner_config(node_values("learner", TASK, seen), TASK, SPACES), 0)


class TestPolicy:
    @pytest.mark.parametrize("chosen", [None, ["wrist"], ["wrist", "scene"]])
    def test_it_sees_its_cameras(self, chosen):
        one, model = learner(policy_cameras=chosen), trained().model
        for index in range(2):
            one.add_episode(episode(index))
        one.set_reward_model(model)
        features = one.images.features
        assert features.cameras == (CAMERAS if chosen is None else tuple(chosen))
        for camera, encoder in zip(features.cameras, features.encoders):
            trunk = model.trunk.views[CAMERAS.index(camera)]
            assert np.array_equal(encoder.weights["bias_1"], trunk.convolutions[0].bias.detach().numpy())
        width = one.spaces.observation.part(FEATURES).size
        assert width == 10 + sum(encoder.size for encoder in features.encoders)
        assert one.replay.spaces.observation.cameras == CAMERAS
        again = learner(policy_cameras=chosen)
        again.load_state_dict(one.state_dict())
        assert again.images.features.cameras == features.cameras

    def test_a_camera_that_is_not_there(self):
        with pytest.raises(ConfigError) as error:
            learner(policy_cameras=["top"])
        assert error.value.parameter == "learner.policy_cameras"

    def test_the_reward_models_trunk_does_not_see_it(self):
        one = learner()
        one.add_episode(episode(0, 25))
        with pytest.raises(ConfigError) as error:
            one.set_reward_model(trained(reward_cameras=["scene"]).model)
        assert error.value.parameter == "learner.policy_cameras"

    def test_episodes_of_other_cameras_are_refused(self):
        with pytest.raises(ValueError):
            learner().add_episode(dataclasses.replace(episode(0), spaces=spaces_of(BLIND, 6), jpegs=[b""] * 13))


def maker(cameras=None, feedback="rating", **changes) -> QuestionMaker:
    config = RaterConfig(rater_cameras=cameras, feedback=feedback, **changes)
    kind = kind_named(feedback)
    return QuestionMaker(config, TASK, load_prompts(TASK, 5, kind=kind, frames=config.frames),
                         kind.class_names(TASK, 5))  # fmt: skip


def contents(one: QuestionMaker, query: Query) -> list[str | bytes]:
    question = one.make(query)
    (message,) = one.request(question, next(iter(question.prompts)))["messages"]
    return [part.get("text", "image") for part in message["content"]]


class TestRater:
    query = Query(make_segment(length=1, jpegs=frames(1)))

    def test_the_first_cameras_image_is_what_was_asked_before(self):
        plain = Query(make_segment(length=1, jpegs=[bytes(frames(1)[0])]))
        assert maker().make(self.query).digest == maker().make(plain).digest

    def test_one_by_name(self):
        question = maker(["wrist"]).make(self.query)
        assert question.images == ((view(self.query[0].jpegs[0], "wrist"),),) and not question.captions
        assert question.prompts == maker().make(self.query).prompts

    def test_views_are_told_apart(self):
        one = maker(list(CAMERAS))
        said = contents(one, self.query)
        assert said[1] == said[3] == "image" and "scene" in said[0] and "wrist" in said[2]
        assert "scene" in said[4] and "wrist" in said[4]
        assert len({m.make(self.query).digest for m in (one, maker(["wrist", "scene"]), maker())}) == 3

    def test_several_frames_and_strips(self):
        query = Query(make_segment(length=2, jpegs=frames(2)))
        assert contents(maker(list(CAMERAS)), query).count("image") == 4
        images = maker(list(CAMERAS), frames="strip")
        wide = Query(make_segment(length=2, jpegs=noise_frames(2)))
        assert contents(images, wide).count("image") == 2

    def test_comparisons(self):
        query = Query(*(make_segment(f"e{i}_t3_h1", length=1, jpegs=frames(1, str(i))) for i in range(2)))
        said = contents(maker(list(CAMERAS), "preference"), query)
        assert said.count("image") == 4 and len({text for text in said if text != "image"}) == 5

    def test_a_camera_that_is_not_in_the_frames(self):
        with pytest.raises(BadQuery):
            maker(["top"]).make(self.query)
        with pytest.raises(ConfigError) as error:
            RaterConfig(rater_cameras=("a", "a"))
        assert error.value.parameter == "vlm_rater.rater_cameras"

    def test_an_endpoint_of_one_image(self):
        with pytest.raises(ConfigError) as error:
            maker(list(CAMERAS)).use_strip()
        assert error.value.parameter == "vlm_rater.rater_cameras"

    def test_the_standin_looks_at_the_first(self):
        text = maker(list(CAMERAS)).make(self.query).prompts["analysis"]
        assert frames_in(text, [b"s", b"w"]) == [b"s"]
        text = maker(list(CAMERAS), "preference").make(Query(*self.query, *self.query)).prompts["analysis"]
        assert split_frames(text, [b"s1", b"w1", b"s2", b"w2"]) == ([b"s1"], [b"s2"])
        assert frames_in(maker().make(self.query).prompts["analysis"], [b"s"]) == [b"s"]

    def test_a_person_sees_them(self):
        teacher = HumanTeacher(HumanConfig(port=0), TASK, 5, None, cameras=CAMERAS)
        teacher.submit(QueryBatch(0, [self.query]))
        state = teacher.state()
        assert state["frames"] == 1 and state["segments"] == [1]
        assert jpeg_size(teacher.frame(state["key"], 0)) == (16, 16 + 2 + 16)
        teacher.close()
        teacher = HumanTeacher(HumanConfig(port=0), TASK, 5, None, cameras=["wrist"])
        teacher.submit(QueryBatch(0, [self.query]))
        assert teacher.frame(teacher.state()["key"], 0) == view(self.query[0].jpegs[0], "wrist")
        teacher.close()


def test_side_by_side():
    one, other = np.zeros((20, 30, 3), np.uint8), np.full((40, 40, 3), 9, np.uint8)
    assert side_by_side({"": one}).shape == one.shape
    assert side_by_side({"a": one, "b": other}).shape == (20, 30 + 2 + 20, 3)
    assert shown(noise_frames(1)[0]).shape == (32, 66, 3) and shown(bytes(noise_frames(1)[0])).shape == (32, 32, 3)


def test_of_one_camera_nothing_is_said():
    config = reward_config(node_values("reward_trainer", TASK), TASK, PLAIN)
    assert config.cameras == () and "cameras" not in config.spaces.to_json()
    assert TWO.observation.size == PLAIN.observation.size
