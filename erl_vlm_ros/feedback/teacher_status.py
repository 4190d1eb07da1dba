# SPDX-License-Identifier: Apache-2.0
"""A teacher's state in a word for /diagnostics: all is well, its endpoint is away, or its budget is going out."""

from __future__ import annotations

from collections.abc import Mapping

OK, WARN = 0, 1  # as in diagnostic_msgs/DiagnosticStatus
_NEARLY = 0.95  # of a budget
_BUDGETS = (("queries", "ratings"), ("tokens", "tokens"), ("money", ""))


def teacher_status(figures: Mapping[str, float], texts: Mapping[str, str]) -> tuple[int, str]:
    """(level, words) from a teacher's ``stats()`` and ``texts()``."""
    if figures.get("breaker_open"):
        error = texts.get("endpoint_error", "")[:120] or "no word"
        return WARN, f"the endpoint is away ({error}); training goes on with the present reward model"
    for key, unit in _BUDGETS:
        limit, spent = figures.get(f"budget_{key}", 0.0), figures.get(f"spent_{key}", 0.0)
        if limit and spent >= _NEARLY * limit:
            return WARN, f"{spent:.4g} of {limit:.4g} {unit or texts.get('currency', '')} are spent"
    return OK, "rating"
