# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm ledger``: show what a ledger holds, export it to images and CSV, import such a folder, parse again."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from erl_vlm_ros.feedback.ledger.file import open_file
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.ledger.reparse import reparse
from erl_vlm_ros.feedback.ledger.share import export_ledger, import_ledger


def add_commands(commands: Any) -> None:
    """Add ``ledger`` with its own commands to a parser's commands."""
    ledger = commands.add_parser("ledger", help="show, export or import paid ratings")
    actions = ledger.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what a ledger holds and has cost")
    show.add_argument("ledger", metavar="LEDGER", help="ledger.sqlite of a run")
    show.add_argument("--json", action="store_true", help="as one line of JSON")
    out = actions.add_parser("export", help="write a folder of images and CSV files")
    out.add_argument("ledger", metavar="LEDGER")
    out.add_argument("folder", metavar="DIR", help="new or empty")
    back = actions.add_parser("import", help="add an exported folder to a ledger")
    back.add_argument("folder", metavar="DIR")
    back.add_argument("ledger", metavar="LEDGER", help="is made where there is none")
    again = actions.add_parser("reparse", help="parse its answers again, without asking again")
    again.add_argument("ledger", metavar="LEDGER")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of them; exit status 0. ConfigError: the ledger or the folder is of no use."""
    if arguments.action == "show":
        figures = summary(arguments.ledger)
        print(json.dumps(figures) if arguments.json else in_words(figures))
    elif arguments.action == "export":
        print(f"{arguments.folder}: {_counted(export_ledger(arguments.ledger, arguments.folder))}")
    elif arguments.action == "import":
        print(f"{arguments.ledger}: new are {_counted(import_ledger(arguments.folder, arguments.ledger))}")
    else:
        open_file(Path(arguments.ledger), create=False).close()
        with Ledger(arguments.ledger) as ledger:
            written, changed = reparse(ledger)
        print(f"{arguments.ledger}: {written} answers parsed again, {changed} ratings changed")
    return 0


def summary(path: str | Path) -> dict[str, Any]:
    """Figures of a ledger, which may be in use: ratings by task, model and class, spend by currency."""
    db = open_file(Path(path), create=False)
    try:
        rated = db.execute(
            "SELECT task, model, classes, rating, reason, COUNT(*) FROM queries LEFT JOIN ratings ON query = id"
            " GROUP BY task, model, classes, rating, reason ORDER BY task, model, rating"
        ).fetchall()
        groups: dict[tuple, dict[str, int]] = {}
        for task, model, classes, rating, reason, count in rated:
            word = f"no rating: {reason or 'open'}"
            if rating is not None and rating >= 0:
                word = dict(enumerate(json.loads(classes))).get(rating, str(rating))
            mix = groups.setdefault((task, model), {})
            mix[word] = mix.get(word, 0) + count
        spend = db.execute(
            "SELECT currency, COUNT(*), SUM(tokens), SUM(money) FROM attempts WHERE charged = 1 GROUP BY currency"
        ).fetchall()
        states = dict(db.execute("SELECT state, COUNT(*) FROM attempts GROUP BY state ORDER BY 2 DESC").fetchall())
        first, last = db.execute("SELECT MIN(created), MAX(created) FROM queries").fetchone()
        counts = {t: db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in ("queries", "answers", "images")}
        return {
            **counts,
            "first": first,
            "last": last,
            "ratings": [{"task": t, "model": m, "counts": c} for (t, m), c in groups.items()],
            "spent": [{"currency": c, "requests": n, "tokens": t, "money": m} for c, n, t, m in spend],
            "requests": states,
        }
    finally:
        db.close()


def in_words(figures: dict[str, Any]) -> str:
    """The summary for reading."""
    lines = [_counted({k: figures[k] for k in ("queries", "answers", "images")})]
    if figures["first"] is not None:
        start, end = (time.strftime("%Y-%m-%d %H:%M", time.localtime(figures[k])) for k in ("first", "last"))
        lines.append(f"asked from {start} to {end}")
    for group in figures["ratings"]:
        mix = ", ".join(f"{word} {count}" for word, count in group["counts"].items())
        lines.append(f"{group['task']} by {group['model']}: {mix}")
    for spent in figures["spent"]:
        money = f"{spent['money']:.4f} {spent['currency']}" if spent["currency"] else "price not known"
        lines.append(f"spent: {spent['requests']} requests, {spent['tokens']} tokens, {money}")
    lines.append("requests: " + (", ".join(f"{k} {v}" for k, v in figures["requests"].items()) or "none"))
    return "\n".join(lines)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
