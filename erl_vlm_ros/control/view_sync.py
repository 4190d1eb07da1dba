# SPDX-License-Identifier: Apache-2.0
"""Puts images of several cameras together that were taken at one moment, by their stamps. No ROS."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from erl_vlm_ros.control.frame_sync import LatestSync

_KEPT = 32  # images of a camera: a second at 30 Hz
_NS = 1e-9


class ViewSet(NamedTuple):
    """One image of each camera. stamp: of the first camera's, ns; spread_s: between the earliest and the latest."""

    stamp: int
    images: dict[str, Any]
    spread_s: float
    oldest: int  # stamp of the earliest, ns
    heard_at: float  # when the last of them arrived, monotonic s


class ViewSync:
    """Gives the newest set whose stamps agree within ``tolerance_s``; stamps in ns, times in monotonic s."""

    def __init__(self, cameras: Sequence[str], tolerance_s: float):
        self.cameras, self.tolerance_s = tuple(cameras), tolerance_s
        self._seen: dict[str, deque[tuple[int, Any, float]]] = {name: deque(maxlen=_KEPT) for name in cameras}
        self._found: ViewSet | None = None
        self._closest_s: float | None = None  # smallest spread of the images held, where none agree

    def add(self, camera: str, stamp: int, image: Any, now: float) -> None:
        """Store an image. A stamp that the camera sent before does not count as received, as in LatestSync; one that
        came late takes its place by stamp."""
        seen = self._seen[camera]
        if seen and LatestSync.restarted(seen[-1][0], stamp):
            seen.clear()  # another clock
            self._found = None
        at = bisect_right([known for known, _, _ in seen], stamp)
        if at and seen[at - 1][0] == stamp:
            return
        if at == len(seen):
            seen.append((stamp, image, now))
        elif len(seen) < _KEPT:
            seen.insert(at, (stamp, image, now))
        else:
            return  # older than what is kept, or crowded out by newer ones
        self._look()

    @property
    def unheard(self) -> list[str]:
        """Cameras that sent nothing yet."""
        return [name for name, seen in self._seen.items() if not seen]

    @property
    def found(self) -> ViewSet | None:
        """The newest set that agrees; None: there was none yet."""
        return self._found

    @property
    def closest_s(self) -> float | None:
        """While nothing agrees: the smallest spread seen among the images held, s; None: a camera is unheard."""
        return self._closest_s

    def problem(self, now: float, limit_s: float, not_before: int = 0) -> str:
        """Why there is no set to act on, or an empty text.

        Args:
            limit_s: longest time since the set was received. not_before: least stamp of its images, ns.
        """
        if self.unheard:
            return f"no image of camera {', '.join(self.unheard)} yet"
        found = self._found
        if found is None:
            return (
                f"images of {', '.join(self.cameras)} is {self._closest_s:.3f} s apart at best, above "
                f"camera_tolerance_s {self.tolerance_s:g}"
            )
        if now - found.heard_at > limit_s:
            silent = {name: now - seen[-1][2] for name, seen in self._seen.items()}
            slowest = max(silent, key=silent.__getitem__)
            if silent[slowest] > limit_s:
                return f"image of camera {slowest} is {silent[slowest]:.2f} s old"
            return f"set of images is {now - found.heard_at:.2f} s old: later ones are not of one moment"
        if found.oldest < not_before:
            return "set of images is from before the reset"
        return ""

    def _look(self) -> None:
        """The newest set: of each camera the newest image at or before the latest moment that all of them reach."""
        if self.unheard:
            return
        stamps = {name: [stamp for stamp, _, _ in seen] for name, seen in self._seen.items()}
        closest = None
        for moment in sorted({s for known in stamps.values() for s in known}, reverse=True):
            at = {name: bisect_right(known, moment) - 1 for name, known in stamps.items()}
            if min(at.values()) < 0:
                break
            chosen = [stamps[name][i] for name, i in at.items()]
            spread = (max(chosen) - min(chosen)) * _NS
            closest = spread if closest is None else min(closest, spread)
            if spread <= self.tolerance_s:
                entries = {name: self._seen[name][i] for name, i in at.items()}
                new = ViewSet(
                    entries[self.cameras[0]][0], {name: image for name, (_, image, _) in entries.items()}, spread,
                    min(chosen), max(heard for _, _, heard in entries.values()),
                )  # fmt: skip
                if self._found is None or new.oldest > self._found.oldest or new.stamp > self._found.stamp:
                    self._found = new
                    for name, i in at.items():  # a later set holds none that is older: an image is a megabyte
                        for _ in range(i):
                            self._seen[name].popleft()
                return
            if self._found is not None and moment <= self._found.oldest:
                return  # nothing newer
        if self._found is None:
            self._closest_s = closest if closest is not None else self._apart(stamps)

    @staticmethod
    def _apart(stamps: dict[str, list[int]]) -> float:
        """Smallest spread of the newest images, where one camera's are all later than another's."""
        newest = [known[-1] for known in stamps.values()]
        return (max(newest) - min(newest)) * _NS
