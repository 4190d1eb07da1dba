# SPDX-License-Identifier: Apache-2.0
"""Keeps a source running: opens it, notices a stall, closes and opens it again, with growing pauses, not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from erl_vlm_ros.camera.frame import EndOfRecording, Frame, Source, SourceError
from erl_vlm_ros.camera.gate import Gate
from erl_vlm_ros.camera.health import Health
from erl_vlm_ros.common.errors import ConfigError


@dataclass(frozen=True)
class Patience:
    """``stall_s`` without a frame ends a source. Pauses between openings grow from ``backoff_s`` to ``backoff_max_s``.
    ``attempts`` openings in a row may fail, at start as many as fit into ``start_timeout_s``. After each opening
    ``warmup_frames`` are thrown away. ``loop``: a recording begins anew at its end."""

    stall_s: float = 1.0
    backoff_s: float = 0.5
    backoff_max_s: float = 5.0
    attempts: int = 60
    start_timeout_s: float = 20.0
    warmup_frames: int = 0
    loop: bool = False


class Supervisor:
    """Runs one source on the calling thread.

    Args:
        source: what to run. It is opened, read and closed on this thread only.
        patience: the limits.
        gate: decides which frames are new.
        health: hears of everything.
        opened: called with the source after each opening; may raise ConfigError (an image of the wrong size, say).
        now_ns: the system's clock; ``clock``: steady seconds.
    """

    def __init__(
        self,
        source: Source,
        patience: Patience,
        gate: Gate,
        health: Health,
        opened: Callable[[Source], None] = lambda _: None,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.source, self.patience, self.gate, self.health = source, patience, gate, health
        self._opened, self._now_ns, self._clock = opened, now_ns, clock
        self._ever = False  # whether a frame was ever passed on

    def run(self, give: Callable[[Frame], None], stop: threading.Event) -> None:
        """Pass new frames to ``give`` until ``stop`` is set or a recording is over.

        Raises:
            ConfigError: what was asked for cannot be.
            SourceError: the camera did not come back within the limits.
        """
        begun, failures, pause = self._clock(), 0, self.patience.backoff_s
        while not stop.is_set():
            problem = self._open()
            if not problem:
                before = self._ever
                try:
                    given, problem = self._stream(give, stop)
                finally:
                    self.source.close()
                if not problem:
                    return
                if given:
                    failures, pause = 0, self.patience.backoff_s
                begun = begun if before or not given else self._clock()
            failures += 1
            self.health.broken(problem)
            waited = self._clock() - begun
            if failures > self.patience.attempts or (not self._ever and waited > self.patience.start_timeout_s):
                raise SourceError(f"{problem}; gave up after {failures} attempts", attempts=failures)
            stop.wait(pause)
            pause = min(2 * pause, self.patience.backoff_max_s)

    def _open(self) -> str:
        """Open the source; returns why it could not be."""
        try:
            self.source.open()
            self._opened(self.source)
        except SourceError as error:
            self.source.close()
            return str(error)
        except ConfigError as error:
            self.source.close()
            if not self._ever:
                raise
            return str(error)  # it was right before: a camera may come back on a slower port
        except BaseException:
            self.source.close()
            raise
        self.health.opened(self.source.fps)
        return ""

    def _stream(self, give: Callable[[Frame], None], stop: threading.Event) -> tuple[bool, str]:
        """Read until something is wrong: (whether frames were passed on, what is wrong; empty: to end here)."""
        patience, given, skip = self.patience, False, self.patience.warmup_frames
        last = self._clock()  # when a frame last came that shows that the camera works
        while not stop.is_set():
            try:
                frame = self._read()
            except SourceError as error:
                return given, str(error)
            except EndOfRecording:
                self.health.broken("the recording is over")
                return given, ""
            if frame is not None:
                reason = "" if skip else self.gate.refuse(frame, self._now_ns())
                if skip:
                    skip, last = skip - 1, self._clock()
                elif reason:
                    self.health.refused(reason, frame.missed)
                else:
                    last, given, self._ever = self._clock(), True, True
                    give(frame)
                    self.health.passed((self._now_ns() - frame.stamp_ns) * 1e-9, frame.missed)
            if self._clock() - last > patience.stall_s:
                return given, f"no new frame from {self.source.hardware} for {patience.stall_s:g} s"
        return given, ""

    def _read(self) -> Frame | None:
        """The source's next frame; a recording that is to be looped begins anew."""
        try:
            return self.source.read(min(0.2, self.patience.stall_s))
        except EndOfRecording:
            if not self.patience.loop:
                raise
            self.source.close()
            self.source.open()
            return None
