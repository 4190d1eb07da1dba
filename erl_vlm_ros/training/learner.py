# SPDX-License-Identifier: Apache-2.0
"""What the node learner and the local loop hold: an agent, its buffer, and when it learns and asks. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.agents.base import Policy
from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.control.actor_source import DEMONSTRATED, MAX_DEMONSTRATED
from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.query import LabelBatch, QueryBatch
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.saved_labels import LabelStore
from erl_vlm_ros.data.spaces import EE_POSITION
from erl_vlm_ros.feedback.kinds import FeedbackKind, kinds_named
from erl_vlm_ros.reward.model import RewardModel
from erl_vlm_ros.training import learner_state
from erl_vlm_ros.training.batches import ReplayBatches
from erl_vlm_ros.training.feature_noise import FeatureNoise
from erl_vlm_ros.training.image_observer import ImageObserver
from erl_vlm_ros.training.learner_config import LearnerConfig
from erl_vlm_ros.training.places import demonstrated_places, found_places
from erl_vlm_ros.training.query_picker import QueryPicker
from erl_vlm_ros.training.rating_schedule import RatingPlan, RatingSchedule
from erl_vlm_ros.training.relabeller import Relabeller
from erl_vlm_ros.training.update_pacer import UpdatePacer

EXPLORE, LEARN = "explore", "learn"


class Learner:
    """Feed it episodes, labels and reward models; it says when a round of queries is due and what it asks.

    An agent that needs rewards begins to learn once a reward model explains some of the ratings, or with episodes
    that bring rewards; one that needs labels, once there are some; any other, once the warm-up's steps are there.
    Where no further episode will come (``end_of_data``), rounds of queries follow updates in place of steps. Where none
    ever comes (``config.live`` false), all is asked first and learned from then: ``config.offline_updates`` in all.
    """

    def __init__(self, config: LearnerConfig, seed: int):
        self.config = config
        self.agent = config.agent.make(seed)
        images = config.encoder is not None
        self.images = None
        if images:
            seen, size = config.seen_cameras, config.trunk_image_size
            self.images = ImageObserver(config.encoder, config.trunk_channels, config.spaces, seen, seed, size)
        sizes = (config.obs_dim, config.act_dim, config.prop_dim)
        self.spaces = config.spaces if self.images is None else self.images.spaces  # of what the agent sees
        self.replay = ReplayBuffer(config.capacity, *sizes, self.spaces)
        self.kinds = kinds_named(config.feedback)  # rounds take turns in them
        if len(self.kinds) > 1 and self.agent.needs.labels:
            text = (
                f"learner.algorithm {config.agent.algorithm} learns from the labels themselves, which are then of one "
                f"kind: feedback is {config.feedback}; choose rating or preference"
            )
            raise ConfigError(text, parameter="learner.feedback", code=Code.DOES_NOT_FIT)
        self.rng = np.random.default_rng(seed + 1)
        self.batch_rng = np.random.default_rng(seed + 2)
        self.labels = LabelStore()  # valid ones, of an agent that learns from them
        self.relabeller = Relabeller(self.replay, config.std_bonus)
        self.picker = QueryPicker(self.kinds[0], config.selection, config.segment_length, self.rng)
        self.schedule = RatingSchedule(
            RatingPlan(
                warmup_steps=config.warmup_steps,
                round_steps=config.round_steps,
                first=config.first_ratings,
                later=config.round_ratings,
                most=config.max_ratings if self.asks else 0,
            )
        )
        per_step = config.updates_per_step if config.live else 0.0
        self.pacer = UpdatePacer(per_step, config.episode_steps, config.max_lag_episodes)
        noise = None if self.images is None else FeatureNoise(config.feature_noise, self.images.encoded, self.batch_rng)
        self._batches = ReplayBatches(self.replay, self.labels, self.batch_rng, config.demo_share, noise)
        self.phase = EXPLORE
        self.env_steps = 0
        self.episodes = 0
        self.version = 0
        self.last_return = math.nan
        self.ended_at: int | None = None  # updates done when the last episode had come

    @property
    def asks(self) -> bool:
        """Whether the agent has any use for a teacher."""
        needs = self.agent.needs
        return needs.labels or (needs.rewards and not self.config.rewards_given)

    @property
    def clock(self) -> int:
        """Steps collected, and updates since no more are collected: what rounds and checkpoints go by."""
        return self.env_steps + (0 if self.ended_at is None else self.updates - self.ended_at)

    @property
    def model(self) -> RewardModel | None:
        """The reward model in use."""
        return self.relabeller.model

    # -- data in

    def add_episode(self, episode: Episode, rewards: np.ndarray | None = None) -> None:
        """Store an episode; label it with the present reward model, or with given ``rewards`` [T].

        Raises:
            ValueError: it does not fit the buffer, or a frame is no JPEG; nothing is changed.
        """
        if self.images is not None:
            if episode.spaces is not None:
                self.config.spaces.require(episode.spaces, f"episode {episode.index}")
            episode = self.images.extended(episode)
        self.relabeller.add(episode, rewards)
        steps = episode.steps
        self.env_steps += steps
        self.episodes = max(self.episodes, episode.index + 1)
        if rewards is not None:
            self.last_return = float(rewards.sum())
        if self.config.live and (rewards is not None or not self.asks):
            self._begin_after_warmup()
        if self.model is not None:
            self.last_return = float(self.replay.rewards[-steps:].sum())
        if self.phase == LEARN:
            self.pacer.collected(steps)

    def end_of_data(self) -> None:
        """No further episode will come: nothing is gained by waiting for more of them.

        Raises:
            ValueError: there was none.
        """
        if not len(self.replay):
            raise DataError("there is no episode to learn from", field="episodes")
        if self.ended_at is None:
            self.ended_at = self.updates
        if self.phase == EXPLORE and not self.asks:
            self._begin_learning()
        elif self.phase == EXPLORE:
            self.schedule.hasten(self.clock)
        elif not self.config.live:  # continued, perhaps with more updates than before
            self.pacer.grant(max(0.0, self.config.offline_updates - self.updates - self.pending_updates))

    @property
    def done(self) -> bool:
        """Whether all that can be done without further episodes is done."""
        waiting = self.schedule.waiting or self.round_due()
        return self.ended_at is not None and self.phase == LEARN and self.pending_updates < 1 and not waiting

    @property
    def stalled(self) -> bool:
        """Whether nothing will ever happen: learning needs labels, and there is no query left to be asked."""
        idle = self.phase == EXPLORE and not self.schedule.waiting and not self.round_due()
        return self.ended_at is not None and idle

    def set_reward_model(self, model: RewardModel) -> None:
        """Take a new reward model and relabel the whole buffer; features are kept where the model allows it.

        Raises:
            ValueError: it does not fit the buffer, or its rewards are not finite; the model before stays in use.
        """
        self.relabeller.use(model)
        if self.images is not None and self.phase == EXPLORE:
            self.images.fit(model, self.replay)
        # The trainer counts labels, the budget queries; so many of those a query, alike for all kinds.
        labels = self.kinds[0].labels_a_query(self.config.segment_length)
        self.schedule.finish(model.info.round, model.info.requested // labels)
        self._after_round()

    def supersedes_current(self, model: RewardModel) -> bool:
        """Whether a model is to be used: newer, or of a round that is waited for (its trainer may have restarted)."""
        if self.model is None or model.version > self.model.version:
            return True
        return model.info.round > self.schedule.done

    def add_labels(self, batch: LabelBatch) -> bool:
        """The answers of a round. False: not one is valid, and it is asked again later.

        What an outage left unanswered does not count against ``max_ratings``.

        Raises:
            ValueError: labels of a kind that no round of this run asks for; nothing is changed.
        """
        kind = self.kind_of(batch)
        self.schedule.answered(batch)
        if batch.round < self.schedule.done:
            return True  # history that a restart replays
        lessons = [label for label in batch.valid if kind.teaches(label.value)]
        if not lessons:
            self.round_failed(batch.round)
            return False
        if self.agent.needs.labels:
            self.labels.extend(lessons)
            if not self.agent.needs.rewards:  # else the round ends with its reward model
                self.schedule.finish(batch.round + 1)
                self._after_round()
        return True

    def kind_of(self, batch: LabelBatch) -> FeedbackKind:
        """The kind of these labels. ValueError: where there are several, none of them."""
        parts = [kind.part for kind in self.kinds]
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            if part.name == batch.kind:
                return part
        text = f"labels are of kind {batch.kind}; this run asks for {' and '.join(part.name for part in parts)}"
        raise DataError(text, field="labels.meta.feedback")

    def round_failed(self, number: int) -> None:
        """A round came back without one valid label: no reward model will follow, so ask again later."""
        self.schedule.finish(number + 1)
        self.schedule.postpone(self.clock)
        self._after_round()

    @property
    def out_of_ratings(self) -> bool:
        """Whether nothing will ever be learned: the agent needs labels, all are spent, and none was valid."""
        learned = self.model is not None or self.labels
        return self.asks and self.schedule.over and not learned and self.phase == EXPLORE

    def _after_round(self) -> None:
        """Learn, once the labels explain something, or when exploring on would not bring more of them."""
        if self.phase != EXPLORE:
            return
        if self._explained():
            self._begin_learning()
        elif self.ended_at is not None:
            self.schedule.hasten(self.clock)
        elif self.schedule.next_at <= self.env_steps:
            self.schedule.postpone(self.env_steps)

    def _explained(self) -> bool:
        if not self.config.live and not self.schedule.over:
            return False
        if not self.agent.needs.rewards:
            return bool(self.labels)
        if self.model is None:
            return False
        ended = self.ended_at is not None
        long_enough = self.env_steps >= self.config.max_warmup_steps or self.schedule.over or ended
        return self.model.info.skill >= self.config.min_skill or long_enough

    def _begin_after_warmup(self) -> None:
        if self.phase == EXPLORE and self.env_steps >= self.config.warmup_steps:
            self._begin_learning()

    def _begin_learning(self) -> None:
        if self.images is not None and not self.images.fitted:
            self.images.fit(self.model, self.replay)
        self.phase = LEARN
        catch_up = self.config.catch_up * self.env_steps if self.config.live else 0.0
        self.pacer.grant(catch_up + self.config.offline_updates)

    # -- updates

    @property
    def pending_updates(self) -> float:
        """Updates that are due."""
        return self.pacer.pending_updates

    @property
    def updates(self) -> int:
        """Updates done."""
        return self.pacer.done

    def update(self, count: int) -> Mapping[str, float]:
        """Up to ``count`` of the updates that are due; returns the metrics of the last."""
        metrics: Mapping[str, float] = {}
        for _ in range(self.pacer.take(count)):
            metrics = self.agent.update(self._batches)
        return metrics

    # -- queries

    def round_due(self) -> bool:
        """Whether queries should be picked now."""
        return self.schedule.due(self.clock) and self.picker.can_pick(self.replay)

    def make_round(self) -> QueryBatch:
        """Draw queries; counts against ``max_ratings``. None is left to be drawn where no episode comes any more: no
        further round will follow this empty one, which nobody need be asked."""
        turn = self.schedule.sent % len(self.kinds)
        for kind in (*self.kinds[turn:], *self.kinds[:turn]):  # the next one, where of this one nothing is left
            queries = self.picker.pick(self.replay, self.relabeller.prediction, self.schedule.size(), kind)
            batch = QueryBatch(self.schedule.sent, queries, kind.name)
            if queries:
                break
        if not queries and not self.config.live:
            self.schedule.close()
            self._after_round()
        else:
            self.schedule.begin(batch, self.clock)
        return batch

    # -- data out

    def episode_budget(self) -> int:
        """The controller may start training episode k only if k is below this."""
        if self.phase == LEARN:
            return max(self.episodes + self.pacer.episodes_ahead(), 0)
        if self.asks and self.schedule.over:
            return self.episodes + 1
        if self.schedule.waiting:
            return self.episodes  # hold still until the labels are back
        return self.episodes + math.ceil(self.schedule.steps_missing(self.env_steps) / self.config.episode_steps)

    def actor_bundle(self) -> Bundle:
        """The policy and the counters that the controller needs; without weights while exploring."""
        meta = {
            "version": self.version,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "episode_budget": self.episode_budget(),
            "phase": self.phase,
        }
        if self.config.spaces is not None:
            meta["spaces"] = self.config.spaces.to_json()
        self.version += 1
        places = self.demonstrated()
        arrays = {DEMONSTRATED: places} if len(places) else {}
        if self.phase == EXPLORE:
            return Bundle("actor", arrays, meta)
        policy = self.policy()
        return Bundle("actor", {**policy.arrays, **arrays}, {**policy.meta, **meta, "policy": policy.kind})

    def policy(self) -> Policy:
        """The policy as it is now, with its encoder where it sees images."""
        policy = self.agent.policy()
        return policy if self.images is None else self.images.policy(policy)

    def demonstrated(self) -> np.ndarray:
        """End-effector positions, m, float32 [N, 3], to explore near: spread over all that a person drove; where nobody
        did, and the agent sees images, where the arm was held up and those of the frames with the highest learned
        reward. N is at most 512."""
        if self.spaces is not None and EE_POSITION in self.spaces.observation:
            if len(self.replay.demonstrations):
                return demonstrated_places(self.replay, MAX_DEMONSTRATED)
            if self.images is not None:
                prediction = self.relabeller.prediction
                return found_places(self.replay, None if prediction is None else prediction.mean, MAX_DEMONSTRATED)
        return np.zeros((0, 3), np.float32)

    def metrics(self) -> dict[str, float]:
        """Figures for learning/metrics."""
        out = {
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "pending_updates": self.pending_updates,
            "ratings_requested": self.schedule.requested,
            "rounds": self.schedule.sent,
            "episode_return": self.last_return,
            "learning": float(self.phase == LEARN),
            "replay_transitions": len(self.replay),
        }
        return {k: float(v) for k, v in (out | self.relabeller.metrics()).items()}

    def state_dict(self) -> dict[str, Any]:
        """Agent, buffer, labels, counters and random state; the reward model as its bundle."""
        return learner_state.saved(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ``schedule.pending`` is the round that was under way: publish it again.

        Raises:
            ConfigError: the state is of another algorithm, which this one cannot take over from, or of other sizes.
        """
        learner_state.restore(self, state)
