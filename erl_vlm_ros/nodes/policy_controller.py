# SPDX-License-Identifier: Apache-2.0
"""policy_controller: turns observations into commands, runs the episodes, and publishes each one.

Subscribes to the camera image, joint_states, ee_pose, object_pose, learning/actor and safety_guard/armed.
Publishes policy/twist and policy/gripper, learning/transitions and evaluation/episodes (Episode bundles),
run/state (latched JSON) and learning/metrics. What happens next is decided by EpisodeMachine.

Lock-step: acts when all parts of one stamp are there; a repeated stamp gets the same command again. Real
time: acts at the task's control rate; while an image or a state is too old the arm is held still, and no
transition spans the gap.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt8MultiArray

from erl_vlm_ros.agents.command import action_to_command
from erl_vlm_ros.agents.episode_machine import EpisodeMachine, Schedule
from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.agents.frame_sync import LatestSync, StampSync
from erl_vlm_ros.agents.numpy_actor import NumpyActor
from erl_vlm_ros.agents.recorder import EpisodeRecorder, square
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.observation import PROPRIO_DIM, build_observation
from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.actor_source import read_file, read_published
from erl_vlm_ros.ros.bundle import BundleError, encode
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.robot_calls import GuardArmer, Resetter
from erl_vlm_ros.tasks import load_task

IMAGE, JOINTS, EE, OBJECT = "image", "joint state", "end-effector pose", "object pose"


class PolicyController(BaseNode):
    """ROS side of EpisodeMachine, EpisodeRecorder and RolloutPolicy."""

    NAME = "policy_controller"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        self.task = load_task(p.task)
        self.goal = np.array(self.task.goal)
        train = p.mode == "train"
        schedule = {f.name: getattr(p, f.name) for f in fields(Schedule) if hasattr(p, f.name)}
        self.machine = EpisodeMachine(Schedule(**schedule, train=train))
        exploration = {f.name: self.values[f"exploration.{f.name}"] for f in fields(ExplorationConfig)}
        exploration = ExplorationConfig(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in exploration.items()}
        )
        self.rollout = RolloutPolicy(exploration, self.task, p.seed + 3)
        self.evaluator = RolloutPolicy(exploration, self.task, p.seed + 4)
        self.recorder = EpisodeRecorder(PROPRIO_DIM)
        self._newest: tuple[NumpyActor | None, int] = (None, -1)  # actor and its version
        self._actor = self._newest  # the one of the episode, or evaluation round, under way
        self._round_of_actor = -1
        self._answered: tuple[int, tuple[Any, ...]] = (-1, ())  # stamp and the messages that answered it
        self._last_stamp = -1
        self._first_stamp = 0  # frames before it belong to the time before the reset
        self._held_set: tuple[int, dict[str, Any]] | None = None
        self._ticks = 0  # control steps of the running episode, also when it was split
        self._began = time.monotonic()
        self._failure = ""
        self._said = ""
        if not train:
            self._newest = self._actor = read_file(p.actor_file, self.task.action_dim)
        self._restore()
        self._make_topics()
        self.reset_call = Resetter(self, p.set_episode_seed, p.reset_timeout_s)
        self.armer = GuardArmer(self) if p.auto_arm else None
        self.wall_timer(0.2, self._housekeeping)
        if not p.lock_step:
            self.wall_timer(1.0 / self.task.control_hz, self._tick)
        self._say_state()

    def _make_topics(self) -> None:
        p, sensor = self.p, qos.sensor(self.p.reliable_sensors)
        parts = (IMAGE, JOINTS, EE, OBJECT)
        self._by_stamp = StampSync(parts)
        self._latest = LatestSync(
            {part: p.image_timeout_s if part == IMAGE else p.state_timeout_s for part in parts}
        )
        receive = self._on_part_lock_step if p.lock_step else self._on_part_real_time
        for part, kind, topic in zip(
            parts,
            (Image, JointState, PoseStamped, PoseStamped),
            (names.IMAGE, names.JOINT_STATES, names.EE_POSE, names.OBJECT_POSE),
            strict=True,
        ):
            self.create_subscription(kind, topic, lambda m, part=part: receive(part, m), sensor)
        self.create_subscription(Bool, names.ARMED, self._on_armed, qos.latched())
        if self.machine.schedule.train:
            self.create_subscription(UInt8MultiArray, names.ACTOR, self._on_actor, qos.latched())
        self._pub_twist = self.create_publisher(TwistStamped, names.POLICY_TWIST, qos.command())
        self._pub_gripper = self.create_publisher(Float64MultiArray, names.POLICY_GRIPPER, qos.command())
        self._pub_episode = self.create_publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self._pub_evaluation = self.create_publisher(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
        self._pub_state = self.create_publisher(String, names.RUN_STATE, qos.latched())
        self._pub_metrics = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())

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
            self.get_logger().info(
                f"learner's counters: {learner.env_steps} steps, {learner.episodes} episodes"
            )
        self._plan_next()

    def _on_armed(self, message: Bool) -> None:
        if not message.data and self.machine.running:
            self._close_episode(cut=True)
        self.machine.set_armed(message.data)
        self._plan_next()

    def _housekeeping(self) -> None:
        if self.armer is not None and not self.machine.armed:
            self.armer.call()
        if self.reset_call.gave_up():
            self.machine.abandon()
        self._plan_next()

    def _plan_next(self) -> None:
        """Start the next episode if the machine says so."""
        if not self._failure and self.reset_call.ready():
            plan = self.machine.poll(time.monotonic())
            if plan is not None:
                self.reset_call.start(plan.seed, -1 if plan.evaluation else plan.index, self._on_reset)
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
        self.recorder.clear()
        self._ticks = 0
        self._began = time.monotonic()

    # -- observations

    def _on_part_lock_step(self, part: str, message: Any) -> None:
        stamp = convert.header_ns(message)
        found = self._by_stamp.add(part, stamp, message)
        if found is not None:
            self._on_set(stamp, found)

    def _on_set(self, stamp: int, found: dict[str, Any]) -> None:
        """Lock-step: one complete observation set."""
        if stamp == self._answered[0]:  # the simulation asks again
            self._publish_command(self._answered[1])
            return
        if stamp < self._last_stamp:  # time never goes back within one run of the simulation
            self.get_logger().warning("the simulation has restarted; the running episode is lost")
            self.recorder.clear()
            self.reset_call.cancel()
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

    def _on_part_real_time(self, part: str, message: Any) -> None:
        self._latest.add(part, convert.header_ns(message), message, time.monotonic())

    def _tick(self) -> None:
        """Real time: one control step, or hold still."""
        if not self.machine.running:
            return
        now_ns = self.get_clock().now().nanoseconds
        problem = self._latest.problem(time.monotonic(), self._first_stamp)
        if problem:
            self._hold(problem, now_ns)
            return
        stamp, found = self._latest.take()
        self._last_stamp = stamp
        self._frame(stamp, found, now_ns)

    def _hold(self, problem: str, now_ns: int) -> None:
        """Stand still, and let no transition span the gap: the episode goes on as a new one."""
        self.get_logger().warning(f"holding still: {problem}", throttle_duration_sec=1.0)
        self._pub_twist.publish(convert.twist_message((0.0, 0.0, 0.0), now_ns, self.p.base_frame))
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
            observation, rgb = self._unpack(found)
        except ValueError as error:
            self.get_logger().error(f"observation refused: {error}", throttle_duration_sec=1.0)
            return
        plan = self.machine.plan
        last = self._ticks >= self.task.episode_steps
        action = None
        if not last:
            policy = self.evaluator if plan.evaluation else self.rollout
            action = policy.act(observation, None if plan.explore else self._actor[0])
            velocity, width = action_to_command(action, self.task)
            command = (convert.twist_message(velocity, command_ns, self.p.base_frame),)
            if self.task.use_gripper:
                command = (convert.width_message(width, command_ns), *command)
            self._answered = (stamp, command)
            self._publish_command(command)
        self.recorder.frame(
            stamp, observation, encode_jpeg(square(rgb, self.p.image_size), self.p.jpeg_quality)
        )
        if last:
            self._close_episode(cut=False)
        else:
            self.recorder.action(action)
            self._ticks += 1

    def _unpack(self, found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        joints = convert.joints_by_name(found[JOINTS], [*self.p.joint_names, *self.p.gripper_joints])
        count = len(self.p.joint_names)
        observation = build_observation(
            joints[:count],
            convert.position_of(found[EE]),
            float(joints[count:].sum()),
            convert.position_of(found[OBJECT]),
            self.goal,
        )
        return observation, convert.image_to_rgb(found[IMAGE])

    def _publish_command(self, command: tuple[Any, ...]) -> None:
        for message in command:
            (self._pub_twist if isinstance(message, TwistStamped) else self._pub_gripper).publish(message)

    # -- episodes out

    def _finish_recording(self, plan: Any) -> Any:
        return self.recorder.finish(
            evaluation=plan.evaluation, index=plan.index, actor_version=self._actor[1], seed=plan.seed
        )

    def _close_episode(self, cut: bool) -> None:
        """Publish what was recorded. ``cut``: before its time, and nothing may be started after it."""
        plan = self.machine.plan
        episode = self._finish_recording(plan)
        self._answered = (-1, ())
        if episode is None or (cut and plan.evaluation):  # half an evaluation episode says nothing
            self.machine.abandon()
            return
        self.machine.episode_done(episode.steps)
        if not cut:
            self._plan_next()  # the reset runs while the episode is packed
        self._publish_episode(episode)
        if not plan.evaluation and self.machine.episodes % self.p.checkpoint_every == 0:
            self._save()

    def _publish_episode(self, episode: Any) -> None:
        publisher = self._pub_evaluation if episode.evaluation else self._pub_episode
        publisher.publish(convert.bytes_message(encode(episode.to_bundle())))
        wall, machine = time.monotonic() - self._began, self.machine
        figures = {
            "env_steps": machine.env_steps,
            "episodes": machine.episodes,
            "evaluation": episode.evaluation,
            "index": episode.index,
            "eval_round": machine.eval_round,
            "actor_version": episode.actor_version,
            "episode_steps": episode.steps,
            "steps_per_s": episode.steps / max(wall, 1e-9),
        }
        self._pub_metrics.publish(convert.metrics_message(self.NAME, figures, int(episode.stamps[-1])))

    def _say_state(self) -> None:
        """Publish run/state when it has changed."""
        text = json.dumps(self.machine.summary(self._failure))
        if text != self._said:
            self._said = text
            self._pub_state.publish(String(data=text))

    # -- checkpoint

    def _path(self) -> Path:
        return Path(self.p.checkpoint_dir) / f"{self.NAME}.safetensors"

    def _save(self) -> None:
        if not self.p.checkpoint_dir:
            return
        from erl_vlm_ros.data.checkpoint import save_state  # imports torch: only when needed

        state = {
            "machine": self.machine.state_dict(),
            "rollout": self.rollout.state_dict(),
            "evaluator": self.evaluator.state_dict(),
        }
        save_state(self._path(), state, self.NAME)

    def _restore(self) -> None:
        if not (self.p.resume and self.p.checkpoint_dir):
            return
        if not self._path().exists():
            self.get_logger().warning(
                f"{self._path()} does not exist: counters come from the learner, random state starts anew"
            )
            return
        from erl_vlm_ros.data.checkpoint import load_state

        state = load_state(self._path(), self.NAME)
        self.machine.load_state_dict(state["machine"])
        self.rollout.load_state_dict(state["rollout"])
        self.evaluator.load_state_dict(state["evaluator"])
        self.get_logger().info(
            f"restored {self._path()}: {self.machine.env_steps} steps, {self.machine.episodes} episodes"
        )

    def on_stop(self) -> None:
        """Keep the counters and the random state."""
        if self.machine.schedule.train:
            self._save()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(PolicyController, args)


if __name__ == "__main__":
    sys.exit(main())
