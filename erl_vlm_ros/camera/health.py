# SPDX-License-Identifier: Apache-2.0
"""How a camera does: frame rate, lost frames, age of the newest one, how often it was opened again."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable

_RATE_WINDOW_S = 3.0
_RECENT_S = 10.0  # a loss is worth a warning this long
_SLOW = 0.9  # of the nominal rate


class Health:
    """Counts what happens on the capture thread, answers on any other.

    Args:
        stall_s: without a frame this long the camera counts as stalled.
        clock: steady seconds.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float]):
        self._stall_s, self._clock = stall_s, clock
        self._lock = threading.Lock()
        self._begun = self._last = clock()
        self._waiting = True  # for the first frame after an opening
        self._times: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=300)
        self._counts: Counter[str] = Counter()
        self._loss_at = -1e9
        self._fps = 0.0
        self._problem = "opening"

    def opened(self, fps: float) -> None:
        """The source was opened; ``fps`` nominal, 0 unknown."""
        with self._lock:
            self._fps, self._problem = fps, ""
            self._times.clear()
            self._begun, self._waiting = self._clock(), True
            self._counts["opened"] += 1

    def passed(self, latency_s: float, missed: int) -> None:
        """A frame went out, ``latency_s`` after it was taken; ``missed`` were lost before it."""
        with self._lock:
            now = self._last = self._clock()
            self._waiting = False
            self._times.append(now)
            self._latencies.append(latency_s)
            self._counts["frames"] += 1
            self._lose(missed, now)
            while now - self._times[0] > _RATE_WINDOW_S:
                self._times.popleft()

    def refused(self, reason: str, missed: int = 0) -> None:
        """A frame was not passed on."""
        with self._lock:
            self._counts["refused"] += 1
            self._counts[f"refused {reason}"] += 1
            self._lose(missed + 1, self._clock())

    def broken(self, problem: str) -> None:
        """The source is closed because of ``problem``."""
        with self._lock:
            self._problem = problem

    def _lose(self, count: int, now: float) -> None:
        self._counts["dropped"] += count
        if count:
            self._loss_at = now

    def verdict(self) -> tuple[str, str]:
        """("ok", "warn" or "stale", what to tell a person)."""
        with self._lock:
            now = self._clock()
            if self._problem:
                return "stale", self._problem
            if self._waiting:
                return "stale", f"no frame yet, {now - self._begun:.1f} s after opening"
            if now - self._last > self._stall_s:
                return "stale", f"no frame for {now - self._last:.1f} s"
            rate = self._rate(now)
            if now - self._loss_at < _RECENT_S:
                return "warn", f"{rate:.1f} Hz; {self._counts['dropped']} frames dropped so far"
            if self._fps and now - self._begun > _RATE_WINDOW_S + 1.0 and rate < _SLOW * self._fps:
                return "warn", f"{rate:.1f} Hz instead of {self._fps:g} Hz"
            return "ok", f"{rate:.1f} Hz"

    def values(self) -> dict[str, float]:
        """Figures for diagnostics: Hz, counts, s, ms."""
        with self._lock:
            now, counts = self._clock(), self._counts
            out = {
                "frame_rate": self._rate(now),
                "nominal_rate": self._fps,
                "frames": counts["frames"],
                "dropped": counts["dropped"],
                "reopened": max(0, counts["opened"] - 1),
                "age_s": now - self._last if counts["frames"] else -1.0,
            }
            if self._latencies:
                ordered = sorted(self._latencies)
                out["latency_p50_ms"] = 1e3 * ordered[len(ordered) // 2]
                out["latency_p99_ms"] = 1e3 * ordered[int(0.99 * (len(ordered) - 1))]
            return out | {key.replace(" ", "_"): n for key, n in sorted(counts.items()) if key.startswith("refused")}

    def _rate(self, now: float) -> float:
        times = [t for t in self._times if now - t <= _RATE_WINDOW_S]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-9)
