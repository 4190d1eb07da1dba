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

import httpx2

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.feedback.answer import Answer, Failed, read_answer
from erl_vlm_ros.feedback.pacing import retry_after_s

_MAX_BODY = 1 << 20  # bytes; an answer of one class, or a paragraph, is never this long
_LOCAL = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")
_MAX_ERROR = 1 << 15
_RETRY_STATUS = {408, 409, 425, 429}  # and all of 5xx
_NO_ENTRY = {401, 403}
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)

# a line a request, and headers with whatever the endpoint puts there, are for nobody's log
for _noisy in ("httpx2", "httpcore2"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class Endpoint:
    """``base_url``/chat/completions over one connection pool. Use from one event loop.

    Args:
        base_url: for example ``https://api.openai.com/v1`` or ``http://127.0.0.1:8000/v1``.
        api_key: secret, or empty for an endpoint that needs none.
        timeout_s: deadline of one request, from connecting to the last byte, s.
        connections: kept open between requests.
    """

    def __init__(self, base_url: str, api_key: str, timeout_s: float, connections: int) -> None:
        self.base_url, self._timeout_s = base_url.rstrip("/"), timeout_s
        self._secret = api_key
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "erl_vlm_ros"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=connections)
        # the whole exchange has one deadline here; a timeout per read would let a slow drip go on for ever
        proxied = not _LOCAL.fullmatch(urlsplit(base_url).hostname or "")  # a proxy of the lab does not know us
        self._http = httpx2.AsyncClient(headers=headers, timeout=None, limits=limits, trust_env=proxied)

    async def ask(self, request: dict[str, Any], idempotency_key: str) -> Answer:
        """The answer to a chat completion request.

        Args:
            idempotency_key: the same for every attempt at one question; endpoints that know the header bill once.
        Raises:
            Failed: no answer, with its reason.
        """
        start = time.monotonic()
        content = json.dumps(request, separators=(",", ":")).encode()
        exchange = self._exchange("POST", "/chat/completions", content, {"Idempotency-Key": idempotency_key})
        status, headers, body = await self._within_deadline(exchange)
        if status != 200:
            raise self._failed(status, headers, body)
        return read_answer(body, time.monotonic() - start)

    async def models(self) -> list[str]:
        """Names of the models the endpoint lists; empty when it answers but has no such list.

        Raises:
            ConfigError: not reachable in time, or the key is refused; names base_url and the mend.
        """
        mend = "start the endpoint, or correct the parameter base_url"
        try:
            status, _, body = await self._within_deadline(self._exchange("GET", "/models", b"", {}))
        except Failed as failure:
            if failure.reason == "timeout":
                words = f"no answer from base_url {self.base_url} within {self._timeout_s:g} s; {mend}"
            elif failure.reason == "connection":
                words = f"base_url {self.base_url} cannot be reached ({failure.detail}); {mend}"
            else:
                return []  # something is there; not every endpoint lists its models
            raise ConfigError(words) from None
        if status in _NO_ENTRY:
            raise ConfigError(
                f"base_url {self.base_url} refuses the API key (HTTP {status}); "
                "check the variable that api_key_env names"
            )
        try:
            return [str(model["id"]) for model in json.loads(body)["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []

    async def close(self) -> None:
        """Close the connection pool."""
        await self._http.aclose()

    async def _within_deadline(self, exchange: Any) -> tuple[int, Any, bytes]:
        failure: Failed
        try:
            return await asyncio.wait_for(exchange, self._timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            failure = Failed("timeout", charged=True)
        except _UNSENT as error:
            failure = Failed("connection", detail=type(error).__name__)
        except httpx2.DecodingError:
            failure = Failed("bad_body", charged=True, detail="wrong content encoding")
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            failure = Failed("cut", charged=True, detail=type(error).__name__)
        raise failure  # outside, so that no error with the request's headers hangs on to it

    async def _exchange(self, method: str, path: str, content: bytes, headers: dict) -> tuple[int, Any, bytes]:
        async with self._http.stream(method, self.base_url + path, content=content, headers=headers) as response:
            status = response.status_code
            limit = _MAX_BODY if status == 200 else _MAX_ERROR
            parts, size = [], 0
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > limit:  # leaving here closes the connection: the rest is never read
                    if status == 200:
                        raise Failed("too_long", charged=True)
                    break
        body = b"".join(parts)[:limit]
        if self._secret:  # an endpoint that repeats the key shall not bring it into the ledger
            body = body.replace(self._secret.encode(), b"***")
        return status, response.headers, body

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


def read_api_key(api_key_env: str) -> str:
    """The secret in the named environment variable; empty when no variable is named.

    Raises:
        ConfigError: the variable is named but not set, or holds what no HTTP header can.
    """
    if not api_key_env:
        return ""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"api_key_env names the environment variable {api_key_env}, which is not set;"
            f" export {api_key_env}=..., or set api_key_env to '' for an endpoint that needs no key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"the environment variable {api_key_env} (api_key_env) holds characters that no key has")
    return key
