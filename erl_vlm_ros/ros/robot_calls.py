# SPDX-License-Identifier: Apache-2.0
"""Service calls of policy_controller, without blocking: reset to an episode's start, arm the guard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.common import names

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

#: done, message, stamp of the first frame in ns (-1 unknown)
Answer = Callable[[bool, str, int], None]


class Resetter:
    """One reset at a time; an answer that comes after ``cancel`` or the time limit is dropped."""

    def __init__(self, node: BaseNode, choose_episode: bool, timeout_s: float):
        """``choose_episode``: tell sim_bridge the seed or number of the episode; False on a real arm."""
        self._log = node.get_logger()
        self._reset = node.create_client(Trigger, names.RESET)
        self._parameters = node.create_client(SetParameters, names.SIM_SET_PARAMETERS) if choose_episode else None
        self._timeout = timeout_s
        self._turn = 0
        self._since: float | None = None

    def ready(self) -> bool:
        """Whether a reset can be started: none is under way and the service is there."""
        clients = [c for c in (self._reset, self._parameters) if c is not None]
        return self._since is None and all(c.service_is_ready() for c in clients)

    def start(self, seed: int, index: int, answer: Answer) -> None:
        """Reset to the episode of ``seed``, or of number ``index`` when seed is -1, then call ``answer``."""
        self._turn += 1
        self._since = time.monotonic()
        turn = self._turn
        if self._parameters is None:
            self._call_reset(turn, answer)
            return
        request = SetParameters.Request(parameters=[_int("episode_seed", seed), _int("episode_index", index)])
        future = self._parameters.call_async(request)
        future.add_done_callback(lambda f: self._on_parameters(turn, f, answer))

    def cancel(self) -> None:
        """Forget the reset under way."""
        self._turn += 1
        self._since = None

    def gave_up(self) -> bool:
        """Whether the reset under way has just passed its time limit; it is cancelled then."""
        if self._since is None or time.monotonic() - self._since < self._timeout:
            return False
        self._log.warning(f"no answer to the reset within {self._timeout:g} s; asking again")
        self.cancel()
        return True

    def _on_parameters(self, turn: int, future: Any, answer: Answer) -> None:
        if turn != self._turn:
            return
        refused = [r.reason for r in future.result().results if not r.successful]
        if refused:
            self._since = None
            answer(False, "sim_bridge refused episode_seed or episode_index: " + "; ".join(refused), -1)
            return
        self._call_reset(turn, answer)

    def _call_reset(self, turn: int, answer: Answer) -> None:
        future = self._reset.call_async(Trigger.Request())
        future.add_done_callback(lambda f: self._on_reset(turn, f, answer))

    def _on_reset(self, turn: int, future: Any, answer: Answer) -> None:
        if turn != self._turn:
            return
        self._since = None
        response = future.result()
        answer(response.success, response.message, _stamp(response.message))


def _int(name: str, value: int) -> Parameter:
    return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value))


def _stamp(message: str) -> int:
    try:
        return int(json.loads(message)["stamp"])
    except (ValueError, KeyError, TypeError):
        return -1


class GuardArmer:
    """Asks the guard to arm, again after each refusal, at most once a second. For simulation."""

    def __init__(self, node: BaseNode):
        self._log = node.get_logger()
        self._client = node.create_client(SetBool, names.ARM)
        self._asked = -1.0e9

    def call(self) -> None:
        """Ask, unless asked within the last second or the guard is not there yet."""
        if time.monotonic() - self._asked < 1.0 or not self._client.service_is_ready():
            return
        self._asked = time.monotonic()
        self._client.call_async(SetBool.Request(data=True)).add_done_callback(self._answered)

    def _answered(self, future: Any) -> None:
        response = future.result()
        if not response.success:
            self._log.warning(f"the guard does not arm: {response.message}", throttle_duration_sec=5.0)
