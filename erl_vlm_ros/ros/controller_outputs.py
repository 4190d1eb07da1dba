# SPDX-License-Identifier: Apache-2.0
"""What the policy controller publishes: commands, episodes, run/state and its figures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64MultiArray, String, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.control.command import STILL, action_to_command
from erl_vlm_ros.control.ports import Command
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import GRIPPER, ActionSpec
from erl_vlm_ros.ros import convert, qos

if TYPE_CHECKING:
    from erl_vlm_ros.common.tasks import Task
    from erl_vlm_ros.control.episode_machine import EpisodeMachine
    from erl_vlm_ros.ros.node_base import BaseNode

_REPEAT_S = 0.02


class ControllerOutputs:
    """The controller's publishers."""

    def __init__(self, node: BaseNode, task: Task, action: ActionSpec, *, repeat: bool):
        """``repeat``: send the newest command again until the next is due, as a sign of life."""
        self._node, self._task, self._action = node, task, action
        self.figures: Callable[[], dict[str, float]] = dict  # of the observations of an episode that is over
        self.width = 0.0  # the gripper's opening that was commanded last, m
        self._said = ""
        self._twist = node.create_publisher(TwistStamped, names.POLICY_TWIST, qos.command())
        self._gripper = node.create_publisher(Float64MultiArray, names.POLICY_GRIPPER, qos.command())
        self._episode = node.create_publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self._evaluation = node.create_publisher(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
        self._state = node.create_publisher(String, names.RUN_STATE, qos.latched())
        self._metrics = node.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self._sent: tuple[float, TwistStamped] | None = None  # monotonic s
        if repeat:
            node.wall_timer(_REPEAT_S, self._repeat)

    def command(self, action: np.ndarray, stamp_ns: int) -> tuple[Command, Sequence[float]]:
        """The messages for an action in [-1, 1]^A, and its velocity [6] in m/s and rad/s."""
        linear, angular, width = action_to_command(action, self._action)
        twist = convert.twist_message(linear, stamp_ns, self._node.p.base_frame, angular)
        if GRIPPER in self._action:
            self.width = width
            return (convert.width_message(width, stamp_ns), twist), (*linear, *angular)
        return (twist,), (*linear, *angular)

    def send(self, command: Command) -> None:
        """Publish a command's messages."""
        for message in command:
            if isinstance(message, TwistStamped):
                self._publish_twist(message)
            else:
                self._gripper.publish(message)

    def stand_still(self) -> None:
        """Command zero velocity."""
        stamp = self._node.get_clock().now().nanoseconds
        self._publish_twist(convert.twist_message(STILL, stamp, self._node.p.base_frame))

    def _publish_twist(self, message: TwistStamped) -> None:
        self._twist.publish(message)
        self._sent = (time.monotonic(), message)

    def _repeat(self) -> None:
        """The same command under the same stamp until the next one is due: the guard hears that this process lives.

        A control period without a message is too long a time to notice a death in.
        """
        if self._sent is not None and time.monotonic() - self._sent[0] < 1.0 / self._task.control_hz:
            self._twist.publish(self._sent[1])

    def episode(self, episode: Episode, machine: EpisodeMachine, wall_s: float) -> None:
        """Publish an episode and the figures about it."""
        publisher = self._evaluation if episode.evaluation else self._episode
        publisher.publish(self._node.bundle_message(episode.to_bundle()))
        figures = {
            "env_steps": machine.env_steps,
            "episodes": machine.episodes,
            "evaluation": episode.evaluation,
            "index": episode.index,
            "eval_round": machine.eval_round,
            "actor_version": episode.actor_version,
            "episode_steps": episode.steps,
            "steps_per_s": episode.steps / max(wall_s, 1e-9),
            "intervention_steps": int(episode.intervention.sum()),
        }
        figures |= self.figures()
        if episode.success is not None:
            figures["success"] = float(episode.success)
        self._metrics.publish(convert.metrics_message("policy_controller", figures, int(episode.stamps[-1])))

    def state(self, summary: dict[str, Any]) -> None:
        """Publish run/state when it has changed."""
        text = json.dumps(summary)
        if text != self._said:
            self._said = text
            self._state.publish(String(data=text))
