# SPDX-License-Identifier: Apache-2.0
"""Two records of lockstep_record.py, item by item: what differs first, and what stands in one of them only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABOUT = ("benchmark", "run")  # what a record says of itself
NOT_COMPARED = "not_compared"  # a key of an item: what depends on timing
NOT_SEEN = "not seen"  # a value that the recorder missed: equal to any
# What comes over topics that keep the newest message only: a busy recorder may miss some, in one run and not the other.
MAY_BE_MISSED = ("reward_models", "buffer", "actors", "learned_reward")
LAST = 10**9  # where in a run stands what only its end shows


@dataclass(frozen=True)
class Entry:
    """One value of a record. ``at``: training episodes that were over when it came."""

    at: int
    section: str
    item: str
    key: str
    value: str

    @property
    def may_be_missed(self) -> bool:
        """Whether standing in one record only says nothing of the runs."""
        return self.section in MAY_BE_MISSED or self.key in MAY_BE_MISSED

    @property
    def where(self) -> str:
        """For instance ``episodes 13: arrays.actions``."""
        return f"{self.section} {self.item}: {self.key}"


def entries(record: Mapping[str, Any]) -> dict[tuple[str, str, str], Entry]:
    """All values that can be compared, by (section, item, key)."""
    out: dict[tuple[str, str, str], Entry] = {}
    for section, items in record.items():
        if section in ABOUT:
            continue
        for number, item in items.items():
            at = item.get("at", LAST)
            for key, value in _leaves({k: v for k, v in item.items() if k not in ("at", NOT_COMPARED)}):
                out[section, number, key] = Entry(at, section, number, key, value)
    return out


def _leaves(value: Any, where: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [leaf for k, v in value.items() for leaf in _leaves(v, f"{where}.{k}" if where else k)]
    return [(where, json.dumps(value))]


def compare(a: Mapping[str, Any], b: Mapping[str, Any], common: bool, shown: int = 5) -> tuple[bool, list[str]]:
    """(whether they are equal, lines that tell).

    Args:
        common: what stands in one record only is told, but does not make them different.
        shown: names listed of each section.
    """
    left, right = entries(a), entries(b)
    both = [key for key in left if key in right]
    missed = json.dumps(NOT_SEEN)
    values = {key: {left[key].value, right[key].value} for key in both}
    differing = [left[key] for key in both if len(values[key]) > 1 and missed not in values[key]]
    lonely = [e for key, e in left.items() if key not in right], [e for key, e in right.items() if key not in left]
    lines = []
    runs = [dict(_leaves(record["run"])) for record in (a, b)]
    for name in dict.fromkeys((*runs[0], *runs[1])):
        if runs[0].get(name) != runs[1].get(name):
            lines.append(f"the runs themselves differ in {name}: {runs[0].get(name)} / {runs[1].get(name)}")
    if differing:
        first = min(differing, key=lambda entry: entry.at)
        other = right[first.section, first.item, first.key]
        lines.append(f"FIRST DIFFERENCE at {first.where}\n  A {first.value}\n  B {other.value}")
    for section in dict.fromkeys(e.section for e in (*left.values(), *right.values())):
        count = sum(key[0] == section for key in both)
        rows = [e for e in differing if e.section == section]
        lines.append(f"{section}: {count - len(rows)} of {count} values equal" + _names("; different: ", rows, shown))
        for record, alone in zip("AB", lonely):
            rows = [e for e in alone if e.section == section]
            if rows:
                lines.append(f"  {len(rows)} in {record} only{_names(': ', rows, shown)}")
    complete = all(entry.may_be_missed for rows in lonely for entry in rows)
    return not differing and (common or complete), lines


def _names(before: str, rows: list[Entry], shown: int) -> str:
    names = [f"{e.item}: {e.key}" for e in sorted(rows, key=lambda entry: entry.at)]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return before + ", ".join(names[:shown]) + more if names else ""
