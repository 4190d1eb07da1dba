# SPDX-License-Identifier: Apache-2.0
"""When a round of queries is due and how large it is, within a budget; what became of the rounds before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.query import LabelBatch, QueryBatch, read_pending
from erl_vlm_ros.data.reasons import is_outage


@dataclass(frozen=True)
class RatingPlan:
    """``first`` queries after ``warmup_steps`` environment steps, then ``later`` ones every ``round_steps``; never
    more than ``most`` in all."""

    warmup_steps: int
    round_steps: int
    first: int
    later: int
    most: int


class RatingSchedule:
    """At most one round is under way. Rounds are numbered from 0, and no number is given twice."""

    def __init__(self, plan: RatingPlan):
        self.plan = plan
        self.requested = 0  # queries sent, less those that an outage left unanswered
        self.refunded = 0  # of the round under way
        self.sent = 0  # rounds
        self.done = 0
        self.next_at = plan.warmup_steps  # environment steps
        self.pending: QueryBatch | None = None

    @property
    def waiting(self) -> bool:
        """Whether a round is under way."""
        return self.sent > self.done

    @property
    def over(self) -> bool:
        """Whether no round is under way and none will follow."""
        return not self.waiting and self.requested >= self.plan.most

    def due(self, env_steps: int) -> bool:
        """Whether queries should be picked now: enough new steps, budget left, no round under way."""
        return not self.waiting and env_steps >= self.next_at and self.requested < self.plan.most

    def size(self) -> int:
        """Queries in the next round."""
        return min(self.plan.first if self.sent == 0 else self.plan.later, self.plan.most - self.requested)

    def steps_missing(self, env_steps: int) -> int:
        """Environment steps until the next round is due."""
        goal = self.plan.warmup_steps if self.sent == 0 else self.next_at
        return max(0, goal - env_steps)

    def begin(self, batch: QueryBatch, env_steps: int) -> None:
        """A round numbered ``sent`` goes out; it counts against the budget."""
        self.pending = batch
        self.sent += 1
        self.requested += len(batch.queries)
        self.refunded = 0
        self.postpone(env_steps)

    def postpone(self, env_steps: int) -> None:
        """The next round is due a round's steps from now."""
        self.next_at = env_steps + self.plan.round_steps

    def hasten(self, now: int) -> None:
        """The next round is due at once."""
        self.next_at = min(self.next_at, now)

    def close(self) -> None:
        """No further round: there is nothing left to ask about."""
        self.plan = replace(self.plan, most=self.requested)

    def answered(self, batch: LabelBatch) -> None:
        """Queries that an outage left without an answer do not count against the budget."""
        if self.pending is None or self.pending.round != batch.round or not batch.labels:
            return
        lost = sum(is_outage(label.reason) for label in batch.labels) / len(batch.labels)
        refund = round(lost * len(self.pending.queries))
        self.requested += self.refunded - refund  # the same batch may come again
        self.refunded = refund

    def finish(self, done: int, requested: int = 0) -> None:
        """``done`` rounds are over, with ``requested`` queries in all: more than is known of here after a return to
        an older checkpoint."""
        self.done = max(self.done, done)
        self.sent = max(self.sent, self.done)
        self.requested = max(self.requested, requested)
        if self.pending is not None and self.pending.round < self.done:
            self.pending = None

    _COUNTERS = ("requested", "refunded", "sent", "done", "next_at")

    def state_dict(self) -> dict[str, Any]:
        """Counters, and the round under way."""
        pending = None if self.pending is None else encode(self.pending.to_bundle())
        return {**{name: getattr(self, name) for name in self._COUNTERS}, "pending": pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. ``pending`` is the round that was under way: publish it again."""
        for name in self._COUNTERS:
            setattr(self, name, int(state[name]))
        self.pending = None if state["pending"] is None else read_pending(state["pending"])
