# SPDX-License-Identifier: Apache-2.0
"""Asking again, and otherwise, before a high rating is believed.

A policy moves to wherever the teacher rates too high, so a high rating that is wrong costs more than a low one. Each
high rating is therefore put to the same model in another way (another wording, a mirrored image, a detail), until
one class has as many votes as are needed. A view cluster that is misjudged in one way only is found out so; one that
is misjudged in every way is not. See docs/records/systematic_errors.md for what that is worth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, QueryBatch
from erl_vlm_ros.feedback.teacher_configs import ReratingConfig
from erl_vlm_ros.feedback.teachers.staged import StagedRound, StagedTeacher

DISAGREE = "rerating_disagrees"
FIGURES = ("rerated", "rerate_queries", "rerate_answered", "rerate_disagreed", "rerate_changed", "rerate_undecided")


class ReratingTeacher(StagedTeacher):
    """A teacher whose high ratings are asked about again; offers what every teacher offers.

    Args:
        teacher: rates first.
        others: name -> who asks in another way (a VariedTeacher, for instance), in this order while votes are
            missing. They share the first one's budget when they share its ledger. All are closed together.
    """

    def __init__(self, teacher: Any, others: Mapping[str, Any], config: ReratingConfig | None = None) -> None:
        self._config = config or ReratingConfig()
        if len(others) + 1 < self._config.votes:
            text = (
                f"rerate.votes is {self._config.votes}, but there are only {len(others) + 1} ways to ask; "
                "name more rerate.variations"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.rerate.votes")
        super().__init__(teacher, list(others.values()))
        self._others = dict(others)
        n = self.n_classes
        given = self._config.from_class
        if given is not None and given >= n:
            text = f"rerate.from_class {given} is beyond the {n} classes"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.rerate.from_class")
        at_stake = self.kind.part.stakes(np.arange(n), n) >= 0.5  # the classes that may do the most harm
        self._from_class = int(at_stake.argmax()) if given is None else given

    @property
    def budget_left(self) -> int:
        """Ratings that may still be asked for."""
        return min(t.budget_left for t in self._all)

    def stats(self) -> dict[str, float]:
        """The first teacher's figures, with the outcomes as they were handed over, and what asking again brought.

        rerated: segments asked about again; rerate_queries: answers it took; rerate_disagreed: the second answer, of
        rerate_answered, was another one; rerate_changed: another class was believed; rerate_undecided: none had enough
        votes.
        """
        figures = dict(self.teacher.stats())
        for other in self._others.values():
            for key, value in other.stats().items():
                if key in ("tokens_in", "tokens_out") or key.startswith("attempt_"):
                    figures[key] = figures.get(key, 0.0) + value
        with self._lock:
            counts = dict(self._counts)
        figures |= {key: float(counts.get(key, 0)) for key in FIGURES}
        figures["rerate_disagreement"] = counts.get("rerate_disagreed", 0) / max(counts.get("rerate_answered", 0), 1)
        figures["budget_left"] = float(self.budget_left)
        return figures

    def texts(self) -> dict[str, str]:
        """Facts for diagnostics that are no numbers."""
        texts = getattr(self.teacher, "texts", dict)()
        return {**texts, "rerating": ", ".join(self._others)}

    def __getattr__(self, name: str) -> Any:
        # what only the first teacher offers (a check of its endpoint, for instance)
        if name.startswith("_") or name == "teacher":
            raise AttributeError(name)
        return getattr(self.teacher, name)

    # -- on the teachers' threads

    def _on_first(self, here: StagedRound) -> None:
        # a query may have parts: then there are more labels than queries
        votes = [[r.value] if r.value >= self._from_class else [] for r in here.first.labels]
        with self._lock:
            self._counts["rerated"] += sum(map(len, votes))
        self._ask(here, votes, list(self._others.values()))

    def _ask(self, here: StagedRound, votes: list[list[int]], left: list[Any]) -> None:
        open_ = [i for i, given in enumerate(votes) if given and self._winner(given) is None]
        if not open_ or not left:
            rated = [self._outcome(r, given) for r, given in zip(here.first.labels, votes)]
            here.future.set_result(replace(here.first, labels=rated))
            return
        teacher, rest = left[0], left[1:]
        queries = [here.first.labels[i].query for i in open_]
        with self._lock:
            self._counts["rerate_queries"] += len(queries)
        batch = QueryBatch(here.batch.round, queries, here.first.kind)
        self._then(teacher.submit(batch), here, self._on_again, votes, open_, rest)

    def _on_again(
        self, here: StagedRound, votes: list[list[int]], asked: list[int], left: list, answer: LabelBatch
    ) -> None:
        for index, rated in zip(asked, answer.labels):
            given = votes[index]
            if rated.value == NO_LABEL:
                continue
            if len(given) == 1:
                with self._lock:
                    self._counts["rerate_answered"] += 1
                    self._counts["rerate_disagreed"] += rated.value != given[0]
            given.append(rated.value)
        self._ask(here, votes, left)

    def _winner(self, votes: Sequence[int]) -> int | None:
        rating, count = Counter(votes).most_common(1)[0]
        return rating if count >= self._config.votes else None

    def _outcome(self, first: Label, votes: list[int]) -> Label:
        if not votes:
            return first
        winner = self._winner(votes)
        with self._lock:
            self._counts["rerate_changed"] += winner is not None and winner != first.value
            self._counts["rerate_undecided"] += winner is None
        if winner is not None:
            return first if winner == first.value else replace(first, value=winner, probabilities=None)
        if self._config.undecided == "abstain":
            return replace(first, value=NO_LABEL, reason=DISAGREE, probabilities=None)
        shares = np.bincount(votes, minlength=self.n_classes).astype(np.float32) / len(votes)
        return replace(first, value=int(shares.argmax()), probabilities=shares)
