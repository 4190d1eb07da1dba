# SPDX-License-Identifier: Apache-2.0
"""No gripper, or one that something else drives."""

from __future__ import annotations

from typing import Any


class NoGripper:
    """Swallows gripper commands."""

    def __init__(self, node: Any, p: Any) -> None:
        pass

    def prepare(self) -> None:
        """Nothing to check."""

    def send(self, width_m: float, stamp_ns: int) -> None:
        """Nothing is sent."""
