# SPDX-License-Identifier: Apache-2.0
"""Why a segment has no rating: the words that are counted, stored and published."""

from __future__ import annotations

#: the endpoint is down and the circuit breaker open; nothing was sent
ENDPOINT_DOWN = "endpoint_down"
#: a budget is spent; nothing was sent
BUDGET = "budget"
#: replay: the ledger holds no answer to this question
NOT_IN_LEDGER = "not_in_ledger"

_OUTAGE = {ENDPOINT_DOWN, "connection", "cut", "timeout", "rate_limit", "quota", "bad_body", "too_long"}


def is_outage(reason: str) -> bool:
    """Whether the endpoint failed to answer, so that asking again later may bring a rating.

    An answer that is no use (``refusal``, ``unreadable``, ...), a spent budget and a rejected request (``http_400``)
    would come out the same.
    """
    return reason in _OUTAGE or reason.startswith("http_5")
