# SPDX-License-Identifier: Apache-2.0
"""Figures as a CSV file and as TensorBoard events."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

COLUMNS = ("wall_s", "env_steps", "node", "name", "value")


class CsvWriter:
    """Appends one row a figure: wall seconds, environment steps, node, name, value."""

    def __init__(self, path: Path):
        new = not path.exists() or path.stat().st_size == 0
        self._file: TextIO = path.open("a", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        if new:
            self._csv.writerow(COLUMNS)
            self._file.flush()

    def write(self, wall_s: float, env_steps: int, node: str, values: Mapping[str, float]) -> None:
        """One row for each finite value."""
        for name, value in values.items():
            if math.isfinite(value):
                self._csv.writerow((f"{wall_s:.2f}", env_steps, node, name, f"{value:.8g}"))
        try:
            self._file.flush()
        except OSError as error:
            error.filename = self._file.name  # a failed write does not say to which file
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardWriter:
    """TensorBoard event files, with tensorboard's own writer: no torch in this process."""

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))

    def write(self, env_steps: int, node: str, values: Mapping[str, float]) -> None:
        """One scalar ``node/name`` for each finite value."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [
            Summary.Value(tag=f"{node}/{name}", simple_value=value)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        if scalars:
            self._writer.add_event(Event(wall_time=time.time(), step=env_steps, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
