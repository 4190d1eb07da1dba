# SPDX-License-Identifier: Apache-2.0
"""A person drives: the device's wish goes out at once, and what was executed takes the place of the action."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import TwistStamped

from erl_vlm_ros.agents.executed import StepVelocity, velocity_to_action
from erl_vlm_ros.agents.intervention import NOBODY, Intervention
from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.controller_outputs import STILL, ControllerOutputs

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode
    from erl_vlm_ros.ros.observation_source import ObservationSource
    from erl_vlm_ros.tasks import Task


class PersonDriving:
    """Between control steps it commands by itself; at each step the controller asks ``action`` and ``settle``."""

    def __init__(
        self, node: BaseNode, task: Task, source: ObservationSource, out: ControllerOutputs, person: Intervention
    ):
        self._node, self._task, self._source, self._out, self._person = node, task, source, out, person
        self._executed, self._commanded = (StepVelocity(mean=not node.p.lock_step) for _ in range(2))
        self._driving = False
        self.driven = False  # a person has driven since the last control step
        self.grip = 0.0  # the last action's fourth number, of whoever acts
        if person.config.input != NOBODY:
            node.create_subscription(TwistStamped, names.EXECUTED, self._on_executed, qos.sensor(False))

    def active(self, now: float) -> bool:
        """Whether a person drives; also notices a device that has fallen silent."""
        driving = self._person.active(now)
        if driving != self._driving:
            self._driving = driving
            self._node.get_logger().info("a person drives" if driving else "the person has let go")
        return driving

    def action(self) -> np.ndarray:
        """What the person wants, as an action in [-1, 1]^A."""
        try:
            velocity = self._person.velocity(self._source.rotation)
        except ValueError:
            self._node.get_logger().warning("the tool's orientation is not known yet", throttle_duration_sec=2.0)
            velocity = STILL
        return velocity_to_action(velocity, self._task, self._person.gripper or self.grip)

    def moved(self, allowed: bool) -> None:
        """The device spoke: obey at once, not at the next control step. ``allowed``: the guard is armed."""
        now, before = time.monotonic(), self._driving
        driving = self.active(now)
        if not allowed or not (driving or before):
            return
        if self._node.p.lock_step:
            return  # there every command answers an observation
        self.driven = True
        if not driving:
            self._out.stand_still()
            self._commanded.add(STILL, now)
            return
        self.send(self.action(), self._node.get_clock().now().nanoseconds, now)

    def send(self, action: np.ndarray, stamp_ns: int, now: float) -> tuple:
        """Command an action, a person's or the policy's; returns its messages."""
        self.grip = float(action[-1]) if self._task.use_gripper else 0.0
        command, velocity = self._out.command(action, stamp_ns)
        self._out.send(command)
        self._commanded.add(velocity, now)
        return command

    def _on_executed(self, message: TwistStamped) -> None:
        self._executed.add(convert.linear_of(message), time.monotonic())

    def settle(self, now: float) -> np.ndarray | None:
        """At a control step: the action of the step that ends, if a person drove in it, else None.

        It is what the guard let through, or what was commanded when the guard does not tell.
        """
        executed, commanded = self._executed.take(now), self._commanded.take(now)
        velocity, driven = commanded if executed is None else executed, self.driven
        self.driven = False
        return velocity_to_action(velocity, self._task, self.grip) if driven and velocity is not None else None

    def clear(self) -> None:
        """A new recording begins."""
        self._executed.clear()
        self._commanded.clear()
        self.driven = False
