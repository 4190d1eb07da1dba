# SPDX-License-Identifier: Apache-2.0
"""The whole training loop in one process, with the same parts that the ROS nodes use.

For learning benchmarks and for measuring what the graph costs. A teacher is anything that answers a QueryBatch;
`TruthTeacher` (ground truth with errors) is for tuning only, the stand-in server is reached through VlmRater.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.agents.exploration_choice import ChoicePolicy, rollout_policy
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.plan import RunPlan
from erl_vlm_ros.common.tasks import NONE, Task
from erl_vlm_ros.control.policies import Policy, make_policy
from erl_vlm_ros.data.query import Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment, place_of
from erl_vlm_ros.data.sources import EpisodeSource, unseen
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind, kinds_named
from erl_vlm_ros.reward.model import RewardModel
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.sim.backend import backend_spaces, check_control_rate, make_backend
from erl_vlm_ros.sim.cameras import sim_cameras
from erl_vlm_ros.sim.demonstrator import rough_demonstrator
from erl_vlm_ros.sim.rollout import Rollout, roll_out
from erl_vlm_ros.training.learner import EXPLORE, Learner, LearnerConfig

Teacher = Callable[[QueryBatch], LabelBatch]
_MOST_FAILED = 5  # rounds in a row
_CHUNK = 50  # updates between two looks at whether a round is due


@dataclass(frozen=True)
class LocalConfig:
    """``reward_source``: model (ratings), sparse or dense (simulator truth: baselines; dense is the world's own reward
    where it has one, else progress)."""

    learner: LearnerConfig
    reward: RewardTrainerConfig
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    max_steps: int = 15_000
    eval_every: int = 1000
    eval_episodes: int = 20
    eval_seed: int = 1_000_000
    image_size: int = 128
    reward_source: str = "model"
    demos: int = 0  # first episodes that a rough scripted demonstrator drives
    cameras: tuple[str, ...] = ()  # simulated ones, as in the learner's spaces; none: the one without a name
    backend: str = ""  # a name of sim.backend.BACKENDS, or package.module:Class; empty: the task's


class Truth:
    """Ground truth per (episode, frame), kept away from everything that learns."""

    def __init__(self) -> None:
        self.progress: dict[int, np.ndarray] = {}
        self.success: dict[int, np.ndarray] = {}
        self.classes: dict[int, np.ndarray] = {}  # [T+1, 6], column n = class among n

    def add(self, index: int, seen: Rollout) -> None:
        """What is true of episode ``index``."""
        self.progress[index], self.success[index], self.classes[index] = seen.progress, seen.success, seen.classes

    def at(self, segment: Segment) -> dict[str, float]:
        """What is true of a segment's last frame: ``progress``, ``success``, ``class_2`` .. ``class_5``; and
        ``mean_progress`` of all its frames."""
        episode, step, _ = place_of(segment.id)
        classes = {f"class_{n}": float(self.classes[episode][step, n]) for n in (2, 3, 4, 5)}
        mean = float(self.progress[episode][step - len(segment.jpegs) + 1 : step + 1].mean())
        return {
            "progress": float(self.progress[episode][step]), "success": float(self.success[episode][step]),
            "mean_progress": mean, **classes,
        }  # fmt: skip

    def label(self, kind: FeedbackKind, query: Query, n: int) -> int:
        """The right class of a query."""
        return kind.truth([self.at(segment) for segment in query], n)


class TruthTeacher:
    """Ground truth with a share of independent errors, uniform over the wrong classes. For tuning, labelled so."""

    def __init__(self, truth: Truth, n_classes: int, error_rate: float, seed: int, kind: FeedbackKind = RATING):
        self.truth, self.n, self.error_rate, self.kind = truth, n_classes, error_rate, kind
        self._rng = np.random.default_rng(seed)

    def __call__(self, batch: QueryBatch) -> LabelBatch:
        labels = []
        for query in (part for whole in batch.queries for part in self.kind.parts(whole)):
            value = self.truth.label(self.kind.part, query, self.n)
            if self._rng.random() < self.error_rate:
                value = self.kind.part.mistake(value, self.n, self._rng)
            labels.append(Label(query, value))
        return LabelBatch(batch.round, self.n, len(labels), labels, kind=self.kind.part.name)


def truth_teacher(feedback: str, task: Task, n_classes: int, error_rate: float, seed: int, truth: Truth) -> Teacher:
    """A TruthTeacher of that feedback, or where it is both kinds, of each one. ``n_classes``: of ratings, 0: the task's
    own."""
    teachers = {
        kind.name: TruthTeacher(truth, len(kind.classes(task, n_classes)), error_rate, seed, kind)
        for kind in kinds_named(feedback)
    }
    return lambda batch: teachers[batch.kind](batch)


class LocalLoop:
    """Collects, rates, learns and evaluates in turn; ``run`` returns a summary like the graph's."""

    def __init__(
        self,
        task: Task,
        config: LocalConfig,
        seed: int,
        teacher: Callable[[Truth], Teacher],
        log: Callable[[dict[str, Any]], None] | None = None,
        source: EpisodeSource | None = None,
    ):
        """``source``: learn from its episodes alone; None: collect them with the simulated arm."""
        self.probe: Callable[[RewardModel], dict[str, float]] | None = None  # an evaluation's held_out
        if config.learner.encoder is not None:
            task = replace(task, observed_object=NONE)
        self.task, self.config, self.seed = task, config, seed
        size = (config.image_size, config.image_size)
        self.arm = make_backend(config.backend, task, size, cameras=sim_cameras(config.cameras, None, None, size))
        check_control_rate(self.arm, task)
        self.spaces = backend_spaces(self.arm, task, config.image_size)
        self.learner = Learner(config.learner, seed)
        self.trainer = RewardTrainer(config.reward, seed)
        self.rollout = rollout_policy(config.exploration, task, self.spaces, seed + 3)
        self.evaluator = rollout_policy(config.exploration, task, self.spaces, seed + 4)
        self.truth = Truth()
        self.teacher = teacher(self.truth)
        self.history: list[dict[str, Any]] = []
        self.log = log or (lambda row: None)
        self.seconds = dict.fromkeys(("collect", "rate", "reward", "label", "update", "evaluate"), 0.0)
        self.valid = self.right = 0
        self.source = source
        self.plan = RunPlan(max_steps=config.max_steps if source is None else None)

    def run(self) -> dict[str, Any]:
        """Train as far as the plan says; returns the summary."""
        config, learner = self.config, self.learner
        if self.source is not None:
            self._learn_from(self.source)
            self._evaluate()
        next_eval = learner.env_steps + (config.eval_every or float("inf"))
        while self.source is None and not self.plan.over(learner.env_steps, learner.updates):
            self._collect_one()
            if config.reward_source == "model" and learner.round_due():
                self._rate()
            self._timed("update", lambda: learner.update(10**9))
            if learner.env_steps >= next_eval:
                next_eval += config.eval_every
                self._evaluate()
        return self.summary()

    def go_on_from(self, learner: dict[str, Any], trainer: dict[str, Any]) -> None:
        """Take the states of another loop's learner and reward trainer; the updates that are due then are made, and the
        policy is evaluated before the first step. ConfigError: they do not fit."""
        self.learner.load_state_dict(learner)
        self.trainer.load_state_dict(trainer)
        self._timed("update", lambda: self.learner.update(10**9))
        self._evaluate()

    def _learn_from(self, source: EpisodeSource) -> None:
        """Read a source to its end, then rounds and updates until all are done.

        Raises:
            ConfigError: the teacher gives no label that is of use.
            ValueError: the source is empty.
        """
        learner, failed = self.learner, 0
        for item in unseen(source, lambda: learner.episodes, learner.config.spaces):
            self._timed("label", lambda item=item: learner.add_episode(*item))
            if learner.asks:
                self._timed("reward", lambda item=item: self.trainer.add_episode(item.episode))
        learner.end_of_data()
        while not learner.done:
            if learner.round_due():
                failed = 0 if self._rate() else failed + 1
            if learner.stalled or failed >= _MOST_FAILED:
                text = f"no valid label in {failed} rounds, {learner.schedule.requested} asked for in all"
                raise ConfigError(text, code=Code.NOT_GIVEN, parameter="max_ratings")
            self._timed("update", lambda: learner.update(_CHUNK))

    def summary(self) -> dict[str, Any]:
        """Figures so far, the last evaluation's success rate among them."""
        last = self.history[-1]["success_rate"] if self.history else None
        return {
            "task": self.task.name,
            "seed": self.seed,
            "env_steps": self.learner.env_steps,
            "ratings_requested": self.learner.schedule.requested,
            "ratings_valid": self.valid,
            "rating_accuracy": self.right / max(self.valid, 1) if self.source is None else None,
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

    def _policy(self) -> Policy:
        policy = self.learner.policy()
        images = self.learner.images
        return make_policy(policy.kind, policy.arrays, policy.meta, None if images is None else images.given)

    def _collect_one(self) -> None:
        learner = self.learner
        index = learner.episodes
        explore = learner.phase == EXPLORE
        actor = None if explore else self._policy()
        self.rollout.begin_episode(explore=explore, evaluation=False)
        demo = rough_demonstrator(self.task, self.seed, index) if index < self.config.demos else None
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        if demo is not None and (missions := getattr(self.arm, "missions", 1)) > 1:  # as many of each
            seed = seed // missions * missions + index % missions
        done = self._timed("collect", lambda: self._episode(self.rollout, actor, seed, index, False, demo))
        episode = done.episode
        self.truth.add(index, done)
        rewards = {"dense": done.dense[1:], "sparse": done.success[1:].astype(np.float32), "model": None}[
            self.config.reward_source
        ]
        self._timed("label", lambda: learner.add_episode(episode, rewards))
        if rewards is None:
            self._timed("reward", lambda: self.trainer.add_episode(episode))
        self.rollout.demonstrated(learner.demonstrated())

    def _episode(
        self,
        rollout: RolloutPolicy | ChoicePolicy,
        actor: Policy | None,
        seed: int,
        index: int,
        evaluation: bool,
        demo=None,
    ) -> Rollout:
        """One episode of the policy, or of the demonstrator ``demo``."""

        def drive(observation: np.ndarray, jpeg: Callable[[], bytes]) -> np.ndarray:
            if demo is not None:
                return demo.act(self.arm.state(), self.spaces.action.size)
            return rollout.act(observation, actor, jpeg)

        task, steps = self.task, self.task.episode_steps
        least = self.config.learner.segment_length + 2  # frames that can be asked about
        return roll_out(
            self.arm, self.spaces, steps, task.control_hz, drive, seed=seed,
            images=not evaluation or self.learner.images is not None, evaluation=evaluation, index=index,
            actor_version=0, by_person=demo is not None, least=None if evaluation else least,
        )  # fmt: skip

    def play(self, index: int, actor: Policy | None = None) -> Rollout:
        """Evaluation episode ``index``, always from the same start, of a policy; None: of the present one."""
        self.evaluator.begin_episode(explore=False, evaluation=True)
        actor = self._policy() if actor is None else actor
        return self._episode(self.evaluator, actor, self.config.eval_seed + index, index, True)

    def _rate(self) -> bool:
        """One round. False: not one label of it is valid."""
        batch = self.learner.make_round()
        ratings = self._timed("rate", lambda: self.teacher(batch))
        n, kind = self.config.reward.n_classes, self.learner.kind_of(ratings)
        for label in ratings.valid:
            self.valid += 1
            if self.source is None:  # the truth of a source's episodes is not known
                self.right += label.value == self.truth.label(kind, label.query, n)
        if not self.learner.add_labels(ratings):
            return False
        if not self.learner.agent.needs.rewards:
            return True
        self.trainer.add_labels(ratings)
        model = self._timed("reward", self.trainer.train)
        self._timed("label", lambda: self.learner.set_reward_model(model))
        return True

    def _evaluate(self) -> None:
        actor = None if self.learner.phase == EXPLORE else self._policy()
        wins = ever = 0
        by_mission: dict[int, list[bool]] = {}
        missions = getattr(self.arm, "missions", 1)
        started = time.monotonic()
        for i in range(self.config.eval_episodes if actor is not None else 0):
            success, seed = self.play(i, actor).success, self.config.eval_seed + i
            by_mission.setdefault(seed % missions, []).append(bool(success[-1]))
            wins, ever = wins + bool(success[-1]), ever + bool(success.any())
        self.seconds["evaluate"] += time.monotonic() - started
        row = {
            "env_steps": self.learner.env_steps,
            "success_rate": wins / self.config.eval_episodes,
            "success_in_any_step": ever / self.config.eval_episodes,
            "ratings": self.learner.schedule.requested,
            "wall_s": round(sum(v for k, v in self.seconds.items() if k != "evaluate"), 1),
        }
        if missions > 1:
            row["by_mission"] = [round(float(np.mean(won)), 3) for _, won in sorted(by_mission.items())]
        if self.probe is not None and self.learner.model is not None:
            row["held_out"] = self.probe(self.learner.model)
        self.history.append(row)
        self.log(row | self.diagnosis())

    def diagnosis(self) -> dict[str, Any]:
        """True class counts in the buffer and among the rated: what tells a missing class from a bad network."""
        if not self.truth.classes:  # episodes of a source: the truth is not known
            return {}
        n = self.config.reward.n_classes
        seen = np.concatenate([c[1:, n] for c in self.truth.classes.values()])
        replay = np.bincount(seen, minlength=n).tolist()
        out = {"seen": replay, "rated": self.trainer.counts().tolist()}
        if self.learner.model is not None:
            out["skill"] = round(self.learner.model.info.skill, 3)
            truth = np.concatenate([self.truth.progress[e][1:] for e in sorted(self.truth.progress)])[
                -len(self.learner.replay) :
            ]
            out["corr"] = round(float(np.corrcoef(truth[-5000:], self.learner.replay.rewards[-5000:])[0, 1]), 3)
        return out
