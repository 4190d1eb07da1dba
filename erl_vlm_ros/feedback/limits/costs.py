# SPDX-License-Identifier: Apache-2.0
"""How much a request may cost before it is sent, and what it did cost afterwards."""

from __future__ import annotations

import dataclasses
from typing import Any

from erl_vlm_ros.feedback.limits.prices import Price
from erl_vlm_ros.feedback.vlm.answer import Answer

_IMAGE_TOKENS = 3000  # where the price table does not say; many open models take 256 to 2880
_FRAME_TOKENS = 200  # roles, separators, a schema


class Costs:
    """Upper bounds from the request's size, corrected upwards by what the endpoint reports.

    Args:
        price: of the model; None when it is not known, money is then 0.
        scale: the largest ratio of reported to estimated input seen so far (at least 1).
    """

    def __init__(self, price: Price | None, scale: float = 1.0) -> None:
        self._price = price
        self._image_tokens = (price.image_tokens if price else 0) or _IMAGE_TOKENS
        self.scale = max(1.0, scale)

    @property
    def currency(self) -> str:
        """Of all money here; empty when the price is not known."""
        return self._price.currency if self._price else ""

    def reserve(self, request: dict[str, Any], images: int) -> tuple[int, float]:
        """(tokens, money) that the request takes at most: no text has more tokens than bytes."""
        came = int(self._estimate(request, images) * self.scale) + 1
        went = int(request.get("max_tokens", 0))
        return came + went, self._price.cost(came, went, images) if self._price else 0.0

    def settle(self, answer: Answer, images: int, tokens: int, money: float) -> tuple[int, Answer]:
        """(tokens, answer with its cost); the reserve ``tokens`` and ``money`` where the endpoint does not say."""
        if not (answer.tokens_in or answer.tokens_out):
            return tokens, dataclasses.replace(answer, cost=money, currency=self.currency)
        cost = self._price.cost(answer.tokens_in, answer.tokens_out, images) if self._price else 0.0
        return answer.tokens_in + answer.tokens_out, dataclasses.replace(answer, cost=cost, currency=self.currency)

    def learn(self, request: dict[str, Any], images: int, answer: Answer) -> None:
        """Take note of a report above the bound."""
        ratio = answer.tokens_in / self._estimate(request, images)
        if ratio > self.scale:
            self.scale = 1.1 * ratio

    def _estimate(self, request: dict[str, Any], images: int) -> int:
        text = 0
        for message in request["messages"]:
            content = message["content"]
            parts = [content] if isinstance(content, str) else [p["text"] for p in content if p["type"] == "text"]
            text += sum(len(part.encode()) for part in parts)
        return text + images * self._image_tokens + _FRAME_TOKENS
