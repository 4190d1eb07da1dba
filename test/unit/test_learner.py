# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from factories import make_episode
from refusals import refused

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.reward.frames import FrameStore
from erl_vlm_ros.reward.info import RewardModelInfo
from erl_vlm_ros.reward.models.trunk_heads import skill
from erl_vlm_ros.reward.prediction import Prediction
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.training.learner import EXPLORE, LEARN, Learner, LearnerConfig

OBS, ACT, P = 19, 3, 10
SAC_CONFIG = SACConfig(obs_dim=OBS, act_dim=ACT, hidden=(16, 16), batch_size=16)


def episode(index, steps=20, seed=0):
    return make_episode(index, steps, noise=seed)


def config(**over):
    base = {
        "episode_steps": 20, "warmup_steps": 40, "first_ratings": 12, "round_steps": 40, "round_ratings": 6,
        "max_ratings": 30,
    }  # fmt: skip
    return LearnerConfig(AgentSpec("sac", SAC_CONFIG), OBS, ACT, P, **(base | over))


class FakeModel:
    """Reward = first proprioception number plus an offset; counts how many frames it had to encode."""

    image_size, n_classes = 32, 3

    def __init__(self, version=1, features_version=1, offset=0.0, skill=1.0, round=1):
        self.version, self.features_version, self.offset, self.encoded = version, features_version, offset, 0
        self.info = RewardModelInfo(round=round, skill=skill)

    def features(self, images):
        self.encoded += len(images)
        return np.zeros((len(images), 2), np.float32)

    def predict(self, features, proprio):
        mean = proprio[:, 0] + self.offset
        return Prediction(mean, np.zeros_like(mean), mean)


def warmed_up(**over):
    learner = Learner(config(**over), 0)
    for i in range(2):
        learner.add_episode(episode(i))
    return learner


def test_exploration_runs_free_until_the_first_round_then_waits():
    learner = Learner(config(), 0)
    assert learner.episode_budget() == 2 and not learner.round_due()
    learner = warmed_up()
    assert learner.round_due()
    batch = learner.make_round()
    assert len(batch.segments) == 12 and learner.episode_budget() == learner.episodes and not learner.round_due()
    assert learner.update(5) == {} and learner.updates == 0
    assert learner.actor_bundle().arrays == {}


def test_first_frames_are_never_rated_and_last_ones_may_be():
    learner = warmed_up(first_ratings=40, max_ratings=40)
    ids = [s.id for s in learner.make_round().segments]
    assert len(set(ids)) == 40  # all frames but the two first ones
    assert {"e0_t20_h1", "e1_t20_h1"} <= set(ids) and not any("_t0_" in i for i in ids)


def test_segments_stay_within_an_episode():
    learner = warmed_up(segment_length=4, first_ratings=50, max_ratings=50)
    segments = learner.make_round().segments
    assert len(segments) == 2 * 17
    for s in segments:
        e, t = int(s.id.split("_")[0][1:]), int(s.id.split("_")[1][1:])
        original = episode(e)
        np.testing.assert_array_equal(s.stamps, original.stamps[t - 3 : t + 1])
        np.testing.assert_array_equal(s.actions, original.actions[t - 4 : t])
        assert s.jpegs == original.jpegs[t - 3 : t + 1]


def test_a_new_model_relabels_everything_and_keeps_features_it_may_keep():
    learner = warmed_up()
    learner.make_round()
    first = FakeModel()
    learner.set_reward_model(first)
    assert first.encoded == 42 and learner.phase == LEARN
    expected = learner.replay.frame_proprio[learner.replay.transition_frame, 0]
    np.testing.assert_allclose(learner.replay.rewards, expected)
    second = FakeModel(version=2, offset=3.0, round=1)
    learner.set_reward_model(second)
    assert second.encoded == 0  # same features_version
    np.testing.assert_allclose(learner.replay.rewards, expected + 3, rtol=1e-5)
    learner.add_episode(episode(2))
    assert second.encoded == 21 and len(learner.replay.rewards) == 60
    third = FakeModel(version=3, features_version=2)
    learner.set_reward_model(third)
    assert third.encoded == 63


def test_eviction_keeps_features_aligned():
    learner = Learner(config(capacity=45), 0)
    learner.add_episode(episode(0)), learner.add_episode(episode(1))
    learner.make_round()
    learner.set_reward_model(FakeModel())
    learner.add_episode(episode(2))
    assert learner.replay.n_frames == 42
    np.testing.assert_allclose(learner.replay.rewards, learner.replay.frame_proprio[learner.replay.transition_frame, 0])


def test_ratings_that_explain_nothing_prolong_exploration():
    learner = warmed_up(max_warmup_steps=100)
    learner.make_round()
    learner.set_reward_model(FakeModel(skill=-0.1))
    assert learner.phase == EXPLORE and learner.episode_budget() == 4
    learner.add_episode(episode(2)), learner.add_episode(episode(3))
    assert learner.round_due()
    learner.make_round()
    learner.add_episode(episode(4))
    learner.set_reward_model(FakeModel(version=2, skill=-0.1, round=2))
    assert learner.phase == LEARN  # not for ever


def test_a_round_without_any_rating_is_asked_again_later():
    learner = warmed_up()
    batch = learner.make_round()
    learner.round_failed(batch.round)
    assert learner.schedule.pending is None and learner.episode_budget() == 4 and not learner.round_due()


def test_what_an_outage_cost_may_be_asked_again():
    learner = warmed_up(max_ratings=12)
    segments = learner.make_round().segments
    reasons = ["endpoint_down", "http_502", "timeout", "refusal", "budget", "http_400"]
    rated = [Label.of(s, -1, reasons[i % 6]) for i, s in enumerate(segments)]
    for _ in range(2):  # a latched batch may come twice
        learner.schedule.answered(LabelBatch(0, 3, 6, rated))
        assert learner.schedule.requested == 6  # an answer that is no use would come again
    learner.schedule.answered(LabelBatch(7, 3, 6, rated))
    assert learner.schedule.requested == 6
    learner.round_failed(0)
    assert not learner.schedule.over and not learner.out_of_ratings
    for i in range(2, 4):
        learner.add_episode(episode(i))
    assert learner.round_due() and len(learner.make_round().segments) == 6
    learner.schedule.answered(LabelBatch(1, 3, 6, rated[3:6]))
    assert learner.schedule.requested == 12


def test_exploration_does_not_wait_for_ratings_that_will_not_come():
    learner = warmed_up(max_ratings=12)
    learner.make_round()
    learner.set_reward_model(FakeModel(skill=-0.1))
    assert learner.phase == LEARN and learner.episode_budget() >= learner.episodes
    unlucky = warmed_up(max_ratings=12)
    unlucky.round_failed(unlucky.make_round().round)
    assert unlucky.out_of_ratings and unlucky.phase == EXPLORE
    assert unlucky.episode_budget() > unlucky.episodes  # a controller that plays on is not stopped


def test_failed_rounds_do_not_prolong_exploration_for_ever():
    learner = warmed_up(max_warmup_steps=60)
    learner.make_round()
    learner.set_reward_model(FakeModel(skill=-0.1))
    learner.add_episode(episode(2)), learner.add_episode(episode(3))
    learner.round_failed(learner.make_round().round)
    assert learner.phase == LEARN and not learner.out_of_ratings


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("rate", [0.0, 0.33, 0.5])
def test_part_of_an_update_holds_nobody_back(rate, lag):
    learner = warmed_up(updates_per_step=rate, catch_up=0.51, max_lag_episodes=lag)
    learner.make_round()
    learner.set_reward_model(FakeModel())
    learner.update(1000)
    assert 0 < learner.pending_updates < 1 and learner.episode_budget() == learner.episodes + 1 + lag


def test_an_episode_that_does_not_fit_changes_nothing():
    learner = warmed_up()
    wrong = [episode(2), episode(2)]
    wrong[0].jpegs[7] = b"no image"
    wrong[1].actions = np.zeros((20, 4), np.float32)
    for model in (None, FakeModel()):
        if model:
            learner.make_round(), learner.set_reward_model(model)
        for bad in wrong:
            with pytest.raises(ValueError):
                learner.add_episode(bad)
        assert (learner.episodes, learner.env_steps, learner.replay.n_frames) == (2, 40, 42)
    learner.add_episode(episode(2))
    assert len(learner.replay.rewards) == 60
    with refused(ConfigError, parameter="learner.capacity", code=Code.DOES_NOT_FIT):
        config(capacity=10)


def test_a_model_that_says_nothing_is_refused_and_the_one_before_stays():
    learner = warmed_up()
    learner.make_round()
    learner.set_reward_model(FakeModel())
    rewards, model = learner.replay.rewards.copy(), learner.model
    with refused(DataError, field="rewards"):
        learner.set_reward_model(FakeModel(version=2, offset=np.nan, round=2))
    assert learner.model is model
    np.testing.assert_array_equal(learner.replay.rewards, rewards)


def test_updates_are_due_per_step_and_hold_the_arm_back():
    learner = warmed_up(updates_per_step=2.0, catch_up=0.5)
    learner.make_round()
    learner.set_reward_model(FakeModel())
    assert learner.pending_updates == 20
    learner.update(1000)
    assert learner.updates == 20 and learner.episode_budget() == 2 + 2
    learner.add_episode(episode(2))
    assert learner.pending_updates == 40 and learner.episode_budget() == 3 + 1
    learner.add_episode(episode(3))
    assert learner.episode_budget() == 4  # two episodes behind: wait


def weights(share, driven):
    """The actor after some updates, with the last episode driven by a person or not."""
    learner = Learner(config(demo_share=share), 0)
    for i in range(3):
        one = episode(i)
        one.intervention[:] = driven and i == 2
        learner.add_episode(one, rewards=np.linspace(0, 1, 20))
    assert learner.phase == LEARN and learner.update(10)
    return learner.agent.policy().arrays


def test_demonstrations_change_the_batches_and_their_absence_nothing():
    plain = weights(0.0, driven=True)
    for same in (weights(0.5, driven=False), weights(0.0, driven=False)):
        assert all(np.array_equal(plain[name], same[name]) for name in plain)
    shown = weights(0.5, driven=True)
    assert any(not np.array_equal(plain[name], shown[name]) for name in plain)


def test_segments_carry_what_was_measured_beside_their_frames():
    learner = Learner(config(segment_length=2), 0)
    for i in range(2):
        values = vars(episode(i)) | {"extras": np.arange(21.0)[:, None] + 100 * i, "extra_names": ["wrench_fz"]}
        learner.add_episode(Episode(**values))
    for segment in learner.make_round().segments:
        number, step = (int(part[1:]) for part in segment.id.split("_")[:2])
        assert segment.extra_names == ("wrench_fz",)
        assert segment.extras[:, 0].tolist() == [100 * number + step - 1, 100 * number + step]


def test_the_rating_budget_is_never_exceeded():
    learner = warmed_up(max_ratings=20)
    sent = 0
    for i in range(2, 12):
        if learner.round_due():
            sent += len(learner.make_round().segments)
            learner.set_reward_model(FakeModel(version=i, round=learner.schedule.sent))
        learner.add_episode(episode(i))
    assert sent == 20 == learner.schedule.requested


def run_on(learner, start):
    for i in range(start, start + 3):
        learner.add_episode(episode(i))
        learner.update(10**6)
    return learner.agent.policy().arrays


def trained():
    learner = warmed_up()
    trainer = RewardTrainer(reward_config(), 0)
    for i in range(2):
        trainer.add_episode(episode(i))
    trainer.add_labels(rate(learner.make_round()))
    learner.set_reward_model(trainer.train())
    learner.update(10)
    return learner, trainer


def reward_config():
    trunk = TrunkConfig(image_size=32, target_size=16, channels=(8, 8), features=16, first_iterations=5, iterations=3)
    return RewardTrainerConfig(n_classes=3, prop_dim=P, trunk=trunk, heads=HeadConfig(iterations=10))


def rate(batch):
    rated = [Label.of(s, i % 3, "") for i, s in enumerate(batch.segments)]
    return LabelBatch(batch.round, 3, len(rated), rated)


def test_resume_continues_bit_for_bit():
    learner, _ = trained()
    state = learner.state_dict()
    again = Learner(config(), 99)
    again.load_state_dict(state)
    assert again.metrics() == pytest.approx(learner.metrics(), nan_ok=True)
    a, b = run_on(learner, 2), run_on(again, 2)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    picks = [[s.id for s in x.make_round().segments] for x in (learner, again)]
    assert picks[0] == picks[1]


def test_a_round_under_way_survives_a_restart():
    learner = warmed_up()
    batch = learner.make_round()
    again = Learner(config(), 0)
    again.load_state_dict(learner.state_dict())
    assert [s.id for s in again.schedule.pending.segments] == [s.id for s in batch.segments]
    again.set_reward_model(FakeModel(round=1))
    assert again.schedule.pending is None


def test_trainer_ignores_a_round_it_has_seen_and_counts_no_invented_class():
    _, trainer = trained()
    before = trainer.counts().tolist()
    learner = warmed_up()
    batch = rate(learner.make_round())
    assert trainer.add_labels(batch) == 0 and trainer.counts().tolist() == before
    late = LabelBatch(
        5,
        3,
        2,
        [Label.of(batch.labels[0].segment, -1, "refused"), Label.of(batch.labels[1].segment, 2, "")],
    )
    assert trainer.add_labels(late) == 1 and trainer.counts().sum() == sum(before) + 1


def test_trainer_resumes_bit_for_bit():
    _, trainer = trained()
    again = RewardTrainer(reward_config(), 77)
    again.load_state_dict(trainer.state_dict())
    again.seed = again.trainer.seed = trainer.seed
    for t in (trainer, again):
        t.add_episode(episode(7, steps=30))
    a, b = trainer.train(), again.train()
    images = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    proprio = np.zeros((5, P), np.float32)
    np.testing.assert_array_equal(
        a.predict(a.features(images), proprio).mean, b.predict(b.features(images), proprio).mean
    )


def test_a_learner_from_an_older_checkpoint_follows_the_trainer():
    learner, trainer = trained()
    old = learner.state_dict()
    learner.add_episode(episode(2)), learner.add_episode(episode(3))
    assert trainer.add_labels(rate(learner.make_round())) == 6  # round 1, which the learner will not know of
    trainer.train()
    back, keeper = Learner(config(), 0), RewardTrainer(reward_config(), 0)
    back.load_state_dict(old), keeper.load_state_dict(trainer.state_dict())
    assert back.supersedes_current(keeper.model)
    back.set_reward_model(keeper.model)
    assert back.schedule.requested == 18 and not back.supersedes_current(keeper.model)
    back.add_episode(episode(2)), back.add_episode(episode(3))
    batch = back.make_round()
    assert batch.round == 2 and keeper.add_labels(rate(batch)) == 6


def test_a_round_that_only_the_trainer_has_finished_is_not_waited_for():
    learner, trainer = warmed_up(), RewardTrainer(reward_config(), 0)
    for i in range(2):
        trainer.add_episode(episode(i))
    trainer.add_labels(rate(learner.make_round()))
    trainer.train()
    back, keeper = Learner(config(), 0), RewardTrainer(reward_config(), 0)
    back.load_state_dict(learner.state_dict()), keeper.load_state_dict(trainer.state_dict())
    assert keeper.add_labels(rate(back.schedule.pending)) == 0
    back.set_reward_model(keeper.model)
    assert back.schedule.pending is None and back.episode_budget() > back.episodes


def test_a_trainer_that_began_anew_is_heard_and_its_features_are_not_mixed_up():
    learner, _ = trained()
    other = RewardTrainer(reward_config(), 5)
    other.add_episode(episode(9))
    learner.add_episode(episode(2)), learner.add_episode(episode(3))
    other.round = 1
    other.add_labels(rate(learner.make_round()))
    model = other.train()
    assert model.version == learner.model.version and model.features_version == learner.model.features_version
    assert learner.supersedes_current(model)
    learner.set_reward_model(model)
    frames = decode_many(learner.replay.frame_jpegs, 32)
    expected = model.predict(model.features(frames), learner.replay.frame_proprio).mean
    np.testing.assert_allclose(learner.replay.rewards, expected[learner.replay.transition_frame], atol=1e-6)


def test_a_round_without_ratings_may_come_again_with_some():
    trainer, batch = RewardTrainer(reward_config(), 0), rate(warmed_up().make_round())
    failed = LabelBatch(0, 3, 12, [Label.of(r.segment, -1, "timeout") for r in batch.labels])
    assert trainer.add_labels(failed) == 0 and trainer.add_labels(batch) == 12 and trainer.requested == 12


def test_segments_of_another_length_are_refused_by_name():
    _, trainer = trained()
    batch = rate(warmed_up(segment_length=3).make_round())
    batch.round = 1
    with refused(DataError, field="segment_length"):
        trainer.add_labels(batch)
    assert trainer.round == 1


def test_few_ratings_show_no_skill():
    trainer, batch = RewardTrainer(reward_config(), 0), rate(warmed_up().make_round())
    trainer.add_episode(episode(0))
    trainer.add_labels(LabelBatch(0, 3, 12, batch.labels[:9]))
    assert trainer.train().info.skill == 0.0


def test_a_frame_store_smaller_than_what_is_stored():
    big, small = FrameStore(100, 32, P, 0), FrameStore(15, 32, P, 0)
    big.add(episode(0)), big.add(episode(1))
    small.load_state_dict(big.state_dict())
    small.add(episode(2))
    assert small.images.shape == (15, 32, 32, 3) and small.proprio.shape == (15, P)


def test_skill_is_zero_for_guessing_the_shares():
    counts = np.array([30, 10])
    assert skill(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), counts) == pytest.approx(0)
    assert skill(0.0, np.array([5, 0])) == 0.0


def test_no_query_can_be_drawn_from_episodes_shorter_than_a_segment(caplog):
    learner = Learner(config(segment_length=30), 0)
    for number in range(4):
        learner.add_episode(episode(number, 12))
        assert not learner.round_due()
    assert learner.schedule.sent == 0 and caplog.text.count("segment_length is 30") == 1
