# SPDX-License-Identifier: Apache-2.0
"""A teacher that is asked about every pair twice, once in each order: what it says because of the order is no label.

Models prefer a place: some answer the same side whatever is shown there (docs/preferences.md). An answer that turns
with the order is kept; one that stays on its side is dropped, and both were paid for.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.reasons import is_outage
from erl_vlm_ros.feedback.kinds.base import count
from erl_vlm_ros.feedback.kinds.preference import FIRST, PREFERENCE, SECOND, swapped, swapped_back
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.teachers.staged import StagedRound, StagedTeacher

ORDER = "order"  # why a pair got no label: the answers of the two orders contradict each other


class BothOrders(StagedTeacher):
    """Offers what every teacher offers; a round of N pairs puts 2 N queries to the teacher behind it.

    Raises:
        ConfigError: the teacher does not compare pairs.
    """

    def __init__(self, teacher: Teacher) -> None:
        if teacher.kind is not PREFERENCE:
            text = f"vlm_rater.both_orders is for the feedback preference; it is {teacher.kind.name}: set it to false"
            raise ConfigError(text, parameter="vlm_rater.both_orders", code=Code.DOES_NOT_FIT)
        super().__init__(teacher, ())

    @property
    def budget_left(self) -> int:
        """Pairs that may still be asked about: each takes two of the teacher's queries."""
        return self.teacher.budget_left // 2

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """As of every teacher: each pair in the order given, then each in the other."""
        here = StagedRound(batch)
        asked = replace(batch, queries=[*batch.queries, *map(swapped, batch.queries)])
        self._then(self.teacher.submit(asked), here, self._heard_first)
        return here.future

    def stats(self) -> dict[str, float]:
        """The teacher's figures with the pairs' own outcomes in their place, and what the orders showed.

        order_agreement: share of the pairs with an answer in both orders on which these agree. order_first: share of
        all sides named that were the first; 0.5 for a teacher without a bias.
        """
        with self._lock:
            counts = dict(self._counts)
        both, sides = max(counts.get("both", 0), 1), max(counts.get("first", 0) + counts.get("second", 0), 1)
        figures = self.kind.figures(counts, self.n_classes)
        figures |= {"order_agreement": counts.get("agree", 0) / both, "order_first": counts.get("first", 0) / sides}
        return self.teacher.stats() | {key: float(value) for key, value in figures.items()}

    def texts(self) -> dict[str, str]:
        """The teacher's."""
        return self.teacher.texts()

    def check_endpoint(self) -> list[str]:
        """Names of the models that the endpoint lists, where there is one. ConfigError when it cannot be used."""
        check = getattr(self.teacher, "check_endpoint", None)
        return check() if check is not None else []

    def _on_first(self, here: StagedRound) -> None:
        answers = here.first.labels
        half = len(here.batch.queries)
        if len(answers) != 2 * half:
            raise RuntimeError(f"round {here.batch.round}: {len(answers)} answers to {2 * half} questions")
        labels = []
        with self._lock:
            for query, one, other in zip(here.batch.queries, answers[:half], answers[half:]):
                labels.append(self._joined(query, one, other))
        asked = sum(not is_outage(label.reason) for label in labels)
        here.future.set_result(replace(here.first, requested=asked, labels=labels))

    def _joined(self, query: Query, one: Label, other: Label) -> Label:
        """The label that both orders give (the lock is held)."""
        for answer in (one, other):
            if answer.value in (FIRST, SECOND):
                self._counts["first" if answer.value == FIRST else "second"] += 1
        if NO_LABEL in (one.value, other.value):
            outages = [answer for answer in (one, other) if is_outage(answer.reason)]
            missing = next(iter(outages), one if one.value == NO_LABEL else other)
            label = Label(query, NO_LABEL, missing.reason)
        else:
            turned = swapped_back(other.value)
            self._counts["both"] += 1
            self._counts["agree"] += one.value == turned
            label = Label(query, one.value) if one.value == turned else Label(query, NO_LABEL, ORDER)
        count(self._counts, label.value, label.reason)
        return label
