# SPDX-License-Identifier: Apache-2.0
"""A node's sign of life on /diagnostics, from a thread of its own: a long callback must not look like death."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

from erl_vlm_ros.common import names
from erl_vlm_ros.common.names import HEARTBEAT_SUFFIX
from erl_vlm_ros.ros.convert import metrics_message
from erl_vlm_ros.ros.refusals import Refusals

PERIOD_S = 1.0


class Heartbeat:
    """Publishes ``NODE: heartbeat`` once a second, with ``busy_s``: seconds since the executor last served the node.

    Beside it ``NODE: refused messages``, a warning, once a message could not be used.

    DDS itself notices a killed process only when its lease runs out, 20 s later by Fast DDS's default.
    """

    def __init__(
        self,
        node: Node,
        wall_timer: Callable[[float, Callable[[], None]], Any],
        refusals: Refusals | None = None,
    ):
        self._node, self._refusals = node, refusals
        self._served = time.monotonic()
        self._stopped = threading.Event()
        self._publisher = node.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        self._thread: threading.Thread | None = None
        wall_timer(PERIOD_S / 2, self._serve)

    def _serve(self) -> None:
        self._served = time.monotonic()
        if self._thread is None:  # a node that is refused while it is made has no thread to end
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        node = self._node
        name = node.get_name()
        while not self._stopped.is_set():
            busy = max(time.monotonic() - self._served - PERIOD_S, 0.0)
            try:
                stamp = node.get_clock().now().nanoseconds
                text = f"busy for {busy:.0f} s" if busy >= 1 else "running"
                message = metrics_message(name + HEARTBEAT_SUFFIX, {"busy_s": busy}, stamp, text=text)
                if self._refusals is not None and self._refusals.total:
                    warning = metrics_message(
                        f"{name}: refused messages", {"refused": self._refusals.total}, stamp,
                        level=DiagnosticStatus.WARN, text=self._refusals.last,
                    )  # fmt: skip
                    message.status.extend(warning.status)
                self._publisher.publish(message)
            except InvalidHandle:
                return  # the node is being destroyed
            except Exception:
                if node.context.ok():
                    raise
                return  # the context was shut down under us
            self._stopped.wait(PERIOD_S)

    def stop(self) -> None:
        """End the thread; nothing is published afterwards."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
