# SPDX-License-Identifier: Apache-2.0
"""The simulation's ground truth with errors, as a teacher: for benchmarks only, and called ``scripted`` wherever its
ratings go (ratings, figures, summary.json, dashboard, reward model)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import LabelBatch, Query
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.spaces import EE_POSITION
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.kinds.base import mean_truth
from erl_vlm_ros.feedback.noise_model import ANY, NoiseModel, chance, load_noise_model, one_sided, view_cluster
from erl_vlm_ros.feedback.teacher_configs import ScriptedConfig
from erl_vlm_ros.feedback.teachers.base import QuerywiseTeacher, Round
from erl_vlm_ros.feedback.teachers.record import Outcome, Record

MAX_TRUTH = 200_000  # frames whose truth is kept


def noise_model_of(config: ScriptedConfig, n_classes: int, task: str, kind: FeedbackKind = RATING) -> NoiseModel:
    """The noise model that the configuration describes; ``kind``: how its labels go wrong."""
    if config.noise_model:
        return load_noise_model(config.noise_model, n_classes, task)
    if config.confusion is None:
        if config.errors != ANY and kind.part.size > 1:
            text = f"scripted.errors is {config.errors}, but {kind.part.name} compares: set it to {ANY}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.scripted.errors")
        wrong = one_sided(kind.part.mistakes(n_classes), config.errors)
        return NoiseModel.of(wrong, config.error_rate, config.systematic_rate)
    if len(config.confusion) != n_classes**2:
        text = (
            f"scripted.confusion has {len(config.confusion)} numbers; "
            f"{n_classes} classes need {n_classes**2}, row by row"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.scripted.confusion")
    try:
        return NoiseModel(np.reshape(np.array(config.confusion, float), (n_classes, n_classes)), config.systematic_rate)
    except ConfigError as error:
        text = f"scripted.confusion: {error}"
        raise ConfigError(text, parameter="vlm_rater.scripted.confusion") from None


class ScriptedTeacher(QuerywiseTeacher):
    """Give it the truth about frames with ``add_truth``; queries wait for theirs.

    The same frames always get the same label; ``sample`` asks for another draw of what is not systematic.
    """

    late_reason = "no_truth"

    def __init__(
        self,
        config: ScriptedConfig,
        task: str,
        class_names: list[str],
        record: Record | None = None,
        kind: FeedbackKind = RATING,
    ) -> None:
        super().__init__("scripted", class_names, kind, config.timeout_s)
        self._model, self._seed, self._record = noise_model_of(config, self.n_classes, task, kind), config.seed, record
        self._truth: OrderedDict[int, dict[str, float]] = OrderedDict()  # stamp -> what is true of its frame
        self._waiting: dict[int, list[tuple[Round, int]]] = {}

    def add_truth(self, stamp: int, values: Mapping[str, float]) -> None:
        """Truth about the frame of that stamp (ns): ``class_2`` .. ``class_5``, ``progress``, ``success``."""
        with self._lock:
            self._truth[stamp] = dict(values)
            if len(self._truth) > MAX_TRUTH:
                self._truth.popitem(last=False)
            due = self._waiting.pop(stamp, [])
            for waiting, index in due:
                self._try(waiting, index)
        for waiting, _ in due:
            self._finish(waiting)

    def stats(self) -> dict[str, float]:
        """As the others, and ``scripted``: 1, so that these figures are not taken for a real teacher's."""
        return super().stats() | {"scripted": 1.0}

    def _begin(self, here: Round) -> None:
        for index in range(len(here.queries)):
            self._try(here, index)

    def _try(self, here: Round, index: int) -> None:
        """Answer a query, or let it wait for the first truth that it lacks."""
        if here.outcomes[index] is not None:
            return
        query = here.queries[index]
        wanted = [[int(stamp) for stamp in self._judged_stamps(segment)] for segment in query]
        missing = next((stamp for stamps in wanted for stamp in stamps if stamp not in self._truth), None)
        if missing is not None:
            self._waiting.setdefault(missing, []).append((here, index))
            return
        truths = [mean_truth([self._truth[stamp] for stamp in stamps]) for stamps in wanted]
        right = self.kind.truth(truths, self.n_classes)
        self._answer(here, index, self.judge(query, right, int(truths[-1]["class_5"])))

    def _judged_stamps(self, segment: Segment) -> np.ndarray:
        """Of the frames that a judgement looks at: a comparison at all of them, a rating at the last."""
        return segment.stamps if self.kind.part.size > 1 else segment.stamps[-1:]

    def _store(self, batch: LabelBatch) -> None:
        if self._record is not None:
            self._record.add(batch.round, [Outcome(label.query, label.value, label.reason) for label in batch.labels])

    def judge(self, query: Query, truth: int, level: int, sample: int = 0) -> int:
        """The answer to a query whose right class is ``truth``; ``level``: the class of its last frame among five, by
        which view clusters differ."""
        place = query[-1].proprio_part(EE_POSITION)
        cluster = view_cluster(np.zeros(3) if place is None else place[-1], level, cell_m=self._model.cell_m)
        judged = self._model.judged(truth, cluster, self._seed)
        # images alone would not do: a world that hides the arm shows one and the same while nothing is moved
        view = hashlib.sha256(query.id.encode() + b"".join(segment.jpegs[-1] for segment in query)).hexdigest()
        u, which = (chance(self._seed, name, view, sample) for name in ("error", "which"))
        return self._model.answered(judged, u, which)

    def _on_expired(self, here: Round) -> None:
        self._waiting = {
            stamp: kept
            for stamp, entries in self._waiting.items()
            if (kept := [entry for entry in entries if entry[0] is not here])
        }
