# SPDX-License-Identifier: Apache-2.0
"""The simulation's ground truth with errors, as a teacher: for benchmarks only, and called ``scripted`` wherever its
ratings go (ratings, figures, summary.json, dashboard, reward model)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.data.segment import RatingBatch, Segment
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.noise_model import NoiseModel, chance, kind_of_view, load_noise_model
from erl_vlm_ros.feedback.teachers.base import Round, SegmentwiseTeacher
from erl_vlm_ros.feedback.teachers.record import Outcome, Record

MAX_TRUTH = 200_000  # frames whose truth is kept
_TOOL = slice(-4, -1)  # proprioception ends with the tool's position and the gripper's width


@dataclass(frozen=True)
class ScriptedConfig:
    """How it errs. Raises ConfigError for values that make no sense.

    error_rate: share of ratings that are another class, drawn anew for every question.
    systematic_rate: share of kinds of view (hand's cell and true state) that are always misjudged in the same way.
    confusion: n * n shares, row by row (true class, answered class), in place of ``error_rate``; empty: none.
    noise_model: file of `erl-vlm check-rater`, in place of all three; empty: none.
    timeout_s: how long a segment may wait for its truth.
    """

    error_rate: float = 0.0
    systematic_rate: float = 0.0
    confusion: Sequence[float] = ()
    noise_model: str = ""
    timeout_s: float = 10.0
    seed: int = 0

    def model(self, n_classes: int, task: str) -> NoiseModel:
        """The noise model that this describes."""
        if self.noise_model:
            return load_noise_model(self.noise_model, n_classes, task)
        if not len(self.confusion):
            return NoiseModel.uniform(n_classes, self.error_rate, self.systematic_rate)
        if len(self.confusion) != n_classes**2:
            raise ConfigError(
                f"scripted.confusion has {len(self.confusion)} numbers; "
                f"{n_classes} classes need {n_classes**2}, row by row"
            )
        try:
            return NoiseModel(np.reshape(np.array(self.confusion, float), (n_classes, n_classes)), self.systematic_rate)
        except ConfigError as error:
            raise ConfigError(f"scripted.confusion: {error}") from None


class ScriptedTeacher(SegmentwiseTeacher):
    """Give it the truth about frames with ``add_truth``; segments wait for theirs.

    The same frame always gets the same rating; ``sample`` asks for another draw of what is not systematic.
    """

    late_reason = "no_truth"

    def __init__(
        self,
        config: ScriptedConfig,
        task: str,
        class_names: list[str],
        record: Record | None = None,
        rate_each: str = "segment",
    ) -> None:
        super().__init__("scripted", class_names, rate_each, config.timeout_s)
        self._model, self._seed, self._record = config.model(self.n_classes, task), config.seed, record
        self._truth: OrderedDict[int, tuple[int, int]] = OrderedDict()  # stamp -> class among n, class among 5
        self._waiting: dict[int, list[tuple[Round, int]]] = {}

    def add_truth(self, stamp: int, values: Mapping[str, float]) -> None:
        """Truth about the frame of that stamp (ns): ``class_2`` .. ``class_5``."""
        here = (int(values[f"class_{self.n_classes}"]), int(values["class_5"]))
        with self._lock:
            self._truth[stamp] = here
            if len(self._truth) > MAX_TRUTH:
                self._truth.popitem(last=False)
            due = self._waiting.pop(stamp, [])
            for waiting, index in due:
                self._rate(waiting, index, here)
        for waiting, _ in due:
            self._finish(waiting)

    def stats(self) -> dict[str, float]:
        """As the others, and ``scripted``: 1, so that nobody takes these figures for a real teacher's."""
        return super().stats() | {"scripted": 1.0}

    def _begin(self, here: Round) -> None:
        for index, segment in enumerate(here.segments):
            stamp = int(segment.stamps[-1])
            if stamp in self._truth:
                self._rate(here, index, self._truth[stamp])
            else:
                self._waiting.setdefault(stamp, []).append((here, index))

    def _rate(self, here: Round, index: int, truth: tuple[int, int]) -> None:
        if here.outcomes[index] is not None:
            return
        segment = here.segments[index]
        self._answer(here, index, self.judge(segment, *truth))

    def _store(self, batch: RatingBatch) -> None:
        if self._record is not None:
            self._record.add(batch.round, [Outcome(r.segment, r.rating, r.reason) for r in batch.rated])

    def judge(self, segment: Segment, truth: int, rung: int, sample: int = 0) -> int:
        """The rating of a segment of class ``truth``; ``rung``: its class among five, by which kinds of view differ."""
        kind = kind_of_view(segment.proprio[-1][_TOOL], rung, cell_m=self._model.kind_m)
        judged = self._model.judged(truth, kind, self._seed)
        view = hashlib.sha256(segment.jpegs[-1]).hexdigest()
        luck, which = (chance(self._seed, name, view, sample) for name in ("error", "which"))
        return self._model.answered(judged, luck, which)

    def _on_expired(self, here: Round) -> None:
        self._waiting = {
            stamp: kept
            for stamp, entries in self._waiting.items()
            if (kept := [entry for entry in entries if entry[0] is not here])
        }
