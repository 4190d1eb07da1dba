# SPDX-License-Identifier: Apache-2.0
"""The files that the monitor leaves in the run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write, read_json
from erl_vlm_ros.monitoring.curve import draw_curve
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.video import Clip, write_film
from erl_vlm_ros.monitoring.writers import CsvWriter, TensorBoardWriter

SUMMARY, PROGRESS, CURVE, METRICS, RECORD = (
    "summary.json",
    "progress.json",
    "learning_curve.png",
    "metrics.csv",
    "checkpoint/monitor.json",
)


class RunFiles:
    """Writes figures as they come, and the summary, curve and film when asked. ``folder`` exists."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / RECORD).parent.mkdir(exist_ok=True)
        self._csv = CsvWriter(folder / METRICS)
        self._events = TensorBoardWriter(folder / "tensorboard")

    def restore(self, record: RunRecord) -> bool:
        """Go on with the figures of an earlier part of this run; False when there are none.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.folder / RECORD
        if not path.exists():
            return False
        try:
            record.load_state_dict(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            text = f"{path} is not a record of this version ({error}); move it away to begin new figures"
            raise ConfigError(text, code=Code.UNREADABLE, file=str(path)) from error
        return True

    def figures(self, record: RunRecord, node: str, values: Mapping[str, float], now: float) -> None:
        """Append a node's figures to the CSV and the TensorBoard events."""
        self._csv.write(record.wall_s(now), record.env_steps, node, values)
        self._events.write(record.clock, node, values)

    def progress(self, record: RunRecord, now: float) -> None:
        """Write progress.json."""
        atomic_write(self.folder / PROGRESS, json.dumps(record.progress(now)))

    def summary(self, record: RunRecord, now: float, more: Mapping[str, Any] | None = None) -> None:
        """Write summary.json and what a resumed run needs."""
        atomic_write(self.folder / SUMMARY, json.dumps({**record.summary(now), **(more or {})}, indent=2) + "\n")
        atomic_write(self.folder / RECORD, json.dumps(record.state_dict(now)))

    def curve(self, record: RunRecord, now: float) -> None:
        """Draw learning_curve.png."""
        draw_curve(self.folder / CURVE, record.summary(now), record.returns, record.mix_history, record.training_rates)

    def film(self, clips: Sequence[Clip], fps: float, scale: int) -> Path | None:
        """Write evaluation.mp4 (or .gif)."""
        return write_film(self.folder, clips, fps, scale)

    def close(self) -> None:
        """Flush and close."""
        self._csv.close()
        self._events.close()


def redraw(folder: Path) -> Path:
    """Draw the learning curve of a run directory again. Raises ConfigError when it holds no figures."""
    summary = read_json(folder / SUMMARY, f"{folder} has no {SUMMARY}: nothing to plot yet")
    kept = read_json(folder / RECORD, f"{folder} has no {RECORD}: nothing to plot yet")
    draw_curve(
        folder / CURVE, summary, kept["returns"], kept["mix_history"], kept.get("training_rates", kept.get("told", []))
    )
    return folder / CURVE
