# SPDX-License-Identifier: Apache-2.0
"""How the policy did when it was tried."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Evaluation:
    """One evaluation of the policy.

    ``success`` of each episode that is judged by the ground truth or has a success label; ``progress`` by the ground
    truth; ``share`` of successes by the learned reward, which counts only where nothing better is known.
    """

    env_steps: int
    wall_s: float
    episodes: int = 0
    success: list[bool] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    share: float | None = None

    @property
    def success_rate(self) -> float | None:
        """Share of the judged episodes that end in success; None when none is judged."""
        return sum(self.success) / len(self.success) if self.success else self.share

    @property
    def judged(self) -> int:
        """How many episodes ``success_rate`` speaks of."""
        return len(self.success) if self.success or self.share is None else self.episodes
