# SPDX-License-Identifier: Apache-2.0
"""What an endpoint answered, and what a failed attempt means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from erl_vlm_ros.feedback.vlm.logprobs import Token, read_tokens
from erl_vlm_ros.feedback.vlm.thinking import without_thinking

#: why an answer that was received is no use -> what that means and what helps
PROBLEMS = {
    "refusal": "the model or its filter refuses; another model, or another wording of the prompts",
    "empty": "the answer has no text at all; look whether the model takes images",
    "cut_short": "the answer reached max_tokens; raise vlm_rater.max_tokens",
    "thinking_cut_short": "thinking used up max_tokens before an answer came; raise vlm_rater.max_tokens (2000 or"
    " more), or set vlm_rater.reasoning_effort to minimal or none",
    "thinking_only": "the model thought and did not answer; set vlm_rater.reasoning_effort to low or none",
    "answer_in_reasoning": "the endpoint puts the whole answer into reasoning_content (or reasoning) and leaves content"
    " empty; turn its reasoning parser off (vLLM: --reasoning-parser), or set vlm_rater.reasoning_effort to none",
    "tool_call": "the model calls a tool in place of answering; serve it without tools, or take another model",
    "unreadable": "answers state no class; set vlm_rater.structured_output to on if the endpoint knows JSON schemas",
    "out_of_class": "answers name what is no class; check the classes' names in the task and the prompts",
    "no_images": "the model takes no images; name a vision model in vlm_rater.model",
}
_MOST_TOKENS = 10**9


@dataclass(frozen=True)
class Answer:
    """One answer of the endpoint.

    ``problem``: empty, or why its text is no use (a key of ``PROBLEMS``). ``tokens_in`` and
    ``tokens_out`` are 0 when the endpoint does not say. ``cost`` is in ``currency``; an empty currency means that
    the price is not known.
    """

    text: str
    problem: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0
    cost: float = 0.0
    currency: str = ""
    tokens: tuple[Token, ...] = ()  # with their probabilities, where they were asked for


class Failed(Exception):
    """One attempt brought no answer.

    Args:
        reason: short word that is counted.
        retry: whether the same request may do better.
        charged: whether the endpoint may have worked, and billed, before it failed.
        down: whether this says that the endpoint does not work.
        wait_s: how long the endpoint asks to wait, s.
        detail: its own words.
    """

    def __init__(
        self, reason: str, retry: bool = True, charged: bool = False, down: bool = True,
        wait_s: float | None = None, detail: str = "",
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.reason, self.retry, self.charged, self.down = reason, retry, charged, down
        self.wait_s, self.detail = wait_s, detail


class GaveUp(Exception):
    """No answer was received. ``charged``: some attempt may have been billed all the same."""

    def __init__(self, reason: str, attempts: int = 0, charged: bool = False) -> None:
        super().__init__(f"{reason} after {attempts} attempts")
        self.reason, self.attempts, self.charged = reason, attempts, charged


def read_answer(body: bytes, latency_s: float) -> Answer:
    """The answer in the body of a 200 response.

    Raises:
        Failed: ``bad_body`` when it is no chat completion (cut JSON, another shape, wrong encoding).
    """
    try:
        data = json.loads(body)
        choices = data["choices"]
        figures: dict[str, Any] = {"model": _clean(str(data.get("model") or ""))[:200], "latency_s": latency_s}
        figures["tokens_in"], figures["tokens_out"] = _usage(data.get("usage"))
        if not choices:
            return Answer("", "empty", **figures)
        message = choices[0]["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
        thoughts = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
        called = bool(message.get("tool_calls") or message.get("function_call"))
        finish = choices[0].get("finish_reason")
        figures["tokens"] = read_tokens(choices[0])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise Failed("bad_body", charged=True, detail=_clean(body[:200].decode("utf-8", "replace"))) from None
    if refusal or finish == "content_filter":
        return Answer(_clean(str(refusal or text)), "refusal", **figures)
    return Answer(_clean(text), _problem(text, thoughts, finish == "length", called), **figures)


def _problem(text: str, thoughts: str, cut: bool, called: bool) -> str:
    """Why a text is no use; empty when it is."""
    answered = bool(without_thinking(text))
    if cut:
        return "cut_short" if answered or not (text.strip() or thoughts.strip()) else "thinking_cut_short"
    if answered:
        return ""
    if called:
        return "tool_call"
    if text.strip():
        return "thinking_only"
    return "answer_in_reasoning" if thoughts.strip() else "empty"


def _text(content: Any) -> str:
    """A message's text; some endpoints answer with a list of parts."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _usage(usage: Any) -> tuple[int, int]:
    """(tokens in, tokens out); thinking that is only in the total counts as output. 0 where it is not said."""
    if not isinstance(usage, dict):
        return 0, 0
    came, went, total = (_count(usage.get(k)) for k in ("prompt_tokens", "completion_tokens", "total_tokens"))
    return came, max(went, total - came) if came else went


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0


def _clean(text: str) -> str:
    """Without what no file can hold: lone surrogates and NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\ufffd")
