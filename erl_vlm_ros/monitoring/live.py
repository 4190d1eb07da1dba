# SPDX-License-Identifier: Apache-2.0
"""The progress line on a terminal, or now and then a line where there is none."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from erl_vlm_ros.monitoring.line import format_line

LINE_EVERY_S = 10.0
QUIET_S = 60.0  # without a step for so long, a hint is printed


class LiveLine:
    """Reads progress.json and shows it on ``stream``: in place on a terminal, else a line every 10 s."""

    def __init__(self, path: Path, class_names: Sequence[str], stream: TextIO):
        self._path, self._names, self._stream = path, class_names, stream
        self._terminal = stream.isatty()
        self._began = time.time()
        self._last_line_at = time.monotonic()
        self._shown = ""
        self._moved: tuple[float, Any] = (time.monotonic(), None)
        self._warned = False

    def tick(self) -> None:
        """Show what is new."""
        progress = self._read()
        if progress is None:
            return
        line = format_line(progress, self._names)
        now = time.monotonic()
        if self._terminal:
            width = shutil.get_terminal_size().columns
            if len(line) >= width:
                line = format_line(progress)  # without the classes' names
            if line != self._shown:
                self._stream.write("\r\x1b[K" + line[: width - 1])
                self._stream.flush()
        elif now - self._last_line_at >= LINE_EVERY_S and line != self._shown:
            self._last_line_at = now
            print(line, file=self._stream, flush=True)
        else:
            line = self._shown
        self._shown = line
        self._watch(progress, now)

    def finish(self) -> None:
        """Show the last state and end the line."""
        progress = self._read()
        if progress is None:
            return
        line = format_line(progress, self._names)
        self._stream.write(("\r\x1b[K" if self._terminal else "") + line + "\n")
        self._stream.flush()

    def _watch(self, progress: dict[str, Any], now: float) -> None:
        mark = (progress["env_steps"], progress["ratings_valid"], progress["state"], progress["episodes"])
        mark += (progress.get("updates"),)
        if mark != self._moved[1]:
            self._moved = (now, mark)
        elif now - self._moved[0] > QUIET_S and not self._warned and progress["state"] != "evaluating":
            self._warned = True
            logs = self._path.parent / "logs"
            why = progress.get("detail") or progress["state"]
            print(f"\nno progress for {QUIET_S:.0f} s ({why}); see {logs}", file=self._stream)

    def _read(self) -> dict[str, Any] | None:
        try:
            if self._path.stat().st_mtime < self._began - 1:
                return None  # of an earlier part of the run
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
