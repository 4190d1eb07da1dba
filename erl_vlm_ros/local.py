# SPDX-License-Identifier: Apache-2.0
"""The whole training loop in one process, with the same parts that the ROS nodes use.

For learning benchmarks and for measuring what the graph costs. A teacher is anything that rates a SegmentBatch;
`TruthTeacher` (ground truth with errors) is for tuning only, the stand-in server is reached through VlmRater.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from erl_vlm_ros.agents.command import action_to_command
from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.agents.learner import EXPLORE, Learner, LearnerConfig
from erl_vlm_ros.agents.numpy_actor import NumpyActor
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.observation import PROPRIO_DIM, build_observation
from erl_vlm_ros.data.segment import RatedSegment, RatingBatch, SegmentBatch
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.tasks import Task

Teacher = Callable[[SegmentBatch], RatingBatch]


@dataclass(frozen=True)
class LocalConfig:
    """``reward_source``: model (ratings), sparse or dense (simulator truth: baselines)."""

    learner: LearnerConfig
    reward: RewardTrainerConfig
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    max_steps: int = 15_000
    eval_every: int = 1000
    eval_episodes: int = 20
    eval_seed: int = 1_000_000
    image_size: int = 128
    reward_source: str = "model"


class Truth:
    """Ground truth per (episode, frame), kept away from everything that learns."""

    def __init__(self) -> None:
        self.progress: dict[int, np.ndarray] = {}
        self.success: dict[int, np.ndarray] = {}
        self.classes: dict[int, np.ndarray] = {}  # [T+1, 6], column n = class among n

    def rating(self, segment_id: str, n: int) -> int:
        """True class of a segment's last frame."""
        episode, step, _ = segment_id.split("_")
        return int(self.classes[int(episode[1:])][int(step[1:]), n])


class TruthTeacher:
    """Ground truth with a share of independent errors, uniform over the wrong classes. For tuning, labelled so."""

    def __init__(self, truth: Truth, n_classes: int, error_rate: float, seed: int):
        self.truth, self.n, self.error_rate = truth, n_classes, error_rate
        self._rng = np.random.default_rng(seed)

    def __call__(self, batch: SegmentBatch) -> RatingBatch:
        rated = []
        for segment in batch.segments:
            rating = self.truth.rating(segment.id, self.n)
            if self._rng.random() < self.error_rate:
                rating = int((rating + self._rng.integers(1, self.n)) % self.n)
            rated.append(RatedSegment(segment, rating, ""))
        return RatingBatch(batch.round, self.n, len(batch.segments), rated)


class LocalLoop:
    """Collects, rates, learns and evaluates in turn; ``run`` returns a summary like the graph's."""

    def __init__(self, task: Task, config: LocalConfig, seed: int, teacher: Callable[[Truth], Teacher], log=None):
        self.task, self.config, self.seed = task, config, seed
        self.arm = SimArm(task.name, image_size=(config.image_size, config.image_size))
        self.learner = Learner(config.learner, seed)
        self.trainer = RewardTrainer(config.reward, seed)
        self.rollout = RolloutPolicy(config.exploration, task, seed + 3)
        self.evaluator = RolloutPolicy(config.exploration, task, seed + 4)
        self.truth = Truth()
        self.teacher = teacher(self.truth)
        self.history: list[dict[str, Any]] = []
        self.log = log or (lambda row: None)
        self.seconds = dict.fromkeys(("collect", "rate", "reward", "label", "update", "evaluate"), 0.0)
        self.valid = self.right = 0

    def run(self) -> dict[str, Any]:
        """Train to max_steps; returns the summary."""
        config, learner = self.config, self.learner
        next_eval = config.eval_every or float("inf")
        while learner.env_steps < config.max_steps:
            self._collect_one()
            if config.reward_source == "model" and learner.round_due():
                self._rate()
            self._timed("update", lambda: learner.update(10**9))
            if learner.env_steps >= next_eval:
                next_eval += config.eval_every
                self._evaluate()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Figures so far, the last evaluation's success rate among them."""
        last = self.history[-1]["success_rate"] if self.history else None
        return {
            "task": self.task.name,
            "seed": self.seed,
            "env_steps": self.learner.env_steps,
            "ratings_requested": self.learner.ratings_requested,
            "ratings_valid": self.valid,
            "rating_accuracy": self.right / max(self.valid, 1),
            "success_rate": last,
            "history": self.history,
            "wall_s": sum(v for k, v in self.seconds.items() if k != "evaluate"),
            "seconds": self.seconds,
        }

    def _timed(self, name: str, call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        out = call()
        self.seconds[name] += time.monotonic() - started
        return out

    def _collect_one(self) -> None:
        learner = self.learner
        index = learner.episodes
        explore = learner.phase == EXPLORE
        actor = None if explore else NumpyActor(learner.sac.actor_arrays())
        self.rollout.begin_episode(explore=explore, evaluation=False)
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        episode, truth = self._timed("collect", lambda: self._episode(self.rollout, actor, seed, index, False))
        self.truth.progress[index], self.truth.success[index], self.truth.classes[index] = truth
        rewards = {"dense": truth[0][1:], "sparse": truth[1][1:].astype(np.float32), "model": None}[
            self.config.reward_source
        ]
        self._timed("label", lambda: learner.add_episode(episode, rewards))
        if rewards is None:
            self._timed("reward", lambda: self.trainer.add_episode(episode))

    def _episode(self, rollout: RolloutPolicy, actor, seed: int, index: int, evaluation: bool):
        arm, steps = self.arm, self.task.episode_steps
        arm.reset(seed)
        observations, actions, jpegs, progress, success, classes = [], [], [], [], [], []

        def observe() -> np.ndarray:
            obs = build_observation(
                arm.joint_positions, arm.ee_position, arm.gripper_width, arm.object_position, arm.goal
            )
            observations.append(obs)
            jpegs.append(b"" if evaluation else encode_jpeg(arm.render()))
            state = arm.state()
            progress.append(arm.task.progress(state))
            success.append(arm.task.success(state))
            classes.append([0, 0] + [arm.task.truth_class(state, n) for n in (2, 3, 4, 5)])
            return obs

        obs = observe()
        for _ in range(steps):
            action = rollout.act(obs, actor)
            arm.apply(*action_to_command(action, self.task))
            actions.append(action)
            obs = observe()
        stamps = (np.arange(steps + 1) * 1e8).astype(np.int64)
        episode = Episode(
            observations=np.stack(observations),
            actions=np.stack(actions),
            jpegs=jpegs,
            stamps=stamps,
            terminated=False,
            truncated=True,
            evaluation=evaluation,
            index=index,
            actor_version=0,
            seed=seed,
            prop_dim=PROPRIO_DIM,
        )
        return episode, (np.array(progress, np.float32), np.array(success), np.array(classes))

    def _rate(self) -> None:
        batch = self.learner.make_round()
        ratings = self._timed("rate", lambda: self.teacher(batch))
        n = self.config.reward.n_classes
        for r in ratings.rated:
            if r.rating >= 0:
                self.valid += 1
                self.right += r.rating == self.truth.rating(r.segment.id, n)
        self.learner.round_answered(ratings)
        if not self.trainer.add_ratings(ratings):
            self.learner.round_failed(batch.round)
            return
        model = self._timed("reward", self.trainer.train)
        self._timed("label", lambda: self.learner.set_reward_model(model))

    def _evaluate(self) -> None:
        actor = None if self.learner.phase == EXPLORE else NumpyActor(self.learner.sac.actor_arrays())
        wins = 0
        started = time.monotonic()
        for i in range(self.config.eval_episodes if actor is not None else 0):
            self.evaluator.begin_episode(explore=False, evaluation=True)
            wins += bool(self._episode(self.evaluator, actor, self.config.eval_seed + i, i, True)[1][1][-1])
        self.seconds["evaluate"] += time.monotonic() - started
        row = {
            "env_steps": self.learner.env_steps,
            "success_rate": wins / self.config.eval_episodes,
            "ratings": self.learner.ratings_requested,
            "wall_s": round(sum(v for k, v in self.seconds.items() if k != "evaluate"), 1),
        }
        self.history.append(row)
        self.log(row | self.diagnosis())

    def diagnosis(self) -> dict[str, Any]:
        """True class counts in the buffer and among the rated: what tells a missing class from a bad network."""
        n = self.config.reward.n_classes
        seen = np.concatenate([c[1:, n] for c in self.truth.classes.values()])
        replay = np.bincount(seen, minlength=n).tolist()
        out = {"seen": replay, "rated": self.trainer.counts().tolist()}
        if self.learner.model is not None:
            out["skill"] = round(self.learner.model.health.get("skill", 0), 3)
            truth = np.concatenate([self.truth.progress[e][1:] for e in sorted(self.truth.progress)])[
                -len(self.learner.replay) :
            ]
            out["corr"] = round(float(np.corrcoef(truth[-5000:], self.learner.replay.rewards[-5000:])[0, 1]), 3)
        return out
