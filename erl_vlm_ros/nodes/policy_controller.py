# SPDX-License-Identifier: Apache-2.0
"""policy_controller: turns observations into commands, runs the episodes, and publishes each one.

Subscribes to the camera image (of each named camera), joint_states, ee_pose, object_pose, learning/actor and
safety_guard/armed.
Publishes policy/twist and policy/gripper, learning/transitions and evaluation/episodes (Episode bundles),
run/state (latched JSON) and learning/metrics. All decisions are ControllerCore's. A person may drive, pause, say how
an episode went, and that the scene is ready (docs/episodes.md).

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
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Bool, UInt8MultiArray

from erl_vlm_ros.agents.encoders.config import EncoderConfig, given_encoder
from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common import names
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.common.errors import Code, wrong_parameter
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control import controller_checkpoint, drivers
from erl_vlm_ros.control.actor_source import read_file, read_published
from erl_vlm_ros.control.core import ControllerCore, ControllerSettings
from erl_vlm_ros.control.drivers import DemonstratorConfig
from erl_vlm_ros.control.episode_machine import EpisodeMachine, Schedule
from erl_vlm_ros.control.intervention import NOBODY
from erl_vlm_ros.control.pacing import make_pacing
from erl_vlm_ros.control.recorder import EpisodeRecorder
from erl_vlm_ros.control.success_label import TOPIC, SuccessLabel
from erl_vlm_ros.control.teleoperation import Teleoperation
from erl_vlm_ros.data.spaces import IMAGES
from erl_vlm_ros.ros import convert, qos, realtime
from erl_vlm_ros.ros.controller_outputs import ControllerOutputs
from erl_vlm_ros.ros.human_input import HumanInput
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.observation_source import ObservationSource
from erl_vlm_ros.ros.resets import ResetSequence
from erl_vlm_ros.ros.robot_calls import GuardArmer
from erl_vlm_ros.ros.robot_facts import node_spaces


class NodeClock:
    """The controller's clocks: steady wall time, and the node's clock for stamps."""

    def __init__(self, node: BaseNode):
        self._clock = node.get_clock()

    def now(self) -> float:
        """Monotonic s."""
        return time.monotonic()

    def stamp(self) -> int:
        """The node's time, ns."""
        return self._clock.now().nanoseconds


class PolicyController(BaseNode):
    """ROS side of ControllerCore."""

    NAME = "policy_controller"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        task = self.task = load_task(p.task)
        pacing, clock, log = make_pacing(p.lock_step), NodeClock(self), self.get_logger()
        train = p.mode == "train"
        schedule = {f.name: getattr(p, f.name) for f in fields(Schedule) if hasattr(p, f.name)}
        settings = {f.name: getattr(p, f.name) for f in fields(ControllerSettings)}
        self.machine = EpisodeMachine(Schedule(**schedule, train=train))
        exploration = from_values(ExplorationConfig, self.values, "exploration.")
        spaces = self.spaces = node_spaces(self, task)
        self.rollout = self._driver(exploration)
        self.evaluator = RolloutPolicy(exploration, task, spaces, p.seed + 4)
        encoder = from_values(EncoderConfig, self.values, "encoder.")
        own = p.observe == IMAGES and not encoder.trained
        self._encoder = given_encoder(encoder) if own else None
        actor = (None, -1) if train else read_file(p.actor_file, spaces, self._encoder)
        self._restore()
        self.out = ControllerOutputs(self, task, spaces.action, repeat=pacing.real_time)
        source = ObservationSource(
            self,
            spaces.observation,
            np.array(task.goal),
            lambda *seen: self.core.observed(*seen),
            lambda: self.out.width,
            real_time=pacing.real_time,
        )
        self.out.figures = source.figures
        device = HumanInput(self, lambda: self.core).intervention
        self.teleoperation = Teleoperation(
            spaces.action, self.out, device, lambda: source.rotation, clock, log, real_time=pacing.real_time
        )
        resets = ResetSequence(
            self, spaces.observation.joint_names, held=lambda: self.core.teleoperated, real_time=pacing.real_time
        )
        self.core = ControllerCore(
            task,
            ControllerSettings(**settings),
            machine=self.machine,
            pacing=pacing,
            rollout=self.rollout,
            evaluator=self.evaluator,
            label=SuccessLabel(p.success_source, p.end_on_label),
            recorder=EpisodeRecorder(spaces, source.extra_names),
            teleoperation=self.teleoperation,
            observations=source,
            out=self.out,
            resets=resets,
            clock=clock,
            log=log,
            save=self._save,
            actor=actor,
        )
        self._subscribe(device.config.input != NOBODY)
        self.armer = GuardArmer(self) if p.auto_arm else None
        self.wall_timer(0.2, self._housekeeping)
        if pacing.real_time:
            log.info(realtime.prefer(p.realtime_priority))
            self.wall_timer(1.0 / task.control_hz, self.core.tick)
        self.core.publish_state()

    def _driver(self, exploration: ExplorationConfig) -> Any:
        """What acts in training episodes. ConfigError: it cannot, here."""
        p, seed = self.p, self.p.seed + 3
        if p.driver == drivers.SCRIPTED:
            from erl_vlm_ros.sim.scripted_policy import ScriptedPolicy

            skill = from_values(DemonstratorConfig, self.values, "demonstrator.")
            return ScriptedPolicy(skill, self.task, self.spaces, seed)
        if p.driver == drivers.PERSON:
            lacking = "human.input" if p.human_input == NOBODY else "lock_step" if p.lock_step else ""
            if lacking:
                text = ": driver is person, who needs a device (joy or twist) and real time (lock_step false)"
                raise wrong_parameter(self.NAME, lacking, text, code=Code.DOES_NOT_FIT)
            return drivers.StillPolicy(self.spaces.action, lambda: self.teleoperation.grip)
        return RolloutPolicy(exploration, self.task, self.spaces, seed)

    def _subscribe(self, teleoperated: bool) -> None:
        self.create_subscription(Bool, names.ARMED, lambda m: self.core.set_armed(m.data), qos.latched())
        if self.machine.schedule.train:
            self.create_subscription(UInt8MultiArray, names.ACTOR, self._on_actor, qos.latched())
        if self.p.success_source == TOPIC:
            sensor = qos.sensor(self.p.reliable_sensors)
            self.create_subscription(Bool, names.SUCCESS, lambda m: self.core.label.topic(m.data), sensor)
        if teleoperated:
            self.create_subscription(
                TwistStamped,
                names.EXECUTED,
                lambda m: self.teleoperation.executed((*convert.linear_of(m), *convert.angular_of(m))),
                qos.sensor(False),
            )

    def _on_actor(self, message: UInt8MultiArray) -> None:
        self.core.set_actor(*read_published(self.bundle_of(message, "actor"), self.spaces, self._encoder))

    def _housekeeping(self) -> None:
        if self.armer is not None and not self.machine.armed:
            self.armer.call()
        self.core.housekeeping()

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
