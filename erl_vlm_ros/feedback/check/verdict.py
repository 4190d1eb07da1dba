# SPDX-License-Identifier: Apache-2.0
"""From a rater's figures to words: is it usable with n classes, and why.

The limits come from what learning survives (docs/records/learning.md, benchmarks/teachers.py): independent errors of
20% cost little, of 35% they cost runs; systematic errors in 10% of the view clusters are borne, in more only with
re-rating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

USABLE, WITH_CARE, NOT_USABLE = "usable", "usable with care", "not usable"
LEAST_VALID = 0.8
LEAST_AGREEMENT = 0.6
GOOD_ACCURACY, LEAST_ACCURACY = 0.75, 0.6
SOME_SYSTEMATIC, MUCH_SYSTEMATIC = 0.1, 0.25
SURE = 0.05  # p-value below which systematic errors are taken for real
FALSE_TOP = 0.1  # share of other views that may be called the top class
LEAST_TOP = 0.4  # share of the top class's views that must be called so
LEAST_RISE = 0.4  # rank correlation of rating and time along good trajectories


@dataclass(frozen=True)
class Verdict:
    """``word``: one of the three above; ``reasons``: for and against, in words."""

    word: str
    reasons: tuple[str, ...]


def judge(figures: Mapping[str, Any]) -> Verdict:
    """Verdict on one rater with one n, from its figures as in report.json (NaN or None: not known)."""
    against, careful, fine = [], [], []
    valid, agreement = figures["valid_share"], figures["repeat_agreement"]
    if valid < LEAST_VALID:
        against.append(f"only {valid:.0%} of the answers are a rating at all")
    if known(agreement):
        text = f"repeats agree in {agreement:.0%} of the pairs"
        (against if agreement < LEAST_AGREEMENT else fine).append(text)
    if len(set(figures["mix"])) and sum(c > 0 for c in figures["mix"]) < 2:
        against.append("all answers are the same class: there is nothing to learn from")
    if known(figures.get("accuracy")):
        _by_reference(figures, against, careful, fine)
    elif known(figures.get("progress_correlation")):
        rise = figures["progress_correlation"]
        text = f"ratings follow time along the trajectories with a rank correlation of {rise:.2f}"
        if figures["good"]:
            (against if rise < LEAST_RISE else fine).append(text)
        else:
            fine.append(text + " (says something only if the trajectories do the task well: --good)")
        careful.append("no reference labels: how often it is right is not known, systematic errors least of all")
    else:
        careful.append("no reference labels: how often it is right is not known, systematic errors least of all")
    word = NOT_USABLE if against else WITH_CARE if careful else USABLE
    return Verdict(word, tuple(against + careful + fine))


def _by_reference(figures: Mapping[str, Any], against: list[str], careful: list[str], fine: list[str]) -> None:
    right, base = figures["accuracy"], figures["base_rate"]
    text = f"{right:.0%} right"
    if right < LEAST_ACCURACY:
        against.append(f"{text}; learning needs {LEAST_ACCURACY:.0%}")
    elif right <= base:
        against.append(f"{text}, no better than always naming the most frequent class ({base:.0%})")
    elif right < GOOD_ACCURACY:
        careful.append(f"{text}: plan with twice the ratings, and with runs that fail")
    else:
        fine.append(text)
    found, called = figures["top_recall"], figures["false_top"]
    if known(found) and found < LEAST_TOP:
        against.append(f"the top class is recognised in {found:.0%} of its views: success would go unrewarded")
    if known(called) and called > FALSE_TOP:
        careful.append(f"{called:.0%} of the other views are called the top class: policies go there")
    share, p_value = figures["systematic_share"], figures["systematic_p"]
    if not known(p_value) or figures["like_pairs"] < 10:
        careful.append("too few views of the same cluster to tell systematic errors: give more frames near each other")
        return
    low, high = figures["systematic_interval"]
    text = f"about {share:.0%} ({low:.0%} to {high:.0%}) of the view clusters are misjudged, always in the same way"
    if p_value >= SURE:
        fine.append(f"no sign that errors belong to view clusters (p = {p_value:.2g})")
    elif share > MUCH_SYSTEMATIC:
        against.append(f"{text} (p = {p_value:.2g}): policies move into what is overrated")
    elif share > SOME_SYSTEMATIC:
        fix = "have some ratings audited (vlm_rater.audit.share), or high ones confirmed (vlm_rater.rerate.variations)"
        careful.append(f"{text} (p = {p_value:.2g}): {fix}")
    else:
        fine.append(f"{text} (p = {p_value:.2g})")


def summary(verdicts: Sequence[tuple[str, int, Verdict, float]]) -> list[str]:
    """Lines in words, one a rater, over (rater, n, verdict, information in bit a rating or NaN)."""
    lines = []
    for name in dict.fromkeys(v[0] for v in verdicts):
        own = [v for v in verdicts if v[0] == name]
        good = [v for v in own if v[2].word == USABLE]
        care = [v for v in own if v[2].word == WITH_CARE]
        if not good and not care:
            lines.append(f"{name}: not usable")
            continue
        parts = []
        if good:
            parts.append("usable with " + ", ".join(f"n={v[1]}" for v in good))
        if care:
            parts.append("usable with care with " + ", ".join(f"n={v[1]}" for v in care))
        best = max(good or care, key=lambda v: (v[3] if known(v[3]) else 0.0, v[1]))
        lines.append(f"{name}: {'; '.join(parts)}. Take n={best[1]}")
    return lines


def known(value: Any) -> bool:
    """Whether a figure is a number."""
    return value is not None and not math.isnan(value)
