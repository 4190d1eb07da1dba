# SPDX-License-Identifier: Apache-2.0
"""ROS side of a person at the arm: services, joystick buttons, and the devices that drive."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import Joy
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.common import names
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.control.intervention import (
    CONTINUE,
    FAILURE,
    JOY,
    NOBODY,
    PAUSE,
    SUCCESS,
    TWIST,
    HumanConfig,
    Intervention,
)
from erl_vlm_ros.ros import qos

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode


class Listener(Protocol):
    """What a person may ask for. Each answers (done, message)."""

    def person_continues(self) -> tuple[bool, str]:
        """The scene is ready for the next episode."""

    def person_pauses(self, paused: bool | None) -> tuple[bool, str]:
        """Pause or resume; None: the other way round."""

    def person_labels(self, success: bool) -> tuple[bool, str]:
        """The episode succeeded, or failed."""

    def person_moved(self) -> None:
        """The driving device spoke; ask the intervention what it wants."""


class HumanInput:
    """Services always; a joystick or a SpaceMouse when ``human.input`` names one."""

    def __init__(self, node: BaseNode, listener: Callable[[], Listener]):
        """``listener`` is asked for at every event: it may be made after this."""
        config = from_values(HumanConfig, node.values, "human.")
        self._node, self._listener = node, listener
        self.intervention = Intervention(config)
        node.create_service(Trigger, names.HUMAN_CONTINUE, self._trigger(lambda: listener().person_continues()))
        node.create_service(Trigger, names.HUMAN_SUCCESS, self._trigger(lambda: listener().person_labels(True)))
        node.create_service(Trigger, names.HUMAN_FAILURE, self._trigger(lambda: listener().person_labels(False)))
        node.create_service(SetBool, names.HUMAN_PAUSE, self._pause)
        if config.input != NOBODY:
            # Deep enough for a button's way down and up between two looks.
            node.create_subscription(Joy, names.JOY, self._on_joy, qos.sensor(False, 20))
        if config.input == TWIST:
            node.create_subscription(TwistStamped, names.HUMAN_TWIST, self._on_twist_stamped, qos.sensor(False))
            node.create_subscription(Twist, names.HUMAN_TWIST_PLAIN, self._on_twist, qos.sensor(False))

    @staticmethod
    def _trigger(call: Any) -> Any:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = call()
            return response

        return answer

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._listener().person_pauses(request.data)
        return response

    def _on_joy(self, message: Joy) -> None:
        for event in self.intervention.joy(message.axes, message.buttons, time.monotonic()):
            self._act(event)
        if self.intervention.config.input == JOY:
            self._listener().person_moved()

    def _act(self, event: str) -> None:
        listener = self._listener()
        calls = {
            CONTINUE: listener.person_continues,
            PAUSE: lambda: listener.person_pauses(None),
            SUCCESS: lambda: listener.person_labels(True),
            FAILURE: lambda: listener.person_labels(False),
        }
        done, text = calls[event]()
        self._node.get_logger().info(f"button {event}: {text}" if done else f"button {event} has no effect: {text}")

    def _on_twist_stamped(self, message: TwistStamped) -> None:
        self._drive(message.twist.linear)

    def _on_twist(self, message: Twist) -> None:
        self._drive(message.linear)

    def _drive(self, linear: Any) -> None:
        vector: Sequence[float] = (linear.x, linear.y, linear.z)
        self.intervention.twist(vector, time.monotonic())
        self._listener().person_moved()
