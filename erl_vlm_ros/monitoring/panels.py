# SPDX-License-Identifier: Apache-2.0
"""Panels of the dashboard: camera, reward, nodes, budget, teacher, alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from erl_vlm_ros.monitoring import draw
from erl_vlm_ros.monitoring.charts import reward_strip
from erl_vlm_ros.monitoring.draw import BLUE, DIM, INK, ORANGE, Box, Colour
from erl_vlm_ros.monitoring.health import ERROR, OK, STALE
from erl_vlm_ros.monitoring.line import duration
from erl_vlm_ros.monitoring.screen import Screen

_ROW = 20


def camera(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """The image, when it was taken, and the last rating."""
    x, y, width, height = box
    draw.rectangle(canvas, box, draw.PANEL)
    if screen.camera is None:
        draw.text(canvas, "no image yet", (x + width // 2, y + height // 2), 18, DIM, align="center")
    else:
        draw.fit_image(canvas, screen.camera, (x, y, width, height - 28))
    draw.text(canvas, screen.camera_note, (x + 12, y + height - 9), 13, DIM, width=width - 200)
    if screen.last_rating:
        words = f"last rating: {screen.last_rating}"
        draw.text(canvas, words, (x + width - 12, y + height - 9), 13, INK, bold=True, align="right")


def reward(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """The learned reward of the image, large, and of each step of the episode."""
    x, y, width, height = box
    draw.panel(canvas, box, "learned reward")
    known = screen.reward is not None
    words, colour = (f"{screen.reward:.2f}", draw.reward_colour(screen.reward)) if known else ("", DIM)
    draw.text(canvas, words, (x + 12, y + 68), 36, colour, bold=True)
    draw.text(canvas, screen.reward_note, (x + width - 12, y + 22), 13, DIM, align="right", width=width - 150)
    if screen.class_names:
        worst, best = screen.class_names[0], screen.class_names[-1]
        draw.text(canvas, f"0 {worst} … 1 {best}", (x + 12, y + height - 10), 12, DIM, width=width - 24)
    reward_strip(canvas, (x + 118, y + 32, width - 130, height - 58), screen.rewards, len(screen.class_names))


def nodes(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """Each node with a mark and a word; those in trouble say why."""
    x, y, width, height = box
    draw.rectangle(canvas, box, draw.PANEL)
    rows = min(max(-(-len(screen.health) // 2), 4), (height - 8) // 21)
    column = (width - 16) // 2
    for i, (node, health) in enumerate(list(screen.health.items())[: 2 * rows]):
        left, base = x + 12 + i // rows * column, y + 22 + i % rows * 21
        draw.symbol(canvas, (left + 7, base - 5), health.level)
        lost = health.level >= ERROR
        name = draw.fit(node, column - 30, 13, lost)
        draw.text(canvas, name, (left + 22, base), 13, INK, bold=lost)
        start = 30 + draw.width_of(name, 13, lost)
        words = "" if health.level == OK and health.text == "running" else health.text
        if health.level == STALE:
            words = "STALE" if health.age_s is None else f"STALE {health.age_s:.0f} s"
        room = column - start - 6
        if room > 20:
            draw.text(canvas, words, (left + start, base), 12, ORANGE if health.level else DIM, width=room)


def budget(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """Environment steps and ratings against what is allowed."""
    x, y, width, _ = box
    draw.rectangle(canvas, box, draw.PANEL)
    p = screen.progress
    left = p.get("left_s")
    speed = f"{p['steps_per_s']:.3g}/s" + ("" if left is None else f", {duration(left)} left")
    rows = [("steps", p["env_steps"], p["max_steps"], speed)]
    rows.append(("ratings", p["ratings_valid"], p["max_ratings"], _valid_share(screen)))
    for i, (name, used, limit, note) in enumerate(rows):
        base = y + 24 + 54 * i
        draw.text(canvas, f"{name} {used:,} of {limit:,}", (x + 12, base), 15, INK)
        draw.text(canvas, note, (x + width - 12, base), 13, DIM, align="right")
        draw.bar(canvas, (x + 12, base + 9, width - 24, 12), used / limit if limit else 0.0, BLUE)


def _valid_share(screen: Screen) -> str:
    asked, valid = screen.progress["ratings_requested"], screen.progress["ratings_valid"]
    return f"{valid / asked:.0%} valid" if asked else ""


def teacher(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """Who rates, how well and how fast, and what it has cost."""
    x, y, width, height = box
    draw.panel(canvas, box, "teacher")
    name = screen.teacher.get("teacher", "")
    if "scripted" in name:
        words = "SCRIPTED from ground truth"
        draw.rectangle(canvas, (x + 92, y + 8, width - 104, 22), ORANGE)
        draw.text(canvas, words, (x + 100, y + 24), 13, draw.BLACK, bold=True, width=width - 120)
    else:
        model = screen.teacher.get("model", "")
        who = ", ".join(part for part in (name, model) if part) or "not heard yet"
        draw.text(canvas, who, (x + width - 12, y + 22), 14, INK, bold=True, align="right", width=width - 100)
    base = y + 50
    for label, used, limit, unit in _spending(screen):
        of = f" of {_amount(limit, unit)}" if limit else ""
        draw.text(canvas, f"{label} {_amount(used, unit)}{of}", (x + 12, base), 13, INK)
        if limit:
            share = used / limit
            words, colour = f"{max(1 - share, 0):.0%} left", ORANGE if share > 0.9 else DIM
            draw.text(canvas, words, (x + width - 12, base), 13, colour, bold=share > 0.9, align="right")
            draw.bar(canvas, (x + 12, base + 6, width - 24, 8), share, ORANGE if share > 0.9 else BLUE)
        base += 33 if limit else _ROW + 3
    for label, value, colour in _facts(screen):
        if base > y + height - 8:
            break
        draw.text(canvas, label, (x + 12, base), 13, DIM)
        draw.text(canvas, value, (x + width - 12, base), 13, colour, align="right", width=width - 190)
        base += _ROW


def _facts(screen: Screen) -> Iterator[tuple[str, str, Colour]]:
    """(what, value, colour) of each thing that is known about the teacher's answers."""
    spend, health = screen.spend, screen.reward_health
    answered = spend.get("valid", 0.0) + spend.get("no_rating", 0.0)
    if answered:
        share = spend["valid"] / answered
        yield "answers that are ratings", f"{share:.0%} of {answered:,.0f}", INK if share >= 0.8 else ORANGE
    if "latency_s" in spend and spend["latency_s"] > 0:
        waiting = f", {spend['in_flight']:.0f} on their way" if "in_flight" in spend else ""
        yield "latency", f"{spend['latency_s']:.2g} s{waiting}", INK
    if spend.get("breaker_open"):
        yield "endpoint", "DOWN, asking later", ORANGE
    accuracy = screen.progress.get("rating_accuracy")
    if accuracy is not None:
        yield "right, by ground truth", f"{accuracy:.0%}", INK
    for key, label in (
        ("fresh_agreement", "new ratings predicted"),
        ("held_out_accuracy", "held-out ratings predicted"),
    ):
        if key in health:
            yield label, f"{health[key]:.0%}", INK
    again = spend.get("rerate_answered", 0.0)
    if again:
        other = spend.get("rerate_disagreed", 0.0) / again
        yield "asked again, another answer", f"{other:.0%} of {again:,.0f}", INK if other < 0.5 else ORANGE
    audits = spend.get("audits", 0.0)
    if audits or spend.get("audits_waiting"):
        same, left = spend.get("audit_agreement", 0.0), spend.get("audits_waiting", 0.0)
        waiting = f", {left:.0f} waiting" if left else ""
        yield "audited, the same answer", f"{same:.0%} of {audits:,.0f}{waiting}", INK
    if "reward_drift" in health:
        yield "rewards moved by the last model", f"{health['reward_drift']:.2g}", INK


def _spending(screen: Screen) -> Iterator[tuple[str, float, float, str]]:
    """(what, used, limit or 0, unit) of queries, tokens and money."""
    spend: Mapping[str, float] = screen.spend
    queries = spend.get("spent_queries", spend.get("spent"))
    if queries is not None:
        left = spend.get("budget_left")
        limit = spend.get("budget_queries", 0.0 if left is None else queries + left)
        yield "queries", queries, limit, ""
    if "spent_tokens" in spend or "tokens_in" in spend:
        tokens = spend.get("spent_tokens", spend.get("tokens_in", 0.0) + spend.get("tokens_out", 0.0))
        yield "tokens", tokens, spend.get("budget_tokens", 0.0), ""
    if spend.get("spent_money") or spend.get("budget_money"):
        yield "cost", spend.get("spent_money", 0.0), spend.get("budget_money", 0.0), screen.teacher.get("currency", "")


def _amount(value: float, unit: str) -> str:
    if unit:
        return f"{value:,.2f} {unit}"
    return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:.2f}M"


def alarms(canvas: np.ndarray, box: Box, screen: Screen) -> None:
    """Training alarms, the worst first."""
    x, y, width, height = box
    draw.panel(canvas, box, "alarms", str(len(screen.alarms)) if screen.alarms else "", ORANGE)
    if not screen.alarms:
        draw.text(canvas, "none", (x + width // 2, y + height // 2 + 6), 15, DIM, align="center")
        return
    base, last = y + 48, y + height - 10
    for i, alarm in enumerate(screen.alarms):
        lines = draw.wrap(alarm.text, width - 48, 12, 2)
        if base + 17 * len(lines) > last:
            words = f"and {len(screen.alarms) - i} more"
            draw.text(canvas, words, (x + 92, y + 22), 13, ORANGE)
            break
        draw.symbol(canvas, (x + 20, base - 5), alarm.level)
        colour = INK if alarm.level < ERROR else (255, 150, 140)
        draw.text(canvas, alarm.name.replace("_", " "), (x + 36, base), 14, colour, bold=True, width=width - 48)
        for j, words in enumerate(lines):
            draw.text(canvas, words, (x + 36, base + 17 + 16 * j), 12, DIM)
        base += 26 + 16 * len(lines)
