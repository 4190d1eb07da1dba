# SPDX-License-Identifier: Apache-2.0
"""The executor of every node: rclpy's single-threaded one, without waking itself after each callback."""

from __future__ import annotations

from typing import Any

from rclpy.executors import SingleThreadedExecutor


class _Silent:
    """In place of the executor's guard condition."""

    def trigger(self) -> None:
        """Wake nobody."""


class Executor(SingleThreadedExecutor):
    """rclpy's handlers trigger the executor's guard condition after each callback, so that other threads see that an
    entity may be waited for again. Here one thread makes all callbacks, and what it wakes is its own next wait, which
    then looks at every entity of the node for nothing."""

    def _make_handler(self, *args: Any) -> Any:
        # another thread's wake that falls in between is not missed: all is looked at before the next wait in any case
        guard, self._guard = self._guard, _Silent()
        try:
            return super()._make_handler(*args)
        finally:
            self._guard = guard
