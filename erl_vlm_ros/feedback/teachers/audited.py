# SPDX-License-Identifier: Apache-2.0
"""A teacher a share of whose ratings is rated once more by a trusted auditor: a person, or a better model.

No number of questions to one model shows what it misjudges in every way of asking. A few trusted answers do, where they
are spread over the positions of the end effector and over what the teacher said there. The trusted answer takes the
place of the teacher's, and is marked: the reward model believes it over other ratings of views like it
(reward/audits.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, QueryBatch
from erl_vlm_ros.data.reasons import is_outage
from erl_vlm_ros.data.spaces import EE_POSITION
from erl_vlm_ros.feedback.teacher_configs import AuditConfig
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.teachers.record import Outcome, Record
from erl_vlm_ros.feedback.teachers.staged import StagedRound, StagedTeacher

_FAR = 3.0  # places apart: beyond, farther is not better


class AuditedTeacher(StagedTeacher):
    """Offers what every teacher offers. What the auditor leaves unanswered keeps the teacher's rating.

    Args:
        teacher: answers every query. auditor: answers some of them, or of their parts, again.
        record: where the outcomes of audits are written, so that a replay gives the same.
    """

    def __init__(self, teacher: Teacher, auditor: Teacher, config: AuditConfig, record: Record | None = None) -> None:
        if list(teacher.class_names) != list(auditor.class_names):
            text = "the auditor rates other classes than the teacher"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.audit.teacher")
        super().__init__(teacher, [auditor])
        self.auditor = auditor
        self.name = f"{teacher.texts()['teacher']} audited by {auditor.texts()['teacher']}"
        self._config, self._record = config, record
        self._places = np.zeros((0, 3))  # audited so far
        self._given = np.zeros(0, np.int64)  # what the teacher had said there
        self._seen = 0

    @property
    def budget_left(self) -> int:
        """The teacher's; without an auditor it goes on alone."""
        return self.teacher.budget_left

    def stats(self) -> dict[str, float]:
        """The teacher's figures, and what the audits showed.

        audits: answers of the auditor; audit_agreement: share of them that said the same; audit_too_high and
        audit_too_low: share where the teacher's class was above or below; audit_unanswered: got none.
        """
        with self._lock:
            counts = dict(self._counts)
        compared = max(counts.get("compared", 0), 1)
        figures = {"audits": counts.get("audits", 0), "audit_unanswered": counts.get("unanswered", 0)}
        for name in ("agreement", "too_high", "too_low"):
            figures[f"audit_{name}"] = counts.get(name, 0) / compared
        auditor = self.auditor.stats()
        figures |= {"audits_waiting": auditor.get("in_flight", 0.0)}
        figures |= {who: auditor[who] for who in ("human", "scripted") if who in auditor}
        return self.teacher.stats() | {key: float(value) for key, value in figures.items()}

    def texts(self) -> dict[str, str]:
        """The teacher's, and who audits it."""
        return self.teacher.texts() | {"teacher": self.name}

    def check_endpoint(self) -> list[str]:
        """Names of the models that the endpoints list. ConfigError when one of them cannot be used."""
        checks = [check for t in (self.teacher, self.auditor) if (check := getattr(t, "check_endpoint", None))]
        return [name for check in checks for name in check()]

    # -- on the teachers' threads

    def _on_first(self, here: StagedRound) -> None:
        chosen = self._choose(here.first.labels)
        if not chosen:
            here.future.set_result(replace(here.first, teacher=self.name))
            return
        queries = [here.first.labels[i].query for i in chosen]
        batch = QueryBatch(here.batch.round, queries, here.first.kind)
        self._then(self.auditor.submit(batch), here, self._on_audited, chosen)

    def _choose(self, rated: Sequence[Label]) -> list[int]:
        """Labels worth an audit: at positions, and with answers, that no audit was near; high ones first."""
        may = [i for i, r in enumerate(rated) if not is_outage(r.reason)]
        with self._lock:
            self._seen += len(may)
            count = min(round(self._config.share * self._seen) - len(self._given), len(may))
            if count <= 0:
                return []
            known = [rated[i].query[-1].proprio_part(EE_POSITION) for i in may]
            places = np.array([np.zeros(3) if place is None else place[-1] for place in known], float)
            given = np.array([rated[i].value for i in may])
            worth = 0.5 + self.kind.part.stakes(given, self.n_classes)
            apart = np.full(len(may), _FAR)
            for place, said in zip(self._places, self._given):
                apart = np.minimum(apart, self._apart(places, given, place, said))
            chosen: list[int] = []
            for _ in range(count):
                best = int(np.where(np.isin(np.arange(len(may)), chosen), -1.0, worth * apart).argmax())
                chosen.append(best)
                apart = np.minimum(apart, self._apart(places, given, places[best], given[best]))
            self._places = np.concatenate([self._places, places[chosen]])
            self._given = np.concatenate([self._given, given[chosen]])
        return [may[i] for i in chosen]

    def _apart(self, places: np.ndarray, given: np.ndarray, place: np.ndarray, said: int) -> np.ndarray:
        """How different segments are from one, in places; another answer of the teacher is as good as two of them."""
        return np.linalg.norm(places - place, axis=1) / self._config.spacing_m + 2.0 * (given != said)

    def _on_audited(self, here: StagedRound, chosen: list[int], answer: LabelBatch) -> None:
        rated, outcomes = list(here.first.labels), []
        for index, audit in zip(chosen, answer.labels):
            before = rated[index]
            with self._lock:
                self._note(before.value, audit.value)
            if audit.value == NO_LABEL:
                continue
            rated[index] = replace(before, value=audit.value, reason="", probabilities=None, audited=True)
            outcomes.append(Outcome(before.query, audit.value, "", {"teacher": before.value}))
        if self._record is not None and outcomes:
            self._record.add(here.batch.round, outcomes)
        here.future.set_result(replace(here.first, labels=rated, teacher=self.name))

    def _note(self, said: int, audit: int) -> None:
        if audit == NO_LABEL:
            self._counts["unanswered"] += 1
            return
        self._counts["audits"] += 1
        if said != NO_LABEL:
            self._counts["compared"] += 1
            self._counts["agreement" if said == audit else "too_high" if said > audit else "too_low"] += 1
