# SPDX-License-Identifier: Apache-2.0
"""What the policy controller does next: wait, reset, run a training or an evaluation episode, finish. No ROS.

The learner paces training through a budget: training episode k (counted from 0) starts only while k is below
it. Every ``eval_every`` steps, and at the end, a round of evaluation episodes comes between.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

DISARMED, WAITING, RESETTING, RUNNING, EVALUATING, FINISHED = (
    "disarmed", "waiting", "resetting", "running", "evaluating", "finished",
)  # fmt: skip


class Awaited(Enum):
    """Who has to do something before it goes on: ``awaits`` of run/state."""

    NOBODY = "nobody"
    GUARD = "guard"  # to be armed
    PERSON = "person"
    RESET = "reset"
    ACTOR = "actor"  # the learner's first
    BUDGET = "budget"  # the learner, to ask for more episodes
    LEARNER = "learner"  # to catch up with the last episodes
    OBSERVATIONS = "observations"
    LABELS = "labels"  # a teacher

    @classmethod
    def _missing_(cls, value: object) -> Awaited:
        return cls.NOBODY  # another version's word


@dataclass(frozen=True)
class Schedule:
    """Counts are training steps, unless said. ``train=False``: only one final evaluation round."""

    max_steps: int
    eval_every: int
    eval_episodes: int
    final_eval_episodes: int
    eval_seed: int
    train: bool = True
    settle_timeout_s: float = 60.0  # longest wait for the learner before the final evaluation
    catch_up_s: float = 10.0  # see Machine._learner_lost_data


@dataclass(frozen=True)
class LearnerStatus:
    """What the meta of a learning/actor bundle says."""

    version: int
    env_steps: int
    episodes: int
    episode_budget: int
    explore: bool
    has_weights: bool


@dataclass(frozen=True)
class Plan:
    """The episode to run next. ``seed``: for the simulation, -1 in training; ``final``: of the last round."""

    evaluation: bool
    index: int
    seed: int
    explore: bool
    final: bool = False


class EpisodeMachine:
    """Feed it events; ``poll`` says when to reset, and for which episode. Times: monotonic seconds."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.state = DISARMED
        self._await(Awaited.GUARD, "the safety guard to be armed")
        self.armed = False
        self.paused = False
        self.env_steps = 0
        self.episodes = 0
        self.eval_round = 0  # rounds begun so far
        self.plan: Plan | None = None
        self.learner: LearnerStatus | None = None
        self._learner_at = 0.0
        self._learner_went_back = False
        self._restored = False
        self._started = False  # a training episode has begun in this process
        self._evaluated_to = 0  # env_steps of the last evaluation that is done or not needed
        self._queue: list[Plan] = []
        self._round_size, self._round_final = 0, False
        self._final_done = False
        self._settle_from: float | None = None

    # -- what it is about

    @property
    def running(self) -> bool:
        """Whether an episode is under way."""
        return self.state in (RUNNING, EVALUATING)

    @property
    def finished(self) -> bool:
        """Whether everything planned is done."""
        return self.state == FINISHED

    @property
    def evaluating(self) -> bool:
        """Whether a round of evaluation episodes is under way, also between two of them."""
        return bool(self._queue)

    def _await(self, awaits: Awaited, waiting_for: str = "") -> None:
        self.awaits, self.waiting_for = awaits, waiting_for

    def summary(self, failure: str = "", awaited: str = "", awaits: Awaited = Awaited.NOBODY) -> dict[str, Any]:
        """What run/state tells: running, evaluating, finished or failed; what is waited for; counters.

        ``awaited``, ``awaits``: what a running reset or episode waits for, in words and by its kind, where the caller
        knows better.
        """
        state = "finished" if self.finished else "evaluating" if self.evaluating else "running"
        if not awaited and self.state in (DISARMED, WAITING, RESETTING):
            awaited, awaits = self.waiting_for, self.awaits
        if self.paused and not self.finished:
            awaited, awaits = "a person to resume (policy_controller/pause with false)", Awaited.PERSON
        return {
            "state": "failed" if failure else state,
            "detail": self.state,
            "waiting_for": failure or awaited,
            "awaits": awaits.value,
            "paused": self.paused,
            "env_steps": self.env_steps,
            "max_steps": self.schedule.max_steps,
            "episodes": self.episodes,
            "eval_round": self.eval_round,
            "eval_episodes": self._round_size,
            "eval_final": self._round_final,
        }

    # -- events

    def set_armed(self, armed: bool) -> None:
        """The guard's state. Close a running episode first (episode_done or abandon)."""
        self.armed = armed
        if self.state == FINISHED:
            return
        if not armed:
            self.plan = None
            self.state = DISARMED
            self._await(Awaited.GUARD, "the safety guard to be armed")
        elif self.state == DISARMED:
            self.state = WAITING

    def set_paused(self, paused: bool) -> None:
        """While paused nothing starts. A running episode stays: the caller holds the arm still."""
        self.paused = paused

    def set_learner(self, learner: LearnerStatus, now: float) -> None:
        """A new actor arrived. Before the first episode of this process its counters are adopted."""
        if self.learner is not None and learner.env_steps < self.learner.env_steps:
            self._learner_went_back = True
        self.learner, self._learner_at = learner, now
        if not self._started and self.plan is None:
            self._adopt(learner)

    def episode_done(self, steps: int) -> None:
        """The episode of ``plan`` (or what was kept of it) is over with ``steps`` transitions."""
        plan, self.plan = self.plan, None
        if plan is None:
            return
        if plan.evaluation:
            self._eval_episode_done(plan)
        elif steps > 0:
            self.env_steps += steps
            self.episodes += 1
        if self.state != FINISHED:
            self.state = WAITING if self.armed else DISARMED

    def part_done(self, steps: int) -> None:
        """A running training episode was split after ``steps`` transitions (data were missing)."""
        self.env_steps += steps
        self.episodes += 1
        self.plan = Plan(False, self.episodes, -1, self.plan.explore)

    def abandon(self) -> None:
        """The running episode or reset came to nothing; it will be planned again."""
        self.plan = None
        if self.state in (RESETTING, RUNNING, EVALUATING):
            self.state = WAITING

    def reset_done(self) -> None:
        """The arm is at the start of the planned episode."""
        if self.state == RESETTING:
            self.state = EVALUATING if self.plan.evaluation else RUNNING
            self._started = self._started or not self.plan.evaluation

    # -- decisions

    def poll(self, now: float) -> Plan | None:
        """The episode to start, if one may start now. The caller resets the arm, then ``reset_done``."""
        if self.state != WAITING or self.paused:
            return None
        self.plan = self._next(now)
        if self.plan is not None:
            self.state = RESETTING
            self._await(Awaited.RESET, "the reset")
        return self.plan

    def _next(self, now: float) -> Plan | None:
        schedule = self.schedule
        if not self._queue and not schedule.train and not self._final_done:
            self._begin_round(final=True)
        if schedule.train and self.learner is None:
            self._await(Awaited.ACTOR, "the learner's first actor")
            return None
        if not self._queue and schedule.train:
            if self.env_steps >= schedule.max_steps:
                if not self._settled(now):
                    return None
                self._begin_round(final=True)
            elif self._evaluation_due():
                self._begin_round(final=False)
        if self._queue:
            return self._queue[0]
        if self._final_done:
            self.state = FINISHED
            self._await(Awaited.NOBODY)
            return None
        if self._learner_lost_data(now):
            self._adopt(self.learner)
        if self.episodes >= self.learner.episode_budget:
            text = f"the learner (episode {self.episodes}, its budget is {self.learner.episode_budget})"
            self._await(Awaited.BUDGET, text)
            return None
        return Plan(False, self.episodes, -1, self.learner.explore)

    def _evaluation_due(self) -> bool:
        every = self.schedule.eval_every
        if every <= 0 or self.env_steps // every <= self._evaluated_to // every:
            return False
        if not self.learner.has_weights:  # nothing to evaluate while exploring
            self._evaluated_to = self.env_steps
            return False
        return True

    def _begin_round(self, final: bool) -> None:
        schedule = self.schedule
        able = not schedule.train or (self.learner is not None and self.learner.has_weights)
        count = (schedule.final_eval_episodes if final else schedule.eval_episodes) if able else 0
        self._evaluated_to = self.env_steps
        self._final_done = final and count == 0
        if count:
            self.eval_round += 1
            self._round_size, self._round_final = count, final
        self._queue = [Plan(True, i, schedule.eval_seed + i, False, final) for i in range(count)]

    def _eval_episode_done(self, plan: Plan) -> None:
        self._queue = self._queue[1:]
        if not self._queue and plan.final:
            self._final_done = True
            self.state = FINISHED
            self._await(Awaited.NOBODY)

    def _settled(self, now: float) -> bool:
        """Whether the learner has caught up with the last episodes, or has had long enough to."""
        if self._settle_from is None:
            self._settle_from = now
        if self.learner.env_steps >= self.env_steps or now - self._settle_from >= self.schedule.settle_timeout_s:
            return True
        self._await(Awaited.LEARNER, f"the learner to catch up ({self.learner.env_steps} of {self.env_steps} steps)")
        return False

    def _learner_lost_data(self, now: float) -> bool:
        """A learner that restarted from an old checkpoint counts fewer episodes than were sent and may never
        raise its budget. It first gets the time to receive them again from the publisher's history."""
        stuck = self._learner_went_back and self.learner.episodes < self.episodes >= self.learner.episode_budget
        return stuck and now - self._learner_at >= self.schedule.catch_up_s

    def _adopt(self, learner: LearnerStatus) -> None:
        self._learner_went_back = False
        if (learner.env_steps, learner.episodes) == (self.env_steps, self.episodes):
            return
        self.env_steps, self.episodes = learner.env_steps, learner.episodes
        self._evaluated_to = min(self._evaluated_to, learner.env_steps) if self._restored else learner.env_steps

    # -- checkpoint

    def state_dict(self) -> dict[str, Any]:
        """Counters; the episode under way is not kept."""
        return {
            "env_steps": self.env_steps, "episodes": self.episodes, "eval_round": self.eval_round,
            "evaluated_to": self._evaluated_to,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.env_steps, self.episodes = state["env_steps"], state["episodes"]
        self.eval_round, self._evaluated_to = state["eval_round"], state["evaluated_to"]
        self._restored = True
