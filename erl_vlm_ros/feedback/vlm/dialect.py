# SPDX-License-Identifier: Apache-2.0
"""What an endpoint understands of a request: found out once, by its own words or by trying, and remembered."""

from __future__ import annotations

import re
from typing import Any

from erl_vlm_ros.feedback.vlm.answer import Failed

SCHEMA, LIMIT_NAME, TEMPERATURE, EFFORT, LOGPROBS = (
    "response_format", "max_tokens", "temperature", "reasoning_effort", "logprobs",
)  # fmt: skip
_REFUSED = {f"http_{status}" for status in (400, 404, 415, 422, 500, 501)}
_NAMED = {
    SCHEMA: re.compile(r"response_?format|json_?schema|structured.?output|grammar|guided", re.IGNORECASE),
    TEMPERATURE: re.compile(r"temperature", re.IGNORECASE),
    LOGPROBS: re.compile(r"log_?prob", re.IGNORECASE),
    EFFORT: re.compile(r"reasoning_?effort|reasoning\.effort|thinking_?budget", re.IGNORECASE),
}
_NO_IMAGES = re.compile(
    r"(image|vision|multi-?modal|image_url)[^.]{0,60}(not (be )?support|unsupported|not enabled|not available)"
    r"|(not support|unsupported|no)\W[^.]{0,40}(image|vision|multi-?modal)|mmproj",
    re.IGNORECASE,
)


def refuses(failure: Failed) -> bool:
    """Whether a failure may mean that the endpoint does not understand the request."""
    return failure.reason in _REFUSED


def refuses_images(failure: Failed) -> bool:
    """Whether the endpoint says that its model takes no images."""
    return refuses(failure) and _NO_IMAGES.search(failure.detail) is not None


class Dialect:
    """How an endpoint is spoken to.

    Args:
        structured: whether it takes a JSON schema as ``response_format``; None: not known yet.
        dropped: parameters that it does not take and that are not sent.

    ``said``: parameter -> the endpoint's words when it refused it.
    """

    def __init__(self, structured: bool | None = None, dropped: frozenset[str] = frozenset()) -> None:
        self.structured, self.dropped = structured, set(dropped)
        self.new_limit_name = False  # max_completion_tokens in place of max_tokens
        self.several_images = True
        self.said: dict[str, str] = {}

    def translate(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request in the endpoint's own words."""
        out = {key: value for key, value in request.items() if key not in self.dropped}
        if LOGPROBS in self.dropped:
            out.pop("top_logprobs", None)
        if self.structured is False:
            out.pop(SCHEMA, None)
        if self.new_limit_name and LIMIT_NAME in out:
            out["max_completion_tokens"] = out.pop(LIMIT_NAME)
        return out

    def blamed(self, failure: Failed, sent: dict[str, Any]) -> str:
        """The parameter of a refused request that the endpoint's words name and that can be left out; or ''."""
        if not refuses(failure):
            return ""
        if "max_completion_tokens" in failure.detail and LIMIT_NAME in sent:
            return LIMIT_NAME
        for name, words in _NAMED.items():
            if name in sent and words.search(failure.detail) and not (name == SCHEMA and self.structured):
                return name
        return ""

    def leave_out(self, name: str, words: str) -> None:
        """From now on a parameter is not sent (the token limit: under its other name)."""
        if name == LIMIT_NAME:
            self.new_limit_name = True
        elif name == SCHEMA:
            self.structured = False
        else:
            self.dropped.add(name)
        self.said[name] = words

    def lines(self) -> list[str]:
        """A line for each thing that the endpoint was found not to take, with its own words."""
        instead = {
            SCHEMA: "no JSON schema (response_format): answers are plain text",
            LIMIT_NAME: "no max_tokens: it is sent as max_completion_tokens",
            TEMPERATURE: "no temperature: the model's own is used",
            EFFORT: "no reasoning_effort: it is not sent",
            LOGPROBS: "no logprobs: ratings have no soft label",
            "images": "one image a request: the frames of a segment are sent as a strip",
        }
        return [f"takes {instead.get(name, name)} ({words or 'no words'})" for name, words in self.said.items()]
