# SPDX-License-Identifier: Apache-2.0
"""The learner behind the sac_learner node: buffer, updates, relabelling, and what to have rated. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.agents.learner_config import LearnerConfig
from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many, jpeg_size
from erl_vlm_ros.data.reasons import is_outage
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.segment import RatingBatch, Segment, SegmentBatch
from erl_vlm_ros.data.selection import Candidates, select
from erl_vlm_ros.reward.model import Prediction, RewardModel, load_reward_model, same_features
from erl_vlm_ros.reward.prediction import joined
from erl_vlm_ros.ros.bundle import Bundle, decode, encode

EXPLORE, LEARN = "explore", "learn"
_RECENT = 500  # frames


class Learner:
    """Feed it episodes and reward models; it says when a round of ratings is due and what it wants rated."""

    def __init__(self, config: LearnerConfig, seed: int):
        self.config = config
        self.sac = SAC(config.sac, seed)
        self.replay = ReplayBuffer(config.capacity, config.sac.obs_dim, config.sac.act_dim, config.prop_dim)
        self.rng = np.random.default_rng(seed + 1)
        self.batch_rng = np.random.default_rng(seed + 2)
        self.model: RewardModel | None = None
        self.phase = EXPLORE
        self.env_steps = 0
        self.episodes = 0
        self.version = 0
        self.updates = 0
        self.owed = 0.0
        self.ratings_requested = 0
        self.refunded = 0  # of the round under way: segments that the rater could not ask about
        self.rounds_sent = 0
        self.rounds_done = 0
        self.next_round_at = config.warmup_steps
        self.last_return = math.nan
        self.pending: SegmentBatch | None = None
        self._rated: set[int] = set()  # lasting frame ids
        self._features = np.zeros((0, 0), np.float32)
        self._prediction: Prediction | None = None
        self._drift = 0.0  # mean change of the rewards with the newest reward model

    # -- data in

    def add_episode(self, episode: Episode, rewards: np.ndarray | None = None) -> None:
        """Store an episode; label it with the present reward model, or with given ``rewards`` [T] (baselines).

        Raises:
            ValueError: it does not fit the buffer, or a frame is no JPEG; nothing is changed.
        """
        features = self._features_of(episode)
        oldest = self.replay.first_frame_id
        self.replay.add_episode(episode, rewards)
        steps = episode.steps
        self.env_steps += steps
        self.episodes = max(self.episodes, episode.index + 1)
        if rewards is not None:
            self.last_return = float(rewards.sum())
            if self.phase == EXPLORE and self.env_steps >= self.config.warmup_steps:
                self._begin_learning()
        if self.model is not None:
            gone = self.replay.first_frame_id - oldest
            self._features = np.concatenate([self._features[gone:], features])
            new = self.model.predict(features, episode.observations[:, : self.config.prop_dim])
            self._label(joined(self._prediction, gone, new))
            self.last_return = float(self.replay.rewards[-steps:].sum())
        if self.phase == LEARN:
            self.owed += self.config.updates_per_step * steps

    def set_reward_model(self, model: RewardModel) -> None:
        """Take a new reward model and relabel the whole buffer; features are kept where the model allows it.

        Raises:
            ValueError: it does not fit the buffer, or its rewards are not finite; the model before stays in use.
        """
        self._use(model)
        health = model.health
        self._finish_rounds(int(health.get("round", self.rounds_done)), int(health.get("requested", 0)))
        self._after_round()

    def is_news(self, model: RewardModel) -> bool:
        """Whether a model is to be used: newer, or of a round that is waited for (its trainer may have restarted)."""
        if self.model is None or model.version > self.model.version:
            return True
        return model.health.get("round", 0) > self.rounds_done

    def round_answered(self, batch: RatingBatch) -> None:
        """Segments that an outage of the rater left without an answer do not count against ``max_ratings``."""
        if self.pending is None or self.pending.round != batch.round or not batch.rated:
            return
        lost = sum(is_outage(rated.reason) for rated in batch.rated) / len(batch.rated)
        refund = round(lost * len(self.pending.segments))
        self.ratings_requested += self.refunded - refund  # the same batch may come again
        self.refunded = refund

    def round_failed(self, number: int) -> None:
        """A round came back without one valid rating: no reward model will follow, so ask again later."""
        self._finish_rounds(number + 1)
        self.next_round_at = self.env_steps + self.config.round_steps
        self._after_round()

    @property
    def ratings_over(self) -> bool:
        """Whether no round is under way and none will follow."""
        return self.rounds_sent <= self.rounds_done and self.ratings_requested >= self.config.max_ratings

    @property
    def hopeless(self) -> bool:
        """Whether nothing will ever be learned: every rating is spent, and none was valid."""
        return self.ratings_over and self.model is None and self.phase == EXPLORE

    def _finish_rounds(self, done: int, requested: int = 0) -> None:
        """``done`` rounds are over, with ``requested`` segments in all: more than this learner knows of when it
        came back from an older checkpoint. A round's number is not given twice."""
        self.rounds_done = max(self.rounds_done, done)
        self.rounds_sent = max(self.rounds_sent, self.rounds_done)
        self.ratings_requested = max(self.ratings_requested, requested)
        if self.pending is not None and self.pending.round < self.rounds_done:
            self.pending = None

    def _after_round(self) -> None:
        """Learn, once the ratings explain something, or when exploring on would not bring more of them."""
        if self.phase != EXPLORE:
            return
        config = self.config
        skill = -math.inf if self.model is None else self.model.health.get("skill", 1.0)
        long_enough = self.env_steps >= config.max_warmup_steps or self.ratings_over
        if skill >= config.min_skill or (long_enough and self.model is not None):
            self._begin_learning()
        elif self.next_round_at <= self.env_steps:
            self.next_round_at = self.env_steps + config.round_steps

    def _use(self, model: RewardModel) -> None:
        known = self.model is not None and same_features(model, self.model)
        features = self._features
        if not known or len(features) != self.replay.n_frames:
            features = model.features(decode_many(self.replay.frame_jpegs, model.image_size))
        before = self._prediction
        self._label(model.predict(features, self.replay.frame_proprio))
        if before is not None and len(before.mean) == len(self._prediction.mean):
            self._drift = float(np.abs(self._prediction.mean - before.mean).mean())
        self.model, self._features = model, features

    def _begin_learning(self) -> None:
        self.phase = LEARN
        self.owed += self.config.catch_up * self.env_steps

    def _features_of(self, episode: Episode) -> np.ndarray | None:
        if self.model is not None:
            return self.model.features(decode_many(episode.jpegs, self.model.image_size))
        for jpeg in episode.jpegs:
            jpeg_size(jpeg)  # a frame that cannot be read would be found when it is too late to refuse it
        return None

    def _label(self, prediction: Prediction) -> None:
        reward = prediction.mean + self.config.std_bonus * prediction.std
        self.replay.set_rewards(reward[self.replay.transition_frame].astype(np.float32))
        self._prediction = prediction

    # -- updates

    def update(self, count: int) -> Mapping[str, float]:
        """Up to ``count`` of the gradient updates that are owed; returns the metrics of the last."""
        count = min(count, int(self.owed))
        metrics: Mapping[str, float] = {}
        for _ in range(count):
            batch = self.replay.sample(self.config.sac.batch_size, self.batch_rng, self.config.demo_share)
            metrics = self.sac.update(batch)
        self.owed -= count
        self.updates += count
        return metrics

    # -- ratings

    def round_due(self) -> bool:
        """Whether segments should be picked now: enough new steps, budget left, no round under way."""
        waiting = self.rounds_sent > self.rounds_done
        return not waiting and self.env_steps >= self.next_round_at and self.ratings_requested < self.config.max_ratings

    def make_round(self) -> SegmentBatch:
        """Pick segments to be rated; counts against ``max_ratings``."""
        config = self.config
        want = config.first_ratings if self.rounds_sent == 0 else config.round_ratings
        want = min(want, config.max_ratings - self.ratings_requested)
        step = self._frame_steps()
        frames = np.flatnonzero(step >= max(config.segment_length, 1))  # a segment lies within its episode
        p = self._prediction
        candidates = Candidates(
            observations=self.replay.frame_observations[frames],
            rated=np.isin(frames + self.replay.first_frame_id, list(self._rated)),
            mean=None if p is None else p.mean[frames],
            std=None if p is None else p.std[frames],
            top=None if p is None else p.top[frames],
        )
        chosen = select(candidates, want, config.selection, self.rng)
        segments = [self._segment(int(i), int(step[i])) for i in frames[chosen]]
        oldest = self.replay.first_frame_id
        self._rated = {i for i in self._rated if i >= oldest} | set((frames[chosen] + oldest).tolist())
        self.pending = batch = SegmentBatch(round=self.rounds_sent, segments=segments)
        self.rounds_sent += 1
        self.ratings_requested += len(segments)
        self.refunded = 0
        self.next_round_at = self.env_steps + config.round_steps
        return batch

    def _frame_steps(self) -> np.ndarray:
        """Step of each frame within its episode, int64 [F]."""
        episode = self.replay.frame_episode
        return np.arange(len(episode)) - np.searchsorted(episode, episode)

    def _segment(self, frame: int, step: int) -> Segment:
        replay, length = self.replay, self.config.segment_length
        rows = slice(frame - length + 1, frame + 1)
        transition = int(np.searchsorted(replay.transition_frame, frame))  # the action that led to the frame
        return Segment(
            id=f"e{replay.frame_episode[frame]}_t{step}_h{length}",
            jpegs=replay.frame_jpegs[rows],
            proprio=replay.frame_proprio[rows].copy(),
            actions=replay.actions[transition - length + 1 : transition + 1].copy(),
            stamps=replay.frame_stamps[rows].copy(),
            extras=replay.frame_extras[rows].copy(),
            extra_names=tuple(replay.extra_names),
        )

    # -- data out

    def episode_budget(self) -> int:
        """The controller may start training episode k only if k is below this."""
        if self.phase == EXPLORE:
            if self.ratings_over:
                return self.episodes + 1
            goal = self.config.warmup_steps if self.rounds_sent == 0 else self.next_round_at
            if self.rounds_sent > self.rounds_done:
                return self.episodes  # hold still until the ratings are back
            missing = max(0, goal - self.env_steps)
            return self.episodes + math.ceil(missing / self.config.episode_steps)
        behind = math.ceil(int(self.owed) / max(self.config.updates_per_step * self.config.episode_steps, 1e-9))
        return max(self.episodes + 1 + self.config.max_lag_episodes - behind, 0)

    def actor_bundle(self) -> Bundle:
        """What the controller needs; without weights while exploring."""
        arrays = self.sac.actor_arrays() if self.phase == LEARN else {}
        meta = {
            "version": self.version,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "episode_budget": self.episode_budget(),
            "phase": self.phase,
        }
        self.version += 1
        return Bundle("actor", arrays, meta)

    def metrics(self) -> dict[str, float]:
        """Figures for learning/metrics."""
        out = {
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "owed_updates": self.owed,
            "ratings_requested": self.ratings_requested,
            "rounds": self.rounds_sent,
            "episode_return": self.last_return,
            "learning": float(self.phase == LEARN),
            "replay_transitions": len(self.replay),
        }
        if self._prediction is not None:
            out |= {
                "reward_mean": float(self.replay.rewards.mean()),
                "reward_std": float(self._prediction.std.mean()),
                "reward_std_recent": float(self._prediction.std[-_RECENT:].mean()),
                "reward_spread": float(self.replay.rewards.std()),
                "reward_drift": self._drift,
                "reward_version": self.model.version,
            }
        return {k: float(v) for k, v in out.items()}

    _COUNTERS = (
        "phase", "env_steps", "episodes", "version", "updates", "owed", "ratings_requested", "refunded",
        "rounds_sent", "rounds_done", "next_round_at", "last_return",
    )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, buffer, counters and random state; the reward model as its bundle."""
        model = None
        if self.model is not None:
            bundle = self.model.to_bundle()
            model = {"arrays": bundle.arrays, "meta": bundle.meta}
        return {
            "sac": self.sac.state_dict(),
            "replay": self.replay.state_dict(),
            "rng": self.rng.bit_generator.state,
            "batch_rng": self.batch_rng.bit_generator.state,
            "rated": np.array(sorted(self._rated), np.int64),
            "model": model,
            "counters": {k: getattr(self, k) for k in self._COUNTERS},
            "pending": None if self.pending is None else encode(self.pending.to_bundle()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ``pending`` is the round that was under way: publish it again."""
        self.sac.load_state_dict(state["sac"])
        self.replay.load_state_dict(state["replay"])
        self.rng.bit_generator.state, self.batch_rng.bit_generator.state = state["rng"], state["batch_rng"]
        self._rated = set(state["rated"].tolist())
        for key, value in state["counters"].items():
            setattr(self, key, value)
        if state["pending"] is not None:
            self.pending = SegmentBatch.from_bundle(decode(state["pending"], "segments"))
        if state["model"] is not None:
            self._use(load_reward_model(Bundle("reward_model", state["model"]["arrays"], state["model"]["meta"])))
