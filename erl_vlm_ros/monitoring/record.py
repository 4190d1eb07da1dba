# SPDX-License-Identifier: Apache-2.0
"""The figures of a run, from what the monitor hears: ratings against truth, evaluations, speed, time left."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.query import RATING, LabelBatch
from erl_vlm_ros.monitoring.evaluation import Evaluation

SPEED_WINDOW_S = 30.0  # over which the shown steps/s is measured
MAX_TRUTH = 400_000  # frames whose ground truth is kept


class RunRecord:
    """Collects; ``summary`` and ``progress`` give plain dictionaries. Times: wall seconds of the run.

    Args:
        task: name; class_names: n -> names, worst first; max_steps, max_ratings: the budgets.
        success_source: what labels episodes where there is no ground truth, in words.
        true_class: (kind of feedback, truths about a query's segments, n) -> the right class; None: not known.
        max_updates: the budget of a run that makes no steps; None: the run is counted in steps.
        recorded_episodes: those from before the run; stamps of their frames are of another clock.
        max_episodes: demonstrations that a run gathers; None: it gathers none.
    """

    def __init__(
        self,
        task: str,
        seed: int,
        class_names: Mapping[int, list[str]],
        max_steps: int,
        max_ratings: int,
        now: float,
        success_source: str = "",
        true_class: Callable[[str, Sequence[Mapping[str, float]], int], int | None] | None = None,
        max_updates: int | None = None,
        recorded_episodes: int = 0,
        max_episodes: int | None = None,
    ):
        self.task, self.seed, self._success_source = task, seed, success_source
        self.class_names, self._true_class = dict(class_names), true_class or _true_rating
        self.max_steps, self.max_ratings = max_steps, max_ratings
        self.max_updates, self.max_episodes = max_updates, max_episodes
        self.kept_episodes = self.kept_successes = 0  # demonstrations
        self.env_steps = self.episodes = self.updates = 0
        self.ratings_requested = self.ratings_valid = self.ratings_judged = self.ratings_right = 0
        self.n_classes = 0
        self.kind = ""  # of the labels that mix and n_classes are of
        self.teachers: list[str] = []  # who rated, in the order heard of
        self.rounds: list[int] = []
        self.mix: list[int] = []  # valid ratings a class
        self.mix_history: list[tuple[int, list[int]]] = []  # (env_steps, ratings a class of that round)
        self.camera_spread: list[tuple[float, float]] = []  # mean and longest of each episode, s; of several cameras
        self.returns: list[tuple[int, float]] = []  # (env_steps, episode return under the learned reward)
        self.training_rates: list[
            tuple[int, float]
        ] = []  # (env_steps, running share of successes in training episodes)
        self.evaluations: list[Evaluation] = []
        self.state = "starting"
        self.detail = ""
        self.last_rating = ""
        self._wall_before = 0.0
        self._first_episode = recorded_episodes  # whose truth is heard in this part of the run
        self._started = now
        self._truth: dict[int, dict[str, float]] = {}
        # Evaluation episodes, and (kind, stamps, class, n) of labels, whose frames have no truth yet.
        self._waiting: list[tuple[Evaluation, int]] = []
        self._unjudged: list[tuple[str, list[int], int, int]] = []
        self._last_index = math.inf
        self._speed: deque[tuple[float, int]] = deque()

    def wall_s(self, now: float) -> float:
        """Seconds this run has taken so far, earlier parts of a resumed run included."""
        return self._wall_before + now - self._started

    # -- what is heard

    def add_truth(self, stamp: int, values: Mapping[str, float]) -> None:
        """Ground truth of the frame of that stamp (ns): success, progress, class_2 .. class_5."""
        self._truth[stamp] = dict(values)
        if len(self._truth) > MAX_TRUTH:
            del self._truth[next(iter(self._truth))]
        if self._waiting or self._unjudged:
            self._judge()

    def add_labels(self, batch: LabelBatch) -> None:
        """Count a round of labels and compare it with the truth about each segment's last frame."""
        if batch.round in self.rounds:
            return  # history that a latched topic replays
        self.rounds.append(batch.round)
        own = not self.kind or batch.kind == self.kind  # the mix is of one kind: that of the first round
        self.kind = self.kind or batch.kind
        self.n_classes = batch.n_classes if own else self.n_classes
        if batch.teacher and batch.teacher not in self.teachers:
            self.teachers.append(batch.teacher)
        self.ratings_requested += batch.requested
        self.mix += [0] * (batch.n_classes - len(self.mix)) * own
        if batch.classes:
            self.class_names[batch.n_classes] = list(batch.classes)
        here = [0] * batch.n_classes
        names = self.class_names.get(batch.n_classes, [])
        for rated in batch.valid:
            self.ratings_valid += 1
            here[rated.value] += 1
            if all(self._has_truth(segment.id) for segment in rated.query):
                stamps = [int(segment.stamps[-1]) for segment in rated.query]
                self._unjudged.append((batch.kind, stamps, rated.value, batch.n_classes))
            self.last_rating = names[rated.value] if rated.value < len(names) else str(rated.value)
        if own:
            self.mix = [a + b for a, b in zip(self.mix, here)]
            self.mix_history.append((self.clock, here))
        self._judge()

    def _has_truth(self, segment_id: str) -> bool:
        """False for frames from before a resume: the simulation's clock began again, so stamps repeat."""
        found = re.match(r"e(\d+)_", segment_id)
        return found is None or int(found.group(1)) >= self._first_episode

    def add_metrics(self, node: str, values: Mapping[str, float], now: float) -> None:
        """Figures that a node published: counters, returns and shares of successes are used here."""
        steps, episodes = _finite(values, "env_steps"), _finite(values, "episodes")
        if steps is not None:
            self.set_steps(int(steps), now)
        self.episodes = max(self.episodes, int(episodes or 0))
        updates = _finite(values, "updates")
        if updates is not None:
            self.updates = max(self.updates, int(updates))
            if self.max_updates is not None:
                if not self.updates:
                    self._speed.clear()  # labels are waited for
                self._pace(self.updates, now)
        for name, kept in (("episode_return", self.returns), ("success_share", self.training_rates)):
            value = _finite(values, name)
            if value is not None and kept[-1:] != [(self.env_steps, value)]:
                kept.append((self.env_steps, value))
        self.add_kept(values)
        spread, most = _finite(values, "camera_spread_s"), _finite(values, "camera_spread_max_s")
        if spread is not None and most is not None:
            self.camera_spread.append((spread, most))
        share = _finite(values, "evaluation_success_share")
        if share is not None and self.evaluations:
            self.evaluations[-1].share = share

    def add_kept(self, said: Mapping[str, Any]) -> None:
        """Demonstrations that were kept so far, where ``said`` tells."""
        for name in ("kept_episodes", "kept_successes"):
            value = _finite(said, name)
            if value is not None:
                setattr(self, name, int(value))

    def set_steps(self, steps: int, now: float) -> None:
        """Environment steps of the whole run so far; only ``go_back`` makes it less."""
        self.env_steps = max(self.env_steps, steps)
        if self.max_updates is None:
            self._pace(self.env_steps, now)

    @property
    def clock(self) -> int:
        """What the run is counted in: environment steps, or updates where it makes no steps."""
        return self.env_steps if self.max_updates is None else self.updates

    def _pace(self, count: int, now: float) -> None:
        self._speed.append((now, count))
        while now - self._speed[0][0] > SPEED_WINDOW_S:
            self._speed.popleft()

    def go_back(self, steps: int, episodes: int) -> None:
        """The run continues from an earlier point (its learner was killed): what came after is forgotten, but for
        the ratings, which are kept elsewhere, too."""
        self.env_steps, self.episodes = steps, episodes
        self._first_episode = min(self._first_episode, episodes)
        self._speed.clear()
        self.returns = [entry for entry in self.returns if entry[0] <= steps]
        self.training_rates = [entry for entry in self.training_rates if entry[0] <= steps]
        self.evaluations = [e for e in self.evaluations if e.env_steps <= steps]
        self._waiting = [(e, stamp) for e, stamp in self._waiting if e.env_steps <= steps]
        self._last_index = math.inf

    def add_evaluation(self, episode: Episode, now: float) -> Evaluation:
        """Count an evaluation episode. A lower episode number than before begins a new evaluation."""
        if episode.index <= self._last_index:
            self.evaluations.append(Evaluation(self.env_steps, self.wall_s(now)))
        self._last_index = episode.index
        evaluation = self.evaluations[-1]
        evaluation.episodes += 1
        label = episode.success
        if label is None:
            self._waiting.append((evaluation, int(episode.stamps[-1])))
            self._judge()
        else:
            evaluation.success.append(label)
        return evaluation

    def success_at(self, stamp: int) -> bool | None:
        """Whether the frame of that stamp (ns) shows success; None when it is not known."""
        truth = self._truth.get(stamp)
        return None if truth is None else truth["success"] > 0.5

    @property
    def teacher(self) -> str | None:
        """Who rated: ``vlm``, ``human``, ``scripted`` (made from the simulation's truth), ...; None before any did."""
        return ", ".join(self.teachers) or None

    @property
    def settled(self) -> bool:
        """Whether every evaluation episode heard of is judged."""
        return not self._waiting

    def _judge(self) -> None:
        waiting, self._waiting = self._waiting, []
        for evaluation, stamp in waiting:
            truth = self._truth.get(stamp)
            if truth is None:
                self._waiting.append((evaluation, stamp))
                continue
            evaluation.success.append(truth["success"] > 0.5)
            evaluation.progress.append(float(truth["progress"]))
        unjudged, self._unjudged = self._unjudged, []
        for label in unjudged:
            kind, stamps, value, n = label
            truths = [self._truth[stamp] for stamp in stamps if stamp in self._truth]
            if len(truths) < len(stamps):
                self._unjudged.append(label)
                continue
            right = self._true_class(kind, truths, n)
            if right is not None:
                self.ratings_judged += 1
                self.ratings_right += int(right == value)

    # -- outputs

    @property
    def rating_accuracy(self) -> float | None:
        """Share of the ratings that agree with the truth; None (a real arm) when no truth is known."""
        return self.ratings_right / self.ratings_judged if self.ratings_judged else None

    @property
    def success_source(self) -> str:
        """Who says what a success is, in words; empty while nothing is judged."""
        if self._truth:
            return "ground truth"
        if any(e.success for e in self.evaluations):
            return self._success_source or "labelled"
        return self._success_source or "by the learned reward" if self.training_rates or self.last_evaluation() else ""

    @property
    def training_success(self) -> float | None:
        """Share of the latest training episodes with success; None where the truth is known."""
        return self.training_rates[-1][1] if self.training_rates and not self._truth else None

    def evaluated(self) -> list[tuple[int, float]]:
        """(env_steps, success rate) of each evaluation with a judged episode."""
        rates = ((e.env_steps, e.success_rate) for e in self.evaluations)
        return [(steps, rate) for steps, rate in rates if rate is not None]

    def last_evaluation(self) -> Evaluation | None:
        """The newest evaluation with a judged episode."""
        judged = [e for e in self.evaluations if e.success_rate is not None]
        return judged[-1] if judged else None

    def steps_per_s(self, now: float) -> float:
        """Steps, or updates where none is made, a second over the last SPEED_WINDOW_S."""
        if len(self._speed) < 2:
            return 0.0
        (then, before), (_, after) = self._speed[0], self._speed[-1]
        return (after - before) / max(now - then, 1e-6)

    def summary(self, now: float) -> dict[str, Any]:
        """What summary.json holds."""
        last, wall = self.last_evaluation(), self.wall_s(now)
        return {
            "task": self.task,
            "seed": self.seed,
            "state": self.state,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "ratings_requested": self.ratings_requested,
            "ratings_valid": self.ratings_valid,
            "rating_accuracy": _rounded(self.rating_accuracy),
            "rating_classes": self.class_names.get(self.n_classes, []),
            "teacher": self.teacher,
            "rating_mix": self.mix,
            "success_rate": None if last is None else last.success_rate,
            "eval_episodes": 0 if last is None else last.judged,
            "success_source": self.success_source,
            "training_success": _rounded(self.training_success),
            "wall_s": round(wall, 1),
            "steps_per_s": round(self.env_steps / max(wall, 1e-6), 2),
            "evaluations": [
                {
                    "env_steps": e.env_steps,
                    "wall_s": round(e.wall_s, 1),
                    "episodes": e.episodes,
                    "success_rate": e.success_rate,
                    "mean_progress": _rounded(sum(e.progress) / len(e.progress)) if e.progress else None,
                }
                for e in self.evaluations
            ],
            **self._spread(),
            **self._gathered(),
        }

    def _gathered(self) -> dict[str, Any]:
        """Demonstrations; nothing of a run that gathers none."""
        if self.max_episodes is None:
            return {}
        return {"kept_episodes": self.kept_episodes, "kept_successes": self.kept_successes}

    def _spread(self) -> dict[str, Any]:
        """How far apart the images of several cameras were, s; nothing of one camera."""
        if not self.camera_spread:
            return {}
        means, most = zip(*self.camera_spread)
        return {"camera_spread_s": round(sum(means) / len(means), 4), "camera_spread_max_s": round(max(most), 4)}

    def progress(self, now: float) -> dict[str, Any]:
        """What progress.json holds: the summary's figures and those of a live line."""
        last, speed = self.last_evaluation(), self.steps_per_s(now)
        most = self.max_steps if self.max_updates is None else self.max_updates
        left = (most - self.clock) / speed if speed > 0 else None
        if self.max_episodes is not None:
            kept = self.kept_episodes
            left = self.wall_s(now) * (self.max_episodes - kept) / kept if kept else None
        return {
            "state": self.state,
            "detail": self.detail,
            "env_steps": self.env_steps,
            "max_steps": self.max_steps,
            "updates": self.updates,
            "max_updates": self.max_updates,
            "max_episodes": self.max_episodes,
            "kept_episodes": self.kept_episodes,
            "kept_successes": self.kept_successes,
            "episodes": self.episodes,
            "episode_return": self.returns[-1][1] if self.returns else None,
            "ratings_requested": self.ratings_requested,
            "ratings_valid": self.ratings_valid,
            "max_ratings": self.max_ratings,
            "teacher": self.teacher,
            "rating_mix": self.mix,
            "rating_accuracy": _rounded(self.rating_accuracy),
            "success_rate": None if last is None else last.success_rate,
            "success_at": None if last is None else last.env_steps,
            "training_success": _rounded(self.training_success),
            "steps_per_s": round(speed, 2),
            "left_s": None if left is None else round(max(left, 0.0), 1),
            "wall_s": round(self.wall_s(now), 1),
        }

    # -- resume

    _KEPT = (
        "env_steps", "episodes", "updates", "ratings_requested", "ratings_valid", "ratings_judged", "ratings_right",
        "kind", "n_classes", "rounds", "mix", "mix_history", "returns", "training_rates", "teachers",
    )  # fmt: skip

    def state_dict(self, now: float) -> dict[str, Any]:
        """Everything that a resumed run goes on with, as JSON types."""
        kept = {name: getattr(self, name) for name in self._KEPT}
        return {**kept, "wall_s": self.wall_s(now), "evaluations": [asdict(e) for e in self.evaluations]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of state_dict. Raises KeyError or TypeError when it is not one."""
        earlier = {
            "teachers": [],
            "updates": 0,
            "kind": "",
            "training_rates": state.get("told", []),
        }  # as versions before have it
        state = {**earlier, **state}
        for name in self._KEPT:
            setattr(self, name, state[name])
        self.mix_history = [(int(s), list(m)) for s, m in state["mix_history"]]
        self.returns = [(int(s), float(r)) for s, r in state["returns"]]
        self.training_rates = [(int(s), float(r)) for s, r in self.training_rates]
        self._wall_before = float(state["wall_s"])
        self._first_episode = self.episodes
        self.evaluations = [Evaluation(**e) for e in state["evaluations"]]


def _finite(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _true_rating(kind: str, truths: Sequence[Mapping[str, float]], n_classes: int) -> int | None:
    return int(truths[-1][f"class_{n_classes}"]) if kind == RATING else None
