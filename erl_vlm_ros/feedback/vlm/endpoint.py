# SPDX-License-Identifier: Apache-2.0
"""HTTP to an OpenAI-compatible endpoint: one deadline to the last byte, a bounded body, no secret in any error."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from typing import Any
from urllib.parse import urlsplit

import httpx2  # what the openai client talks through: for its errors, and to bound what is read
import openai

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.limits.pacing import retry_after_s
from erl_vlm_ros.feedback.vlm.answer import Answer, Failed, read_answer
from erl_vlm_ros.feedback.vlm.network import certificates_for, proxy_for

_MAX_BODY = 1 << 20  # bytes; an answer of one class, or a paragraph, is never this long
_LOCAL = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")
_MAX_ERROR = 1 << 15
_RETRY_STATUS = {408, 409, 425, 429}  # and all of 5xx
_NO_ENTRY = {401, 403}
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)

# a line a request, and headers with whatever the endpoint puts there, belong in no log
for _noisy in ("httpx2", "httpcore2", "openai"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class _TooLong(Exception):
    """More than any answer to our questions has."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body up to ``limit`` bytes: then it ends, or ``_TooLong`` is raised. The rest is never read."""

    def __init__(self, body: httpx2.AsyncByteStream, limit: int, refuse: bool) -> None:
        self._body, self._limit, self._refuse = body, limit, refuse

    async def __aiter__(self):
        size = 0
        async for part in self._body:
            size += len(part)
            if size > self._limit:
                if self._refuse:
                    raise _TooLong
                yield part[: self._limit - size]
                return
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()


async def _bound(response: httpx2.Response) -> None:
    """Before a body is read: of an answer everything or nothing, of an error its beginning."""
    good = response.status_code == 200
    response.stream = _Bounded(response.stream, _MAX_BODY if good else _MAX_ERROR, refuse=good)


class Endpoint:
    """``base_url``/chat/completions through the openai client, one connection pool. Use from one event loop.

    Retries, deadlines and what an answer means are ours: they are counted, bounded and on record.

    Args:
        base_url: for example ``https://api.openai.com/v1`` or ``http://127.0.0.1:8000/v1``.
        api_key: secret, or empty for an endpoint that needs none.
        timeout_s: deadline of one request, from connecting to the last byte, s.
        connections: kept open between requests.
    """

    def __init__(self, base_url: str, api_key: str, timeout_s: float, connections: int) -> None:
        self.base_url, self._timeout_s = base_url.rstrip("/"), timeout_s
        self._secret = api_key
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=connections)
        # the whole exchange has one deadline here; a timeout per read would let a slow drip go on for ever
        local = _LOCAL.fullmatch(urlsplit(base_url).hostname or "")  # a proxy of the lab does not know us
        http = openai.DefaultAsyncHttpxClient(
            timeout=None, limits=limits, trust_env=False, event_hooks={"response": [_bound]},
            proxy=None if local else proxy_for(base_url), verify=certificates_for(base_url),
        )  # fmt: skip
        self._headers = {} if api_key else {"Authorization": openai.omit}  # of each request
        self._openai = openai.AsyncOpenAI(
            base_url=self.base_url, api_key=api_key or "none", max_retries=0, timeout=None, http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )  # fmt: skip

    async def ask(self, request: dict[str, Any], idempotency_key: str) -> Answer:
        """The answer to a chat completion request.

        Args:
            idempotency_key: the same for every attempt at one question; endpoints that know the header bill once.
        Raises:
            Failed: no answer, with its reason.
        """
        start = time.monotonic()
        more = {key: value for key, value in request.items() if key not in ("model", "messages")}
        exchange = self._openai.chat.completions.with_raw_response.create(
            model=request["model"], messages=request["messages"], extra_body=more,
            extra_headers={"Idempotency-Key": idempotency_key, **self._headers},
        )  # fmt: skip
        status, headers, body = await self._within_deadline(exchange)
        if status != 200:
            raise self._failed(status, headers, body)
        return read_answer(body, time.monotonic() - start)

    async def models(self) -> list[str]:
        """Names of the models the endpoint lists; empty when it answers but has no such list.

        Raises:
            ConfigError: not reachable in time, or the key is refused; names base_url and the fix.
        """
        fix = "start the endpoint, or correct the parameter base_url"
        try:
            status, _, body = await self._within_deadline(
                self._openai.models.with_raw_response.list(extra_headers=self._headers)
            )
        except Failed as failure:
            if failure.reason == "timeout":
                words = f"no answer from base_url {self.base_url} within {self._timeout_s:g} s; {fix}"
            elif failure.reason == "connection":
                words = f"base_url {self.base_url} cannot be reached ({failure.detail}); {fix}"
            else:
                return []  # something is there; not every endpoint lists its models
            raise ConfigError(words, code=Code.UNREACHABLE, parameter="vlm_rater.base_url") from None
        if status in _NO_ENTRY:
            text = (
                f"base_url {self.base_url} refuses the API key (HTTP {status}); "
                "check the variable that api_key_env names"
            )
            raise ConfigError(text, code=Code.UNREACHABLE, parameter="vlm_rater.api_key_env")
        try:
            return [str(model["id"]) for model in json.loads(body)["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []

    async def close(self) -> None:
        """Close the connection pool."""
        await self._openai.close()

    async def _within_deadline(self, exchange: Any) -> tuple[int, Any, bytes]:
        failure: Failed
        try:
            raw = await asyncio.wait_for(exchange, self._timeout_s)
            return raw.status_code, raw.headers, self._without_secret(raw.content)
        except openai.APIStatusError as error:
            return error.status_code, error.response.headers, self._without_secret(error.response.content)
        except (asyncio.TimeoutError, TimeoutError, openai.APITimeoutError):
            failure = Failed("timeout", charged=True)
        except openai.APIConnectionError as error:
            failure = _broken(error.__cause__ or error)
        except openai.OpenAIError as error:
            failure = Failed("bad_body", charged=True, detail=type(error).__name__)
        except (_TooLong, httpx2.HTTPError, httpx2.StreamError, OSError) as error:  # while the body was read
            failure = _broken(error)
        raise failure  # outside, so that no error with the request's headers hangs on to it

    def _without_secret(self, body: bytes) -> bytes:
        """An endpoint that repeats the key shall not bring it into the ledger."""
        return body.replace(self._secret.encode(), b"***") if self._secret else body

    def _failed(self, status: int, headers: Any, body: bytes) -> Failed:
        words = " ".join(body.decode("utf-8", "replace").split())
        detail = f"HTTP {status}: {words[:300]}"
        if status != 429:
            retry, down = status in _RETRY_STATUS or status >= 500, status >= 500 or status in _NO_ENTRY
            wait = retry_after_s(headers) if retry else None
            return Failed(f"http_{status}", retry, down=down, wait_s=wait, detail=detail)
        if "insufficient_quota" in words:
            return Failed("quota", retry=False, detail=detail)
        wait = retry_after_s(headers)
        if wait is None:  # Google says it in the body
            asked = re.search(r'"retryDelay": ?"([0-9.]{1,12})s"', words)
            wait = float(asked.group(1)) if asked and asked.group(1).count(".") <= 1 else None
        return Failed("rate_limit", down=False, wait_s=wait, detail=detail)


def _broken(error: BaseException) -> Failed:
    """What became of an exchange that has no status."""
    if isinstance(error, _TooLong):
        return Failed("too_long", charged=True)
    if isinstance(error, _UNSENT):
        return Failed("connection", detail=type(error).__name__)
    if isinstance(error, httpx2.DecodingError):
        return Failed("bad_body", charged=True, detail="wrong content encoding")
    return Failed("cut", charged=True, detail=type(error).__name__)


def read_api_key(api_key_env: str) -> str:
    """The secret in the named environment variable; empty when no variable is named.

    Raises:
        ConfigError: the variable is named but not set, or holds what no HTTP header can.
    """
    if not api_key_env:
        return ""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        text = (
            f"api_key_env names the environment variable {api_key_env}, which is not set;"
            f" export {api_key_env}=..., or set api_key_env to '' for an endpoint that needs no key"
        )
        raise ConfigError(text, code=Code.NOT_GIVEN, parameter="vlm_rater.api_key_env")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"the environment variable {api_key_env} (api_key_env) holds characters that no key has",
            parameter="vlm_rater.api_key_env",
        )
    return key
