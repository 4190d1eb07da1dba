# SPDX-License-Identifier: Apache-2.0
"""Feedback of several kinds: each batch is answered by the teacher of its own kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

from erl_vlm_ros.data.query import LabelBatch, QueryBatch
from erl_vlm_ros.feedback.kinds import BadQuery
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.waiting import Waiting

_SUMS = ("requested", "valid", "no_rating", "in_flight", "rounds_waiting", "from_ledger", "tokens_in", "tokens_out",
         "audits", "audit_unanswered", "audits_waiting")  # fmt: skip
_SUMMED = ("reason_", "attempt_")  # beginnings


class ByKind(Waiting):
    """Offers what every teacher offers. The first teacher's kind and classes stand for all where one is asked for.

    Args:
        teachers: by the name of the kind that each answers; those that ask a model share a ledger, hence its budget.
        also_close: is closed with them.
    """

    def __init__(self, teachers: Mapping[str, Teacher], also_close: Callable[[], None] | None = None) -> None:
        self.teachers, self._also_close = dict(teachers), also_close
        first = next(iter(self.teachers.values()))
        self.kind, self.class_names = first.kind, first.class_names

    def submit(self, batch: QueryBatch) -> Future[LabelBatch]:
        """As of every teacher. BadQuery: none answers this kind."""
        return self.of(batch.kind).submit(batch)

    def of(self, kind: str) -> Teacher:
        """The teacher of a kind. BadQuery: there is none."""
        if kind not in self.teachers:
            known = " and ".join(self.teachers)
            raise BadQuery("bad_query", f"queries are of kind {kind}, vlm_rater answers {known}")
        return self.teachers[kind]

    @property
    def budget_left(self) -> int:
        """Queries of the kind of which fewest may still be put: the teachers share a budget."""
        return min(teacher.budget_left for teacher in self.teachers.values())

    def stats(self) -> dict[str, float]:
        """Counts of labels and tokens are sums, classes are the first kind's; those of another have its name before
        them. What the teachers share, budget and endpoint, is the worst that one says."""
        out: dict[str, float] = {}
        for i, (name, teacher) in enumerate(self.teachers.items()):
            for key, value in teacher.stats().items():
                if key in _SUMS or key.startswith(_SUMMED):
                    out[key] = out.get(key, 0.0) + value
                elif i and key.startswith("rated_class_"):
                    out[f"{name}_{key}"] = value
                elif key == "budget_left":
                    out[key] = min(out.get(key, value), value)
                else:
                    out[key] = max(out.get(key, value), value)
        return out

    def texts(self) -> dict[str, str]:
        """The first's, with what went wrong anywhere."""
        out: dict[str, str] = {}
        for teacher in reversed(self.teachers.values()):
            out |= {key: value for key, value in teacher.texts().items() if value or key not in out}
        return out

    def check_endpoint(self) -> list[str]:
        """Names of the models that the endpoints list. ConfigError when one of them cannot be used."""
        checks = [check for t in self.teachers.values() if (check := getattr(t, "check_endpoint", None))]
        return [name for check in checks for name in check()]

    def close(self, grace_s: float = 0.0) -> None:
        """Stop; what is under way gets ``grace_s`` seconds in all."""
        deadline = time.monotonic() + grace_s
        for teacher in self.teachers.values():
            teacher.close(max(0.0, deadline - time.monotonic()))
        if self._also_close is not None:
            self._also_close()


def each(teacher: Teacher) -> Iterator[Teacher]:
    """The teachers of each kind; of one kind the teacher itself."""
    yield from teacher.teachers.values() if isinstance(teacher, ByKind) else (teacher,)
