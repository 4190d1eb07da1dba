# SPDX-License-Identifier: Apache-2.0
"""How many updates are due: so many a step that was collected, or a number granted to data that was there before."""

from __future__ import annotations

import math
from typing import Any


class UpdatePacer:
    """Counts updates that are due and done. A fraction of an update is kept until it makes a whole one.

    Args:
        updates_per_step: update-to-data ratio.
        episode_steps: length of a full episode, steps.
        max_lag_episodes: episodes that may be started before the updates of those before are done.
    """

    def __init__(self, updates_per_step: float, episode_steps: int, max_lag_episodes: int):
        self._per_step, self._episode_steps, self._max_lag = updates_per_step, episode_steps, max_lag_episodes
        self.pending_updates = 0.0
        self.done = 0

    def collected(self, steps: int) -> None:
        """New steps are there to be learned from."""
        self.pending_updates += self._per_step * steps

    def grant(self, updates: float) -> None:
        """Updates that no new step has to pay for: of data from before learning began, or of a recording."""
        self.pending_updates += updates

    def take(self, most: int) -> int:
        """Up to ``most`` whole updates, which count as done from now on; returns how many."""
        count = min(most, int(self.pending_updates))
        self.pending_updates -= count
        self.done += count
        return count

    def episodes_ahead(self) -> int:
        """How many episodes may be started beyond those that are there; negative: updates must come first."""
        behind = math.ceil(int(self.pending_updates) / max(self._per_step * self._episode_steps, 1e-9))
        return 1 + self._max_lag - behind

    def state_dict(self) -> dict[str, Any]:
        """Counters."""
        return {"pending_updates": self.pending_updates, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.pending_updates, self.done = float(state["pending_updates"]), int(state["done"])
