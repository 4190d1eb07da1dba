# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/papers.py prints of its runs: a Markdown table, and a summary of each row for its JSON line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from papers_tables import Row

LEVEL = 0.8  # success rate that counts as learned
LAST = 3  # evaluations whose mean is told beside the last one: one of them is 0 or 100% where placements are fixed
HELD_OUT = ("corr", "ordered", "classed", "top_error", "low_error")  # of benchmarks/papers_probe.py

Runs = list[dict[str, Any]]


def summary(row: Row, found: Runs) -> dict[str, Any]:
    """Per seed: success at the end, its means, when it first was at 80%, and what held-out frames say of the reward."""
    curves = [[h["success_in_any_step"] for h in result["history"]] for result in found]
    firsts = [result["first"] for result in found]
    out = {
        "row": row.name, "task": row.task, "seeds": [r["seed"] for r in found],
        "steps": [r["steps"] for r in found], "queries": [r["queries"] for r in found],
        "any_step": [r["any_step"] for r in found], "last_step": [r["last_step"] for r in found],
        "any_step_last3": [_mean(curve[-LAST:]) for curve in curves], "any_step_mean": [_mean(c) for c in curves],
        "any_step_best": [max(curve) for curve in curves],
        "steps_to_80": [f and f["steps"] for f in firsts], "queries_to_80": [f and f["ratings"] for f in firsts],
        "minutes_to_80": [f and round(f["wall_s"] / 60, 2) for f in firsts], "minutes": [r["minutes"] for r in found],
        "paper": dict(row.paper),
    }  # fmt: skip
    judged = [[h["held_out"] for h in result["history"] if "held_out" in h] for result in found]
    if any(judged):
        for name in HELD_OUT:
            out[name] = [_mean([h[name] for h in one[-LAST:]]) if one else None for one in judged]
    return out


def table(by_row: Sequence[tuple[Row, Runs]], name: str = "") -> str:
    """Markdown, one value a seed; `-` is 'not within the steps'. ``name``: whose columns, else those of most tables."""
    columns = COLUMNS.get(name, _MOST)
    head = ["row", "reward", *columns, "the papers print"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, found in by_row:
        said = summary(row, found)
        cells = [row.name, row.text, *(cell(said) for cell in columns.values()), printed(row) or "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def printed(row: Row) -> str:
    """What the papers print for a row: the ends of each curve."""
    return "; ".join(
        f"{whose} " + ", ".join(f"{curve[steps]:g}% at {steps:,}" for steps in sorted({min(curve), max(curve)}))
        for whose, curve in row.paper
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)


def _each(name: str, scale: float = 1, unit: str = "") -> Callable[[dict[str, Any]], str]:
    """A column with one value a seed."""

    def cell(said: dict[str, Any]) -> str:
        values = said.get(name) or [None] * len(said["seeds"])
        return " / ".join("-" if value is None else f"{round(value * scale, 2):g}{unit}" for value in values)

    return cell


_SEEDS = {"seeds": _each("seeds"), "steps": lambda said: f"{max(said['steps']):,}"}
_MOST = _SEEDS | {
    "success in any step": _each("any_step", 100, "%"), "mean of the last 3": _each("any_step_last3", 100, "%"),
    "at the last step": _each("last_step", 100, "%"), "steps to 80%": _each("steps_to_80"),
    "queries to 80%": _each("queries_to_80"), "minutes": _each("minutes"),
}  # fmt: skip
COLUMNS = {
    "ablations": _SEEDS | {
        "success, mean of all evaluations": _each("any_step_mean", 100, "%"),
        "of the last 3": _each("any_step_last3", 100, "%"), "steps to 80%": _each("steps_to_80"),
        "held out: ordered": _each("ordered", 100, "%"), "classed": _each("classed", 100, "%"),
        "correlation": _each("corr"), "error at the top": _each("top_error"),
    },
}  # fmt: skip
