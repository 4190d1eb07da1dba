# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm compare``: runs side by side, over seeds, with confidence intervals: a table and a figure.

The interquartile mean over runs and its stratified bootstrap are rliable's (Agarwal et al., arXiv 2108.13264), computed
by scipy: tasks are the strata, seeds are drawn within each.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.monitoring.comparison import Curve, draw_comparison
from erl_vlm_ros.runs.compared_runs import SUCCESSES, Run, read_runs

TABLE, ROWS, FIGURE = "comparison.md", "comparison.csv", "comparison.png"
CONFIDENCE, RESAMPLES = 0.95, 5000
GOOD = 0.8  # success rate whose first evaluation is told
_COLUMNS = (
    "group", "runs", "tasks", "success", "low", "high", "worst", "best", "steps", "updates", "queries", "money",
    "minutes", f"steps to {GOOD:.0%}", f"queries to {GOOD:.0%}", "reached",
)  # fmt: skip


def add_command(commands: Any) -> None:
    """Add ``compare`` to a parser's commands."""
    made = commands.add_parser(
        "compare", help="runs side by side: a table and a figure", description="Compare runs over seeds."
    )
    made.add_argument(
        "runs", nargs="+", metavar="RUN", help="run directories, or files of JSON lines of benchmarks/papers.py"
    )
    made.add_argument(
        "--by", default="algorithm", metavar="WHAT",
        help="what makes a group: algorithm (with the kind of feedback; default), folder (the runs' parent), or a "
        "parameter NODE.NAME; of a benchmark's lines: algorithm (the row without its scene), row, folder",
    )  # fmt: skip
    made.add_argument(
        "--success", choices=SUCCESSES, default=SUCCESSES[0],
        help="at the end of an episode, or in any step of it, which a benchmark's lines alone tell",
    )  # fmt: skip
    made.add_argument("--out", required=True, metavar="DIR", help="folder for the table and the figure")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out; exit status 0. ConfigError: a run that is none, or was never evaluated."""
    runs = [run for path in arguments.runs for run in read_runs(path, arguments.by, arguments.success)]
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = table(runs)
    with (out / ROWS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    text = as_markdown(rows)
    (out / TABLE).write_text(text, encoding="utf-8")
    draw_comparison(out / FIGURE, {axis: curves(runs, axis) for axis in ("steps", "queries")})
    print(text, end="")
    print(f"files in {out}: {TABLE}, {ROWS}, {FIGURE}")
    return 0


def interquartile_mean(*groups: np.ndarray) -> float:
    """Mean of the middle half of all scores."""
    return float(_middle(groups))


def _middle(groups: Sequence[np.ndarray]) -> np.ndarray:
    """The interquartile mean over the last axis of all ``groups`` together [..., n]."""
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(groups, axis=-1), 0.25, axis=-1)


def interval(scores: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(interquartile mean, low, high) of scores by task; low and high are NaN where no task has two runs.

    Raises:
        ConfigError: scipy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError:
        text = "erl-vlm compare needs scipy: pip install scipy (or the extra 'compare')"
        raise ConfigError(text, code=Code.MISSING_PACKAGE, remedy="pip install scipy") from None
    groups = [np.array(task, float) for task in scores if len(task)]
    middle = interquartile_mean(*groups)

    def drawn(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        fixed = [np.broadcast_to(group, (*samples[0].shape[:-1], 1)) for group in alone]
        return _middle([*samples, *fixed])

    several = [group for group in groups if len(group) > 1]
    if not several:
        return middle, np.nan, np.nan
    alone = [group for group in groups if len(group) == 1]  # a single run cannot be drawn anew: it stays
    found = bootstrap(
        several, drawn, vectorized=True, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return middle, float(found.low), float(found.high)


def _by_task(runs: Sequence[Run], score: Any) -> list[list[float]]:
    return [[score(r) for r in runs if r.task == task] for task in sorted({r.task for r in runs})]


def groups_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each group, in the order in which they were given."""
    out: dict[str, list[Run]] = {}
    for one in runs:
        out.setdefault(one.group, []).append(one)
    return out


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each group: means over its runs of what was spent, and the success at the last evaluation."""
    rows = []
    for name, members in groups_of(runs).items():
        middle, low, high = interval(_by_task(members, lambda r: r.success))
        reached = [next((p for p in r.points if p.success >= GOOD), None) for r in members]
        there = [p for p in reached if p is not None]
        mean = lambda values: float(np.mean(list(values)))  # noqa: E731
        values = (
            name, len(members), " ".join(sorted({r.task for r in members})), middle, low, high,
            min(r.success for r in members), max(r.success for r in members),
            mean(r.points[-1].steps for r in members), mean(r.summary.get("updates", 0) for r in members),
            mean(r.spent["queries"] for r in members), mean(r.spent["money"] for r in members),
            mean(r.summary["wall_s"] for r in members) / 60,
            mean(p.steps for p in there) if there else np.nan, mean(p.queries for p in there) if there else np.nan,
            f"{len(there)}/{len(members)}",
        )  # fmt: skip
        rows.append(dict(zip(_COLUMNS, values)))
    return rows


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for a page."""
    head = ("group", "runs", "success (95% interval)", "worst to best", "steps", "updates", "queries", "money",
            "minutes", f"to {GOOD:.0%}: steps", "queries", "runs")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        known = not np.isnan(row["low"])
        success = f"{row['success']:.0%}" + (f" ({row['low']:.0%} to {row['high']:.0%})" if known else "")
        cells = (
            row["group"], row["runs"], success, f"{row['worst']:.0%} to {row['best']:.0%}",
            *(f"{row[key]:,.0f}" for key in ("steps", "updates", "queries")), f"{row['money']:.2f}",
            f"{row['minutes']:.1f}",
            *("-" if np.isnan(row[f"{key} to {GOOD:.0%}"]) else f"{row[f'{key} to {GOOD:.0%}']:,.0f}"
              for key in ("steps", "queries")),
            row["reached"],
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    note = f"Success: interquartile mean at the last evaluation, {CONFIDENCE:.0%} by stratified bootstrap over seeds."
    return "\n".join([*lines, "", note, ""])


def curves(runs: Sequence[Run], axis: str) -> list[Curve]:
    """Success of each group along ``axis``, steps or queries: at each of the group's evaluations, what every run had
    reached by then. Before its first evaluation nothing is known of a run: the curve begins with the last of these."""
    out = []
    for name, members in groups_of(runs).items():
        marks = sorted({getattr(p, axis) for r in members for p in r.points})
        begin = max(getattr(r.points[0], axis) for r in members)
        found = []
        for mark in (m for m in marks if m >= begin):
            known = lambda r, mark=mark: [p for p in r.points if getattr(p, axis) <= mark][-1].success  # noqa: E731
            found.append((mark, *interval(_by_task(members, known))))
        x, middle, low, high = (np.array(column) for column in zip(*found))
        out.append(Curve(f"{name} ({len(members)})", x, middle, low, high))
    return out
