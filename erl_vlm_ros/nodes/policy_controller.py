# SPDX-License-Identifier: Apache-2.0
"""policy_controller: turns observations into commands, runs the episodes, and publishes each one.

Subscribes to the camera image, joint_states, ee_pose, object_pose, learning/actor and safety_guard/armed.
Publishes policy/twist and policy/gripper, learning/transitions and evaluation/episodes (Episode bundles),
run/state (latched JSON) and learning/metrics. What happens next is decided by EpisodeMachine. A person may
drive, pause, say how an episode went, and that the scene is ready (docs/episodes.md).

Lock-step: acts when all parts of one stamp are there; a repeated stamp gets the same command again. Real
time: acts at the task's control rate; while an image or a state is too old the arm is held still, and no
transition spans the gap.
"""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from typing import Any

import numpy as np
from std_msgs.msg import Bool, UInt8MultiArray

from erl_vlm_ros.agents import controller_checkpoint
from erl_vlm_ros.agents.episode_machine import RESETTING, EpisodeMachine, Schedule
from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.agents.numpy_actor import NumpyActor
from erl_vlm_ros.agents.recorder import EpisodeRecorder, square
from erl_vlm_ros.agents.verdict import PERSON, TOPIC, Verdict
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.observation import PROPRIO_DIM
from erl_vlm_ros.ros import convert, names, qos, realtime
from erl_vlm_ros.ros.actor_source import read_file, read_published
from erl_vlm_ros.ros.bundle import BundleError
from erl_vlm_ros.ros.controller_outputs import Command, ControllerOutputs
from erl_vlm_ros.ros.human_input import HumanInput
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.observation_source import ObservationSource
from erl_vlm_ros.ros.person_driving import PersonDriving
from erl_vlm_ros.ros.resets import ResetSequence
from erl_vlm_ros.ros.robot_calls import GuardArmer
from erl_vlm_ros.tasks import load_task

_FIRST_FRAMES_S = 0.5


class PolicyController(BaseNode):
    """ROS side of EpisodeMachine, EpisodeRecorder, RolloutPolicy and Intervention."""

    NAME = "policy_controller"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        self.task = load_task(p.task)
        train = p.mode == "train"
        schedule = {f.name: getattr(p, f.name) for f in fields(Schedule) if hasattr(p, f.name)}
        self.machine = EpisodeMachine(Schedule(**schedule, train=train))
        exploration = ExplorationConfig.from_values(self.values)
        self.rollout = RolloutPolicy(exploration, self.task, p.seed + 3)
        self.evaluator = RolloutPolicy(exploration, self.task, p.seed + 4)
        self.verdict = Verdict(p.success_source, p.end_on_verdict)
        self._newest: tuple[NumpyActor | None, int] = (None, -1)  # actor and its version
        self._actor = self._newest  # the one of the episode, or evaluation round, under way
        self._round_of_actor = -1
        self._answered: tuple[int, Command] = (-1, ())  # stamp and the messages that answered it
        self._last_stamp = -1
        self._first_stamp = 0  # frames before it belong to the time before the reset
        self._held_set: tuple[int, dict[str, Any]] | None = None
        self._ticks = 0  # control steps of the running episode, also when it was split
        self._began = self._paused_at = time.monotonic()
        self._judging: Episode | None = None  # an evaluation episode that waits for a person's verdict
        self._spoiled = False  # a person has driven in this evaluation episode
        self._failure = self._holding = ""
        if not train:
            self._newest = self._actor = read_file(p.actor_file, self.task.action_dim)
        self._restore()
        self.out = ControllerOutputs(self, self.task)
        self.source = ObservationSource(self, np.array(self.task.goal), self._on_set)
        self.recorder = EpisodeRecorder(PROPRIO_DIM, self.source.extra_names)
        person = HumanInput(self, self).intervention
        self.driving = PersonDriving(self, self.task, self.source, self.out, person)
        self.resets = ResetSequence(self, held=lambda: self.driving.active(time.monotonic()))
        self._subscribe()
        self.armer = GuardArmer(self) if p.auto_arm else None
        self.wall_timer(0.2, self._housekeeping)
        if not p.lock_step:
            self.get_logger().info(realtime.prefer(p.realtime_priority))
            self.wall_timer(1.0 / self.task.control_hz, self._tick)
        self._say_state()

    def _subscribe(self) -> None:
        self.create_subscription(Bool, names.ARMED, self._on_armed, qos.latched())
        if self.machine.schedule.train:
            self.create_subscription(UInt8MultiArray, names.ACTOR, self._on_actor, qos.latched())
        if self.p.success_source == TOPIC:
            sensor = qos.sensor(self.p.reliable_sensors)
            self.create_subscription(Bool, names.SUCCESS, lambda m: self.verdict.topic(m.data), sensor)

    # -- what decides about episodes

    def _on_actor(self, message: UInt8MultiArray) -> None:
        try:
            learner, actor = read_published(convert.bytes_of(message), self.task.action_dim)
        except BundleError as error:
            self.get_logger().error(f"learning/actor ignored: {error}")
            return
        before = (self.machine.env_steps, self.machine.episodes)
        self._newest = (actor, learner.version)
        self.machine.set_learner(learner, time.monotonic())
        if before != (self.machine.env_steps, self.machine.episodes):
            self.get_logger().info(f"learner's counters: {learner.env_steps} steps, {learner.episodes} episodes")
        self._plan_next()

    def _on_armed(self, message: Bool) -> None:
        if not message.data:
            if self.machine.running:
                self._close_episode(cut=True)
            self.resets.cancel()
        self.machine.set_armed(message.data)
        self._plan_next()

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if self.armer is not None and not self.machine.armed:
            self.armer.call()
        # While a person drives, the reset waits: it would fight with the person for the arm.
        if not self.driving.active(now) and self.resets.tick():
            self.machine.abandon()
        limit = self.p.episode_timeout_s
        if self._judging is not None:
            if now - self._began > self.p.verdict_timeout_s:
                self.get_logger().warning("no verdict came; the episode counts as not judged")
                self._conclude(self._judging)
        elif limit > 0 and self.machine.running and not self.machine.paused and now - self._began > limit:
            self.get_logger().warning(f"the episode has taken {limit:g} s: it ends here")
            self._close_episode(cut=False)
        self._plan_next()

    def _plan_next(self) -> None:
        """Start the next episode if the machine says so."""
        if not self._failure and self.resets.ready():
            plan = self.machine.poll(time.monotonic())
            if plan is not None:
                self.resets.start(plan.seed, -1 if plan.evaluation else plan.index, self._on_reset)
        self._say_state()

    def _on_reset(self, done: bool, message: str, stamp: int) -> None:
        plan = self.machine.plan
        if plan is None:
            return
        if not done:
            self._failure = f"reset failed: {message}"
            self.get_logger().error(self._failure)
            self.machine.abandon()
            self._say_state()
            return
        self._begin_episode(plan)
        if stamp < 0:  # a robot that does not tell: what is seen from now on belongs to the new episode
            stamp = self._last_stamp + 1 if self.p.lock_step else self.get_clock().now().nanoseconds
        self._first_stamp = stamp
        self._last_stamp = min(self._last_stamp, stamp - 1)
        self.machine.reset_done()
        self._say_state()
        held, self._held_set = self._held_set, None
        if held is not None:
            self._on_set(*held)

    def _begin_episode(self, plan: Any) -> None:
        if not plan.evaluation or self._round_of_actor != self.machine.eval_round:
            self._actor = self._newest  # one actor for a whole evaluation round
        self._round_of_actor = self.machine.eval_round if plan.evaluation else -1
        policy = self.evaluator if plan.evaluation else self.rollout
        policy.begin_episode(explore=plan.explore, evaluation=plan.evaluation)
        self.verdict.begin()
        self._clear_recording()
        self._spoiled = False
        self._ticks = 0
        self._began = time.monotonic()

    def _clear_recording(self) -> None:
        self.recorder.clear()
        self.driving.clear()

    # -- observations

    def _on_set(self, stamp: int, found: dict[str, Any]) -> None:
        """Lock-step: one complete observation set."""
        if self.machine.paused or self._judging is not None:
            return  # unanswered, it comes again
        if stamp == self._answered[0]:  # the simulation asks again
            self.out.send(self._answered[1])
            return
        if stamp < self._last_stamp:  # time never goes back within one run of the simulation
            self.get_logger().warning("the simulation has restarted; the running episode is lost")
            self._clear_recording()
            self.resets.cancel()
            self.machine.abandon()
            self._answered = (-1, ())
            self._last_stamp = stamp
            self._plan_next()
            return
        if not self.machine.running:
            self._held_set = (stamp, found)
        self._last_stamp = stamp
        if self.machine.running and stamp >= self._first_stamp:
            self._frame(stamp, found, stamp)

    def _tick(self) -> None:
        """Real time: one control step, or hold still."""
        if not self.machine.running:
            return
        driving = self.driving.active(time.monotonic())
        if self.machine.paused or self._judging is not None:
            if not driving:
                self.out.stand_still()
            return
        problem = self.source.problem(self._first_stamp)
        self._holding = problem.partition(" is ")[0]
        if problem:
            if time.monotonic() - self._began > _FIRST_FRAMES_S:  # the first frames after a reset are on their way
                self.get_logger().warning(f"holding still: {problem}", throttle_duration_sec=1.0)
            if not driving:
                self.out.stand_still()
            self._split()
            return
        stamp, found = self.source.take()
        self._last_stamp = stamp
        self._frame(stamp, found, self.get_clock().now().nanoseconds)

    def _split(self) -> None:
        """Let no transition span a gap: the episode goes on as a new one."""
        plan = self.machine.plan
        if plan.evaluation:
            return
        episode = self._finish_recording(plan)
        if episode is not None:
            self.machine.part_done(episode.steps)
            self._publish_episode(episode)

    def _frame(self, stamp: int, found: dict[str, Any], command_ns: int) -> None:
        """Act on one observation, then store it: the JPEG is made while the command is already under way."""
        try:
            seen = self.source.unpack(found)
        except ValueError as error:
            self._holding = f"observation refused: {error}"
            self.get_logger().error(self._holding, throttle_duration_sec=1.0)
            return
        plan, now = self.machine.plan, time.monotonic()
        driven = self.driving.settle(now)
        if driven is not None and self.recorder.acting:
            self.recorder.driven(driven)
            self._spoiled = self._spoiled or plan.evaluation
        last = self._ticks >= self.task.episode_steps or (self.verdict.over and self.recorder.acting)
        action = None
        if not last:
            if self.driving.active(now):
                self.driving.driven = True
                action = self.driving.action()
            else:
                policy = self.evaluator if plan.evaluation else self.rollout
                action = policy.act(seen.observation, None if plan.explore else self._actor[0])
            self._answered = (stamp, self.driving.send(action, command_ns, now))
        self.recorder.frame(
            stamp,
            seen.observation,
            encode_jpeg(square(seen.rgb, self.p.image_size), self.p.jpeg_quality),
            seen.extras,
        )
        if last:
            self._close_episode(cut=False)
        else:
            self.recorder.action(action)
            self._ticks += 1

    # -- a person

    def person_moved(self) -> None:
        """The driving device spoke."""
        self.driving.moved(self.machine.armed)

    def person_continues(self) -> tuple[bool, str]:
        """The scene is ready."""
        if self.resets.go_on():
            return True, "going on"
        return False, "nobody waits for a person just now"

    def person_pauses(self, paused: bool | None) -> tuple[bool, str]:
        """Hold still from now on, or go on; None: the other way round."""
        machine, now = self.machine, time.monotonic()
        paused = not machine.paused if paused is None else paused
        said = "paused: the arm stands still" if paused else "running"
        if paused == machine.paused:
            return True, said
        machine.set_paused(paused)
        self.get_logger().info(said)
        if paused:
            self._paused_at = now
            if machine.state == RESETTING:
                self.resets.cancel()
                machine.abandon()
            if not self.p.lock_step:
                self.out.stand_still()  # ends a drive home, too
                if machine.running and self._judging is None:
                    self._split()
        else:
            self._began += now - self._paused_at
            if not self.p.lock_step:
                self._first_stamp = max(self._first_stamp, self.get_clock().now().nanoseconds)
        self._plan_next()
        return True, said

    def person_judges(self, success: bool) -> tuple[bool, str]:
        """How the episode went."""
        said = "success" if success else "failure"
        if self._judging is not None:
            self._judging.success = success
            self._conclude(self._judging)
        elif self.machine.running:
            self.verdict.person(success)
        else:
            return False, "no episode is running"
        return True, f"{said} noted"

    # -- episodes out

    def _finish_recording(self, plan: Any) -> Episode | None:
        episode = self.recorder.finish(
            evaluation=plan.evaluation,
            index=plan.index,
            actor_version=self._actor[1],
            seed=plan.seed,
            success=self.verdict.success,
        )
        self._clear_recording()
        return episode

    def _close_episode(self, cut: bool) -> None:
        """Publish what was recorded. ``cut``: before its time, and nothing may be started after it."""
        plan = self.machine.plan
        episode = self._finish_recording(plan)
        self._answered, self._judging = (-1, ()), None
        if episode is not None and plan.evaluation and self._spoiled:
            self.get_logger().info("a person has driven: this evaluation episode is run again")
            episode = None
        if episode is None or (cut and plan.evaluation):  # half an evaluation episode says nothing
            self.machine.abandon()
            return
        if plan.evaluation and self.p.success_source == PERSON and episode.success is None:
            self._judging, self._began = episode, time.monotonic()
            if not self.p.lock_step:
                self.out.stand_still()
            self._say_state()
            return
        self._conclude(episode, cut)

    def _conclude(self, episode: Episode, cut: bool = False) -> None:
        """The episode is over and judged."""
        self._judging = None
        self.machine.episode_done(episode.steps)
        if not cut:
            self._plan_next()  # the reset runs while the episode is packed
        self._publish_episode(episode)
        if not episode.evaluation and self.machine.episodes % self.p.checkpoint_every == 0:
            self._save()

    def _publish_episode(self, episode: Episode) -> None:
        self.out.episode(episode, self.machine, time.monotonic() - self._began)

    def _say_state(self) -> None:
        awaited = self.resets.waiting if self.machine.state == RESETTING else ""
        if self._judging is not None:
            awaited = f"a person's verdict: call {names.HUMAN_SUCCESS} or {names.HUMAN_FAILURE}"
        elif self.machine.running and self._holding:
            awaited = f"fresh observations, holding still ({self._holding})"
        driven = {"intervention": self.driving.active(time.monotonic())}
        self.out.state(self.machine.summary(self._failure, awaited) | driven)

    # -- checkpoint

    def _save(self) -> None:
        if self.p.checkpoint_dir:
            controller_checkpoint.save(self.p.checkpoint_dir, self.machine, self.rollout, self.evaluator)

    def _restore(self) -> None:
        if not (self.machine.schedule.train and self.p.checkpoint_dir):
            return
        path = controller_checkpoint.path_in(self.p.checkpoint_dir)
        if not path.exists():
            if not self.p.resume:
                return  # a new run; a process that stands in for one that died finds a checkpoint
            self.get_logger().warning(
                f"{path} does not exist: counters come from the learner, random state starts anew"
            )
            return
        controller_checkpoint.restore(self.p.checkpoint_dir, self.machine, self.rollout, self.evaluator)
        self.get_logger().info(f"restored {path}: {self.machine.env_steps} steps, {self.machine.episodes} episodes")

    def on_stop(self) -> None:
        """Keep the counters and the random state."""
        if self.machine.schedule.train:
            self._save()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(PolicyController, args)


if __name__ == "__main__":
    sys.exit(main())
