# SPDX-License-Identifier: Apache-2.0
"""Tells MoveIt Servo to take twists: since Iron it refuses every command before it is told which kind comes."""

from __future__ import annotations

import time
from typing import Any

from erl_vlm_ros.common import names

_PATIENCE_S = 5.0  # a Servo that ended before it answered never will
_EVERY_S = 1.0  # Servo forgets it when it restarts, and being told again does not disturb it


class ServoMode:
    """Calls switch_command_type until Servo agrees, and again ever after, without blocking."""

    def __init__(self, node: Any, service: Any, request: Any) -> None:
        """``service``: the type ServoCommandType; ``request``: what is asked. Its answer must have ``success``."""
        self._node = node
        self._client = node.create_client(service, names.SERVO_COMMAND_TYPE)
        self._request = request
        self._future: Any = None
        self._asked = 0.0  # time.monotonic
        self.ready = False
        self.problem = f"waiting for {names.SERVO_COMMAND_TYPE}"
        node.wall_timer(_EVERY_S, self._ask)

    def _ask(self) -> None:
        if not self._client.service_is_ready():
            self.ready, self._future = False, None
            self.problem = f"waiting for {names.SERVO_COMMAND_TYPE}"
        elif self._future is None or time.monotonic() - self._asked > _PATIENCE_S:
            self._asked = time.monotonic()
            self._future = self._client.call_async(self._request)
            self._node.when_done(self._future, self._answered)

    def _answered(self, future: Any) -> None:
        if future is not self._future:
            return
        self._future = None
        answer = None if future.exception() else future.result()
        self.ready = answer is not None and bool(answer.success)
        self.problem = "" if self.ready else "MoveIt Servo refuses to take twists"
