# SPDX-License-Identifier: Apache-2.0
"""Ask raters about the same frames again and again, before a robot moves. The figures are made in ``check_report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.feedback.check.frames import CheckFrames
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.feedback.vlm.variations import VARIATIONS, Variation


@dataclass(frozen=True)
class Candidate:
    """A way to rate: a model with a prompt set, or with a variation of the question (which brings its own prompts)."""

    model: str
    prompts: str
    variation: Variation | None = None

    @property
    def name(self) -> str:
        """For tables and file names."""
        parts = [self.model, self.variation.name if self.variation else self.prompts]
        return "+".join("".join(c if c.isalnum() or c in "-._" else "-" for c in part) for part in parts)


@dataclass
class Answers:
    """What one candidate answered with n classes: ratings int64 [R, N], -1 where there is none, and what it took."""

    candidate: Candidate
    n: int
    ratings: np.ndarray
    reasons: Counter[str] = field(default_factory=Counter)
    tokens_in: float = 0.0  # over all ratings; 0 when the ledger held every answer
    tokens_out: float = 0.0
    latency_s: float = 0.0
    from_ledger: int = 0

    @property
    def asked(self) -> int:
        """Ratings that the endpoint was asked for in this call."""
        return max(self.ratings.size - self.from_ledger, 0)


def make_candidates(models: Sequence[str], prompts: Sequence[str], variations: Sequence[str] = ()) -> list[Candidate]:
    """Every model with every prompt set, and the first model with each variation.

    Raises:
        ConfigError: none at all, one named twice, or an unknown variation.
    """
    unknown = [name for name in variations if name not in VARIATIONS]
    if unknown:
        text = f"--variation {unknown[0]} is unknown; choose from {', '.join(VARIATIONS)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="variation")
    if not models or not prompts:
        raise ConfigError("name at least one --model and one --prompts", code=Code.NOT_GIVEN, parameter="model")
    out = [Candidate(model, prompt) for model in models for prompt in prompts]
    out += [Candidate(models[0], VARIATIONS[name].prompts, VARIATIONS[name]) for name in variations]
    names = [candidate.name for candidate in out]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is named twice", code=Code.DOES_NOT_FIT, parameter="model")
    return out


def ask(
    frames: CheckFrames,
    candidates: Sequence[Candidate],
    classes: Sequence[int],
    repeats: int,
    config: RaterConfig,
    task: Task,
    ledger: Ledger,
    log: Callable[[str], None] = lambda line: None,
) -> list[Answers]:
    """All candidates' answers about all frames, ``repeats`` times each.

    Every repeat is a query of its own. The ledger keeps each, so a check that was cut off goes on where it was, and
    nothing is paid twice.

    Raises:
        ConfigError: the endpoint cannot be reached, the task lacks a number of classes, or the budget is too small.
    """
    if repeats < 1:
        raise ConfigError(f"--repeats must be 1 or more, got {repeats}", parameter="repeats")
    wanted = len(frames) * repeats * len(candidates) * len(classes)
    if wanted > config.max_queries:
        text = (
            f"{len(frames)} frames x {repeats} repeats x {len(candidates)} raters x {len(classes)} numbers of classes "
            f"are {wanted} ratings, more than --max-queries {config.max_queries}; raise it, or lower --count"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="max_queries")
    segments = frames.segments(task)
    out, first = [], True
    for candidate in candidates:
        shown = segments if candidate.variation is None else [candidate.variation.segment(s) for s in segments]
        for n in classes:
            answers = Answers(candidate, n, np.full((repeats, len(frames)), -1, np.int64))
            own = replace(config, model=candidate.model, prompts=candidate.prompts, n_classes=n)
            for repeat in range(repeats):
                with VlmRater(own, task, ledger, repeat=repeat + 1) as rater:
                    if first:
                        rater.check_endpoint()
                        first = False
                    before = rater.stats()
                    batch = rater.label_batch(QueryBatch.of(repeat, shown))
                    stats = {k: v - before.get(k, 0.0) for k, v in rater.stats().items()}
                answers.ratings[repeat] = [r.value for r in batch.labels]
                answers.reasons.update(r.reason for r in batch.labels if r.value < 0)
                answers.tokens_in += stats["tokens_in"]
                answers.tokens_out += stats["tokens_out"]
                answers.from_ledger += int(stats["from_ledger"])
                answers.latency_s = max(answers.latency_s, stats["latency_s"])
            valid = float((answers.ratings >= 0).mean())
            log(f"{candidate.name}, n = {n}: {answers.ratings.size} answers, {valid:.0%} valid")
            out.append(answers)
    return out
