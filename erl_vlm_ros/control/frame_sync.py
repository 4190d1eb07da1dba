# SPDX-License-Identifier: Apache-2.0
"""Puts the parts of an observation together: by equal stamps in lock-step, by age in real time. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_KEPT = 8  # stamps with parts missing


class StampSync:
    """Collects parts until every one of a stamp is there."""

    def __init__(self, parts: Sequence[str]):
        self._parts = len(parts)
        self._sets: dict[int, dict[str, Any]] = {}

    def add(self, part: str, stamp: int, value: Any) -> dict[str, Any] | None:
        """Store one part. Returns the whole set when this was its last; older sets are dropped then."""
        found = self._sets.setdefault(stamp, {})
        found[part] = value
        if len(found) < self._parts:
            if len(self._sets) > _KEPT:
                del self._sets[next(iter(self._sets))]
            return None
        self._sets = {s: parts for s, parts in self._sets.items() if s > stamp}
        return found


class LatestSync:
    """Keeps the newest value of each part and says which is too old to act on. Times in s, stamps in ns."""

    def __init__(self, limits: dict[str, float]):
        """``limits``: part -> longest time since it was received, s."""
        self._limits = dict(limits)
        self._latest: dict[str, tuple[int, Any, float]] = {}

    def add(self, part: str, stamp: int, value: Any, now: float) -> None:
        """Store one part. One whose stamp is not newer does not count as received: a driver that repeats an
        old frame after a stall must not look alive."""
        known = self._latest.get(part)
        if known is None or stamp > known[0] or self.restarted(known[0], stamp):
            self._latest[part] = (stamp, value, now)

    @staticmethod
    def restarted(known: int, stamp: int) -> bool:
        """Whether ``stamp`` (ns) is of another clock than ``known``."""
        return stamp < known - 1_000_000_000  # a second back: another clock, not a late message

    def problem(self, now: float, not_before: int = 0) -> str:
        """Why there is nothing to act on, or an empty text. ``not_before``: least stamp of every part, ns."""
        for part, limit in self._limits.items():
            if part not in self._latest:
                return f"no {part} yet"
            stamp, _, at = self._latest[part]
            if now - at > limit:
                return f"{part} is {now - at:.2f} s old"
            if stamp < not_before:
                return f"{part} is from before the reset"
        return ""

    def take(self, stamped_as: str) -> tuple[int, dict[str, Any]]:
        """(stamp of the part ``stamped_as``, part -> value)."""
        return self._latest[stamped_as][0], {part: entry[1] for part, entry in self._latest.items()}
