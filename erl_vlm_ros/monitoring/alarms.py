# SPDX-License-Identifier: Apache-2.0
"""Training alarms: signatures of learning that goes wrong, from figures and ratings. No ROS.

docs/alarms.md has the table of what each means and what to do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.data.segment import place_of

OK, WARN, ERROR = range(3)  # as in diagnostic_msgs/DiagnosticStatus

FIRST_RATINGS = 100  # before so many valid ratings a mix says nothing
ALL_BAD = 0.97  # share of the lowest class
TOP_BY, TOP_SHARE = 600, 0.01  # after so many ratings the top class should have this share
FLAT = 0.02  # standard deviation of all rewards in the buffer
ROUGH = 0.75  # share of the reward's variance along a good episode that lies between neighbouring frames; noise: 1
LEAST_RANGE = (
    0.4  # of the reward along an episode: with less, an end effector that dithers at the object looks the same
)
PAIRS, CONTRADICTING = 40, 0.5  # neighbouring rated frames; share of them two classes apart
LEAST_ASKED, DISAGREEING = 20, 0.5  # segments asked about again; share where the second answer was another
MOVED, LEAST_STD = 2.0, 0.12  # recent ensemble deviation against the whole buffer's, and at least
VALID_WARN, VALID_ERROR, LAST_ASKED = 0.7, 0.3, 100
FRESH_ROUNDS, FRESH_SKILL = 4, 0.0
CLONING, CLONING_AFTER = 0.95, 1000  # effective share of the advantage weights, after so many updates: before all is 0
DRIFT, DRIFT_AFTER = 0.2, 8  # mean change of reward with a new model, after so many models


@dataclass(frozen=True)
class AlarmState:
    """One alarm now; ``text`` tells the figures, and nothing when it is OK."""

    name: str
    level: int
    text: str = ""


class TrainingAlarms:
    """Feed it what the monitor hears; ``check`` gives every alarm with its level."""

    def __init__(self) -> None:
        self._figures: dict[str, dict[str, float]] = {}
        self._rounds: deque[tuple[int, int, np.ndarray]] = deque(maxlen=1000)  # requested, valid, counts
        self._seen_rounds: set[int] = set()
        self._levels: dict[tuple[int, int], int] = {}  # (episode, step) -> rating
        self._pairs: deque[bool] = deque(maxlen=200)
        self._episodes: deque[np.ndarray] = deque(maxlen=40)
        self._asked_again: deque[tuple[float, float]] = deque(maxlen=6)  # (answered, disagreed) so far, each round
        self._fresh: deque[float] = deque(maxlen=FRESH_ROUNDS)
        self._drifts: deque[float] = deque(maxlen=3)
        self._shares: deque[float] = deque(maxlen=5)
        self._fresh_round = self._drift_version = -1.0

    # -- what is heard

    def metrics(self, node: str, values: Mapping[str, float]) -> None:
        """A node's figures, as on learning/metrics."""
        known = self._figures.setdefault(node, {})
        known.update({k: v for k, v in values.items() if math.isfinite(v)})
        if node == "reward_trainer" and known.get("round", -1.0) > self._fresh_round and "fresh_skill" in values:
            self._fresh_round = known["round"]
            self._fresh.append(known["fresh_skill"])
        if node == "learner" and "effective_share" in values and known.get("updates", 0.0) >= CLONING_AFTER:
            self._shares.append(known["effective_share"])
        version = known.get("reward_version", -1.0)
        if node == "learner" and version > self._drift_version and "reward_drift" in values:
            self._drift_version = version
            self._drifts.append(known["reward_drift"])

    def labels(self, batch: LabelBatch) -> None:
        """A round of labels; a round that was heard is ignored."""
        if batch.round in self._seen_rounds:
            return
        self._seen_rounds.add(batch.round)
        levels = [label for label in batch.valid if len(label.query) == 1]  # of a comparison no class is a low one
        counts = np.bincount([label.value for label in levels], minlength=batch.n_classes)
        self._rounds.append((batch.requested, len(batch.valid), counts))
        apart = 2 if batch.n_classes > 2 else 1
        for rated in levels:
            place = place_of(rated.segment.id)
            if place is None:
                continue
            episode, step, _ = place
            for other in (self._levels.get((episode, step - 1)), self._levels.get((episode, step + 1))):
                if other is not None:
                    self._pairs.append(abs(other - rated.value) >= apart)
            self._levels[episode, step] = rated.value
        rater = self._figures.get("vlm_rater", {})
        disagreed, answered = rater.get("rerate_disagreed", 0.0), rater.get("rerate_answered", 0.0)
        self._asked_again.append((answered, disagreed))

    def rewards(self, rewards: np.ndarray) -> None:
        """Learned rewards [T] along a training episode."""
        if len(rewards) > 2 and np.isfinite(rewards).all():
            self._episodes.append(np.asarray(rewards, float))

    # -- outputs

    def check(self) -> list[AlarmState]:
        """All alarms."""
        return [AlarmState(name, *signature(self)) for name, signature in SIGNATURES.items()]

    def raised(self) -> list[AlarmState]:
        """Those that are not OK."""
        return [alarm for alarm in self.check() if alarm.level != OK]

    # -- signatures: (level, text)

    def _counts(self) -> np.ndarray:
        size = max((len(c) for _, _, c in self._rounds), default=0)
        return sum((np.pad(c, (0, size - len(c))) for _, _, c in self._rounds), np.zeros(size, int))

    def _all_bad(self) -> tuple[int, str]:
        counts = self._counts()
        if counts.sum() < FIRST_RATINGS or counts[0] / counts.sum() < ALL_BAD:
            return OK, ""
        return WARN, f"{counts[0] / counts.sum():.0%} of {counts.sum()} ratings are the lowest class"

    def _no_top(self) -> tuple[int, str]:
        counts = self._counts()
        if counts.sum() < TOP_BY or counts[-1] / counts.sum() >= TOP_SHARE:
            return OK, ""
        return WARN, f"only {counts[-1]} of {counts.sum()} ratings are the top class: what it looks like is not known"

    def _few_valid(self) -> tuple[int, str]:
        asked = valid = 0
        for requested, good, _ in reversed(self._rounds):
            asked, valid = asked + requested, valid + good
            if asked >= LAST_ASKED:
                break
        if asked < min(LAST_ASKED, 20) or valid / asked >= VALID_WARN:
            return OK, ""
        return ERROR if valid / asked < VALID_ERROR else WARN, f"{valid} of the last {asked} queries gave a rating"

    def _collapse(self) -> tuple[int, str]:
        learner = self._figures.get("learner", {})
        spread = learner.get("reward_spread")
        if spread is None or not learner.get("learning") or spread >= FLAT:
            return OK, ""
        return ERROR, f"all rewards are nearly the same (standard deviation {spread:.3f}): nothing tells good from bad"

    def _noisy(self) -> tuple[int, str]:
        if len(self._episodes) < 30:
            return OK, ""
        earned = np.array([e.sum() for e in self._episodes])
        good = np.quantile(earned, 0.8)
        best = [e for e, r in zip(self._episodes, earned) if r >= good and np.ptp(e) >= LEAST_RANGE]
        rough = [float((np.diff(e) ** 2).mean() / (2 * e.var())) for e in best]  # von Neumann's ratio, halved
        if len(rough) < 5 or np.median(rough) < ROUGH:
            return OK, ""
        share = np.median(rough)
        return WARN, f"along the best episodes {share:.0%} of the reward's variance lies between neighbouring frames"

    def _contradicting(self) -> tuple[int, str]:
        if len(self._pairs) >= PAIRS and np.mean(self._pairs) > CONTRADICTING:
            share, pairs = np.mean(self._pairs), len(self._pairs)
            return WARN, f"{share:.0%} of {pairs} pairs of neighbouring frames are rated far apart"
        return OK, ""

    def _disagreeing(self) -> tuple[int, str]:
        if len(self._asked_again) < 2:
            return OK, ""
        (before, split_before), (now, split) = self._asked_again[0], self._asked_again[-1]
        asked, share = now - before, (split - split_before) / max(now - before, 1.0)
        if asked < LEAST_ASKED or share <= DISAGREEING:
            return OK, ""
        return WARN, f"asked again in another way, {share:.0%} of the last {asked:.0f} high ratings were not confirmed"

    def _uncertain(self) -> tuple[int, str]:
        learner = self._figures.get("learner", {})
        here, all_ = learner.get("reward_std_recent"), learner.get("reward_std")
        if here is None or not all_ or not learner.get("learning") or here < max(MOVED * all_, LEAST_STD):
            return OK, ""
        times = f"{here:.2f}, {here / all_:.1f} times the usual"
        return WARN, f"where the policy is now the members of the reward ensemble differ by {times}"

    def _stale_reward(self) -> tuple[int, str]:
        if len(self._fresh) < FRESH_ROUNDS or np.mean(self._fresh) >= FRESH_SKILL:
            return OK, ""
        return WARN, (
            f"the reward model foretells fresh ratings hardly better than a constant does "
            f"({np.mean(self._fresh):.0%} less error over {FRESH_ROUNDS} rounds)"
        )

    def _drift(self) -> tuple[int, str]:
        version = self._figures.get("learner", {}).get("reward_version", 0.0)
        if version < DRIFT_AFTER or len(self._drifts) < 3 or min(self._drifts) < DRIFT:
            return OK, ""
        return WARN, f"each new reward model moves the rewards by {np.mean(self._drifts):.2f} on average"

    def _cloning(self) -> tuple[int, str]:
        if len(self._shares) < 3 or np.mean(self._shares) < CLONING:
            return OK, ""
        share = np.mean(self._shares)
        alike = f"the advantages weigh all actions nearly alike (effective share {share:.2f})"
        return WARN, f"{alike}: this is behaviour cloning"


SIGNATURES: dict[str, Callable[[TrainingAlarms], tuple[int, str]]] = {
    "all_bad": TrainingAlarms._all_bad,
    "no_top_class": TrainingAlarms._no_top,
    "few_valid_ratings": TrainingAlarms._few_valid,
    "reward_collapse": TrainingAlarms._collapse,
    "noisy_reward": TrainingAlarms._noisy,
    "contradicting_teacher": TrainingAlarms._contradicting,
    "unconfirmed_ratings": TrainingAlarms._disagreeing,
    "uncertain_region": TrainingAlarms._uncertain,
    "stale_reward": TrainingAlarms._stale_reward,
    "reward_drift": TrainingAlarms._drift,
    "cloning": TrainingAlarms._cloning,
}
