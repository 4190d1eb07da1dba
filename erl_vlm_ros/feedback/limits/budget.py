# SPDX-License-Identifier: Apache-2.0
"""What may still be spent: room is reserved before a request is sent, so that many at once pass no limit."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

Amount = tuple[int, float]  # tokens, money


@dataclass
class Spending:
    """What a ledger's raters have spent and set aside; they share it. Money by currency."""

    queries: int = 0
    tokens: int = 0
    money: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    reserved_queries: int = 0
    reserved_tokens: int = 0
    reserved_money: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class Budget:
    """Limits of one rater on what its ledger's raters spend together. Safe in threads.

    Args:
        max_queries: ratings that may be asked for.
        max_tokens, max_money: 0 means no limit.
        currency: of the money.
    """

    def __init__(
        self, spending: Spending, max_queries: int, max_tokens: int = 0, max_money: float = 0.0, currency: str = ""
    ) -> None:
        self.spending, self.currency = spending, currency
        self.max_queries, self.max_tokens, self.max_money = max_queries, max_tokens, max_money

    @property
    def spent_money(self) -> float:
        """In this budget's currency."""
        return self.spending.money.get(self.currency, 0.0)

    @property
    def queries_left(self) -> int:
        """Ratings that may still be asked for."""
        return max(0, self.max_queries - self.spending.queries - self.spending.reserved_queries)

    @property
    def pending(self) -> bool:
        """Whether requests are on their way whose reserve may come back in part."""
        return self.spending.reserved_tokens > 0

    def reserve_query(self) -> bool:
        """Room for one more rating; settle it with ``end_query``."""
        with self.spending.lock:
            if self.queries_left == 0:
                return False
            self.spending.reserved_queries += 1
            return True

    def end_query(self, charged: bool) -> None:
        """The rating is over; ``charged``: something of it was, or may have been, paid."""
        with self.spending.lock:
            self.spending.reserved_queries -= 1
            self.spending.queries += charged

    def reserve(self, amount: Amount) -> bool:
        """Set room aside for a request that may cost so much; False when it could pass a limit, whatever comes back."""
        tokens, money = amount
        spending, currency = self.spending, self.currency
        with spending.lock:
            if self.max_tokens and spending.tokens + spending.reserved_tokens + tokens > self.max_tokens:
                return False
            if self.max_money and self.spent_money + spending.reserved_money[currency] + money > self.max_money:
                return False
            spending.reserved_tokens += tokens
            spending.reserved_money[currency] += money
            return True

    def settle(self, reserved: Amount, spent: Amount) -> None:
        """Replace a reserve by what was really charged."""
        spending, currency = self.spending, self.currency
        with spending.lock:
            spending.reserved_tokens -= reserved[0]
            spending.reserved_money[currency] -= reserved[1]
            if spending.reserved_tokens == 0:
                spending.reserved_money.clear()  # no rounding is left behind
            spending.tokens += spent[0]
            spending.money[currency] = self.spent_money + spent[1]
