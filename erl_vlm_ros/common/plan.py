# SPDX-License-Identifier: Apache-2.0
"""How far a run goes, and who says that it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROLLER, LEARNER, COLLECTOR = "policy_controller", "learner", "collector"


@dataclass(frozen=True)
class RunPlan:
    """``max_steps`` environment steps, ``max_updates`` updates, ``max_ratings`` labels asked for, ``max_episodes``
    kept; None: no such limit.

    ``finished_by``: the node whose word on run/state ends the run. Others may say that their own part is done.
    """

    max_steps: int | None = None
    max_updates: int | None = None
    max_ratings: int | None = None
    max_episodes: int | None = None
    finished_by: str = CONTROLLER

    @classmethod
    def of(cls, nodes: Mapping[str, Mapping[str, Any]]) -> RunPlan:
        """The plan of a graph, from its nodes' parameters. With a robot side it ends after steps and the last
        evaluation, by the controller's word; without one, when the learner has done its updates; one that gathers
        demonstrations, once the collector has them."""
        learner = nodes.get(LEARNER, {})
        ratings = learner.get("max_ratings")
        if COLLECTOR in nodes:
            return cls(max_episodes=nodes[COLLECTOR]["episodes"], finished_by=COLLECTOR)
        if CONTROLLER in nodes:
            return cls(max_steps=nodes[CONTROLLER]["max_steps"], max_ratings=ratings)
        return cls(max_updates=learner.get("offline_updates"), max_ratings=ratings, finished_by=LEARNER)

    def over(self, env_steps: int, updates: int) -> bool:
        """Whether a limit is reached that ends the run."""
        steps = self.max_steps is not None and env_steps >= self.max_steps
        return steps or (self.max_updates is not None and updates >= self.max_updates)

    def __str__(self) -> str:
        steps = "" if self.max_steps is None else f"to {self.max_steps:,} steps"
        updates = "" if self.max_updates is None else f"for {self.max_updates:,} updates"
        episodes = "" if self.max_episodes is None else f"{self.max_episodes:,} episodes"
        return " and ".join(filter(None, (steps, updates, episodes))) or "without an end"
