# SPDX-License-Identifier: Apache-2.0
"""ControllerCore: turns observations into commands and runs the episodes; the twin of GuardCore. No ROS.

Feed it events (an actor, armed, observations, ticks, what a person says); it commands, records, publishes and resets
through its ports. What happens next is decided by EpisodeMachine, when it acts by a Pacing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from erl_vlm_ros.agents.exploration import RolloutPolicy
from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.control import drivers
from erl_vlm_ros.control.episode_machine import RESETTING, Awaited, EpisodeMachine, LearnerStatus, Plan
from erl_vlm_ros.control.pacing import Pacing
from erl_vlm_ros.control.ports import Clock, Log, Observations, Observed, Outputs, Resets
from erl_vlm_ros.control.recorder import EpisodeRecorder, square
from erl_vlm_ros.control.success_label import PERSON, SuccessLabel
from erl_vlm_ros.control.teleoperation import Teleoperation
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.views import Frame


@dataclass(frozen=True)
class ControllerSettings:
    """Images are stored as squares of ``image_size`` pixels; times in s, 0 for ``episode_timeout_s``: none. ``driver``:
    of training episodes, see control.drivers."""

    image_size: int
    jpeg_quality: int
    success_source: str
    episode_timeout_s: float
    label_timeout_s: float  # so long an evaluation episode, or a person's own, waits for a person's success label
    checkpoint_every: int  # training episodes
    driver: str = drivers.POLICY


class ControllerCore:
    """One robot's episodes. Not thread-safe: one thread feeds it."""

    def __init__(
        self,
        task: Task,
        settings: ControllerSettings,
        *,
        machine: EpisodeMachine,
        pacing: Pacing,
        rollout: RolloutPolicy,
        evaluator: RolloutPolicy,
        label: SuccessLabel,
        recorder: EpisodeRecorder,
        teleoperation: Teleoperation,
        observations: Observations,
        out: Outputs,
        resets: Resets,
        clock: Clock,
        log: Log,
        save: Callable[[], None],
        actor: tuple[Any, int] = (None, -1),
    ):
        """``rollout`` acts in training, ``evaluator`` in evaluation episodes; ``actor``: with its version.

        ``save`` keeps counters and random state; it is called after every ``checkpoint_every``-th episode.
        """
        self.task, self.settings, self.machine, self.pacing = task, settings, machine, pacing
        self.rollout, self.evaluator, self.label, self.recorder = rollout, evaluator, label, recorder
        self.teleoperation, self.observations, self.out, self.resets = teleoperation, observations, out, resets
        self.clock, self.log, self._save = clock, log, save
        self.holding = ""
        self.failure = ""
        self._newest = self._actor = actor  # the newest, and the one of the episode or evaluation round under way
        self._round_of_actor = -1
        self._steps = 0  # control steps of the running episode, also when it was split
        self._began = self._paused_at = clock.now()
        self._unlabelled: Episode | None = None  # an episode that waits for a person's label
        self._awaits_driver = False  # the episode begins with a person's first motion
        self._had_intervention = False  # a person has driven in this evaluation episode

    @property
    def awaits_label(self) -> bool:
        """Whether an episode is over and a person has yet to say how it went."""
        return self._unlabelled is not None

    @property
    def suspended(self) -> bool:
        """Whether no command may be decided."""
        return self.machine.paused or self.awaits_label

    @property
    def teleoperated(self) -> bool:
        """Whether a person drives just now."""
        return self.teleoperation.active(self.clock.now())

    @property
    def episode_age_s(self) -> float:
        """Seconds since the episode began, pauses left out."""
        return self.clock.now() - self._began

    # -- what decides about episodes

    def set_actor(self, learner: LearnerStatus, actor: Any, demonstrated: np.ndarray | None = None) -> None:
        """The learner published its counters and an actor, None while it has no weights.

        ``demonstrated``: end-effector positions [N, 3] of demonstrations, m; exploration goes there, too.
        """
        before = (self.machine.env_steps, self.machine.episodes)
        self._newest = (actor, learner.version)
        if demonstrated is not None:
            self.rollout.demonstrated(demonstrated)
        self.machine.set_learner(learner, self.clock.now())
        if before != (self.machine.env_steps, self.machine.episodes):
            self.log.info(f"learner's counters: {learner.env_steps} steps, {learner.episodes} episodes")
        self.plan_next()

    def set_armed(self, armed: bool) -> None:
        """The guard's state; a disarmed arm ends the running episode."""
        if not armed:
            if self.machine.running:
                self._close_episode(cut=True)
            self.resets.cancel()
        self.machine.set_armed(armed)
        self.plan_next()

    def housekeeping(self) -> None:
        """Call a few times a second: resets, time limits, the next episode."""
        # While a person drives, the reset waits: both would command the arm.
        if not self.teleoperated and self.resets.tick():
            self.machine.abandon()
        limit, machine = self.settings.episode_timeout_s, self.machine
        if self._unlabelled is not None:
            if self.episode_age_s > self.settings.label_timeout_s:
                self.log.warning("no success label came; the episode counts as not judged")
                self._conclude(self._unlabelled)
        elif limit > 0 and machine.running and not machine.paused and self.episode_age_s > limit:
            self.log.warning(f"the episode has taken {limit:g} s: it ends here")
            self._close_episode(cut=False)
        self.plan_next()

    def plan_next(self) -> None:
        """Start the next episode if the machine says so."""
        if not self.failure and self.resets.ready():
            plan = self.machine.poll(self.clock.now())
            if plan is not None:
                self.resets.start(plan.seed, -1 if plan.evaluation else plan.index, self._on_reset)
        self.publish_state()

    def _on_reset(self, done: bool, message: str, stamp: int) -> None:
        plan = self.machine.plan
        if plan is None:
            return
        if not done:
            self.failure = f"reset failed: {message}"
            self.log.error(self.failure)
            self.machine.abandon()
            self.publish_state()
            return
        self._begin_episode(plan)
        self.pacing.episode_begins(self, stamp)
        self.machine.reset_done()
        self.publish_state()
        self.pacing.episode_began(self)

    def _begin_episode(self, plan: Plan) -> None:
        if not plan.evaluation or self._round_of_actor != self.machine.eval_round:
            self._actor = self._newest  # one actor for a whole evaluation round
        self._round_of_actor = self.machine.eval_round if plan.evaluation else -1
        policy = self.evaluator if plan.evaluation else self.rollout
        policy.begin_episode(explore=plan.explore, evaluation=plan.evaluation)
        self.label.begin()
        self._clear_recording()
        self._had_intervention = False
        self._steps = 0
        self._began = self.clock.now()

    def _clear_recording(self) -> None:
        self.recorder.clear()
        self.teleoperation.clear()

    # -- observations

    def observed(self, stamp: int, found: dict[str, Any]) -> None:
        """One complete observation set, in lock-step."""
        self.pacing.observed(self, stamp, found)

    def tick(self) -> None:
        """The control rate's tick, in real time."""
        self.pacing.tick(self)

    def simulation_restarted(self) -> None:
        """The simulation's time went back: the running episode is lost."""
        self.log.warning("the simulation has restarted; the running episode is lost")
        self._clear_recording()
        self.resets.cancel()
        self.machine.abandon()
        self.plan_next()

    def split(self) -> None:
        """Let no transition span a gap: the episode goes on as a new one. An evaluation episode stays whole."""
        plan = self.machine.plan
        if plan.evaluation:
            return
        episode = self._finish_recording(plan)
        if episode is not None:
            self.machine.part_done(episode.steps)
            self._publish_episode(episode)

    def frame(self, stamp: int, found: dict[str, Any], command_ns: int) -> None:
        """Act on one observation, then store it: the JPEG is made while the command is already under way, unless the
        policy sees it."""
        try:
            seen = self.observations.unpack(found)
        except ValueError as error:
            self.holding = f"observation refused: {error}"
            self.log.error(self.holding, throttle_duration_sec=1.0)
            return
        plan, now, teleoperation = self.machine.plan, self.clock.now(), self.teleoperation
        executed = teleoperation.settle(now)
        if self._waits_for_driver(plan, now):
            self.out.stand_still()
            return
        if executed is not None and self.recorder.acting:
            self.recorder.driven(executed)
            self._had_intervention = self._had_intervention or plan.evaluation
        last = self._steps >= self.task.episode_steps or (self.label.over and self.recorder.acting)
        action = None
        jpeg = cache(lambda: self._stored(seen))
        if not last:
            if teleoperation.active(now):
                teleoperation.intervened = True
                action = teleoperation.action()
            else:
                policy = self.evaluator if plan.evaluation else self.rollout
                action = policy.act(seen.observation, None if plan.explore else self._actor[0], jpeg)
            self.pacing.commanded(stamp, teleoperation.send(action, command_ns, now))
        self.recorder.frame(stamp, seen.observation, jpeg(), seen.extras)
        if last:
            self._close_episode(cut=False)
        else:
            self.recorder.action(action)
            self._steps += 1

    def _waits_for_driver(self, plan: Plan, now: float) -> bool:
        """Whether a person's episode has yet to begin, with their first motion; its time begins then."""
        personal = self.settings.driver == drivers.PERSON and not plan.evaluation
        self._awaits_driver = personal and self._steps == 0 and not self.teleoperation.active(now)
        if self._awaits_driver:
            self._began = now
        return self._awaits_driver

    def _stored(self, seen: Observed) -> bytes:
        """The frame as it is kept."""
        size, quality = self.settings.image_size, self.settings.jpeg_quality
        if not seen.views:
            return encode_jpeg(square(seen.rgb, size), quality)
        return Frame.of({name: encode_jpeg(square(rgb, size), quality) for name, rgb in seen.views.items()})

    # -- a person

    def person_moved(self) -> None:
        """The driving device spoke."""
        self.teleoperation.moved(self.machine.armed)

    def person_continues(self) -> tuple[bool, str]:
        """The scene is ready."""
        if self.resets.go_on():
            return True, "going on"
        return False, "nothing waits for a person just now"

    def person_pauses(self, paused: bool | None) -> tuple[bool, str]:
        """Hold still from now on, or go on; None: the other way round."""
        machine, now = self.machine, self.clock.now()
        paused = not machine.paused if paused is None else paused
        said = "paused: the arm stands still" if paused else "running"
        if paused == machine.paused:
            return True, said
        machine.set_paused(paused)
        self.log.info(said)
        if paused:
            self._paused_at = now
            if machine.state == RESETTING:
                self.resets.cancel()
                machine.abandon()
            self.pacing.paused(self)
        else:
            self._began += now - self._paused_at
            self.pacing.resumed(self)
        self.plan_next()
        return True, said

    def person_labels(self, success: bool) -> tuple[bool, str]:
        """How the episode went."""
        said = "success" if success else "failure"
        if self._unlabelled is not None:
            self._unlabelled.success = success
            self._conclude(self._unlabelled)
        elif self.machine.running:
            self.label.person(success)
        else:
            return False, "no episode is running"
        return True, f"{said} noted"

    # -- episodes out

    def _finish_recording(self, plan: Plan) -> Episode | None:
        episode = self.recorder.finish(
            evaluation=plan.evaluation,
            index=plan.index,
            actor_version=self._actor[1],
            seed=plan.seed,
            success=self.label.success,
        )
        self._clear_recording()
        return episode

    def _close_episode(self, cut: bool) -> None:
        """Publish what was recorded. ``cut``: before its time, and nothing may be started after it."""
        plan, whole = self.machine.plan, self._unlabelled
        if whole is not None and not plan.evaluation:  # a person disarms to put the scene back, and says nothing
            self._conclude(whole, cut)
            return
        episode = self._finish_recording(plan)
        self.pacing.episode_closed()
        self._unlabelled = None
        if episode is not None and plan.evaluation and self._had_intervention:
            self.log.info("a person has driven: this evaluation episode is run again")
            episode = None
        if episode is None or (cut and plan.evaluation):  # half an evaluation episode says nothing
            self.machine.abandon()
            return
        asked = plan.evaluation or (self.settings.driver == drivers.PERSON and not cut)
        if asked and self.settings.success_source == PERSON and episode.success is None:
            self._unlabelled, self._began = episode, self.clock.now()
            self.pacing.hold(self)
            self.publish_state()
            return
        self._conclude(episode, cut)

    def _conclude(self, episode: Episode, cut: bool = False) -> None:
        """The episode is over and labelled."""
        self._unlabelled = None
        self.machine.episode_done(episode.steps)
        if not cut:
            self.plan_next()  # the reset runs while the episode is packed
        self._publish_episode(episode)
        if not episode.evaluation and self.machine.episodes % self.settings.checkpoint_every == 0:
            self._save()

    def _publish_episode(self, episode: Episode) -> None:
        self.out.episode(episode, self.machine, self.episode_age_s)

    def publish_state(self) -> None:
        """What run/state tells."""
        resetting = self.machine.state == RESETTING
        awaited, awaits = (self.resets.waiting, self.resets.awaits) if resetting else ("", Awaited.NOBODY)
        if self._unlabelled is not None:
            awaits = Awaited.PERSON
            awaited = f"a person's success label: call {names.HUMAN_SUCCESS} or {names.HUMAN_FAILURE}"
        elif self.machine.running and self._awaits_driver and not self.holding:
            awaited, awaits = "a person to drive: the episode begins with the first motion", Awaited.PERSON
        elif self.machine.running and self.holding:
            awaited, awaits = f"fresh observations, holding still ({self.holding})", Awaited.OBSERVATIONS
        said = self.machine.summary(self.failure, awaited, awaits)
        self.out.state(said | {"intervention": self.teleoperated})
