# SPDX-License-Identifier: Apache-2.0
"""One chat completion from an OpenAI-compatible endpoint: deadline, bounded retries, nothing invented."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Any

import openai

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.ledger import Answer

_RETRY_STATUS = {408, 409, 425, 429}  # and all of 5xx
_MAX_BODY = 1 << 20  # bytes; an answer of one class, or a paragraph, is never this long
_LONGEST_WAIT_S = 30.0


class GaveUp(Exception):
    """No answer was received. ``charged``: the endpoint may have worked (and billed) before it failed."""

    def __init__(self, reason: str, attempts: int, charged: bool) -> None:
        super().__init__(f"{reason} after {attempts} attempts")
        self.reason, self.attempts, self.charged = reason, attempts, charged


class _Failure(Exception):
    """One failed attempt."""

    def __init__(self, reason: str, retry: bool = True, charged: bool = False, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.charged, self.wait_s = reason, retry, charged, wait_s


class ChatClient:
    """Asks ``base_url``/chat/completions with one shared connection pool. Use from one event loop.

    Args:
        base_url: for example ``https://api.openai.com/v1`` or ``http://127.0.0.1:8000/v1``.
        api_key: secret, or empty for endpoints that need none.
        timeout_s: deadline of one attempt, from sending to the last byte, in seconds.
        max_retries: further attempts after the first one failed.
        backoff_s: wait before the first retry in seconds; doubles each time, with jitter.
        seed: of the jitter.
    """

    def __init__(
        self, base_url: str, api_key: str = "", timeout_s: float = 60.0, max_retries: int = 5,
        backoff_s: float = 0.5, seed: int = 0,
    ) -> None:  # fmt: skip
        self.base_url = base_url
        self.structured = True  # until the endpoint refuses a response_format once
        self.attempt_failures: Counter[str] = Counter()
        self._timeout_s, self._max_retries, self._backoff_s = timeout_s, max_retries, backoff_s
        self._random = random.Random(seed)
        # our own retries only: they are counted, and each is bounded by the deadline
        self._openai = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", max_retries=0, timeout=timeout_s
        )

    async def complete(self, request: dict[str, Any]) -> tuple[Answer, int]:
        """The answer to a chat completion request, and how many attempts it took.

        Raises:
            GaveUp: no attempt brought an answer, or the endpoint rejects the request.
        """
        charged = False
        for attempt in range(1, self._max_retries + 2):
            try:
                return await self._attempt(request), attempt
            except _Failure as failure:
                self.attempt_failures[failure.reason] += 1
                charged = charged or failure.charged
                if not failure.retry or attempt > self._max_retries:
                    raise GaveUp(failure.reason, attempt, charged) from None
                wait = self._backoff_s * 2 ** (attempt - 1) * self._random.uniform(0.5, 1.0)
                await asyncio.sleep(min(max(wait, failure.wait_s or 0.0), _LONGEST_WAIT_S))
        raise AssertionError("unreachable")

    async def check(self) -> list[str]:
        """Names of the models the endpoint lists; empty when it answers but has no such list.

        Raises:
            ConfigError: not reachable in time, or the key is refused; names base_url and the mend.
        """
        mend = "start the endpoint, or correct the parameter base_url"
        try:
            page = await asyncio.wait_for(self._openai.models.list(), self._timeout_s)
            return [model.id for model in page.data or []]
        except (asyncio.TimeoutError, openai.APITimeoutError):
            raise ConfigError(f"no answer from base_url {self.base_url} within {self._timeout_s:g} s; {mend}") from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            raise ConfigError(f"base_url {self.base_url} cannot be reached ({cause}); {mend}") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ConfigError(
                f"base_url {self.base_url} refuses the API key (HTTP {error.status_code}); "
                "check the variable that api_key_env names"
            ) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            return []  # something answers there; not every endpoint lists its models

    async def close(self) -> None:
        """Close the connection pool."""
        await self._openai.close()

    async def _attempt(self, request: dict[str, Any]) -> Answer:
        sent = dict(request)
        structured = "response_format" in sent and self.structured
        if not structured:
            sent.pop("response_format", None)
        start = time.monotonic()
        try:
            raw = await asyncio.wait_for(
                self._openai.chat.completions.with_raw_response.create(**sent), self._timeout_s
            )
        except (asyncio.TimeoutError, openai.APITimeoutError):
            raise _Failure("timeout", charged=True) from None
        except openai.APIStatusError as error:
            status = error.status_code
            if structured and status in (400, 422):
                self.structured = False  # the endpoint knows no JSON schema: ask in plain text from now on
                return await self._attempt(request)
            reason = "rate_limit" if status == 429 else f"http_{status}"
            raise _Failure(reason, status in _RETRY_STATUS or status >= 500, wait_s=_retry_after(error)) from None
        except openai.APIConnectionError as error:
            unsent = type(error.__cause__).__name__.startswith("Connect")
            raise _Failure("connection" if unsent else "cut", charged=not unsent) from None
        except openai.OpenAIError as error:
            raise _Failure(type(error).__name__, charged=True) from None
        return _read(raw.content, time.monotonic() - start)


def _read(body: bytes, latency_s: float) -> Answer:
    """The answer in a 200 response; a body that is no chat completion is a failed attempt."""
    if len(body) > _MAX_BODY:
        raise _Failure("too_long", charged=True)
    try:
        data = json.loads(body)
        choices = data["choices"]
        usage = data.get("usage") or {}
        figures = {
            "model": str(data.get("model") or ""),
            "tokens_in": int(usage.get("prompt_tokens") or 0),
            "tokens_out": int(usage.get("completion_tokens") or 0),
            "latency_s": latency_s,
        }
        if not choices:
            return Answer("", "empty", **figures)
        message = choices[0]["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choices[0].get("finish_reason")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise _Failure("bad_body", charged=True) from None
    if refusal or finish == "content_filter":
        return Answer(str(refusal or text or ""), "refusal", **figures)
    if finish == "length":
        return Answer(str(text or ""), "cut_short", **figures)
    if not isinstance(text, str) or not text.strip():
        return Answer("", "empty", **figures)
    return Answer(text, "", **figures)


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds the endpoint asks to wait, when it says so as a number."""
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:
        return None


def read_api_key(api_key_env: str) -> str:
    """The secret in the named environment variable; empty when no variable is named.

    Raises:
        ConfigError: the variable is named but not set.
    """
    if not api_key_env:
        return ""
    key = os.environ.get(api_key_env, "")
    if not key:
        raise ConfigError(
            f"api_key_env names the environment variable {api_key_env}, which is not set;"
            f" export {api_key_env}=..., or set api_key_env to '' for an endpoint that needs no key"
        )
    return key
