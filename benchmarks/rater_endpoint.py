# SPDX-License-Identifier: Apache-2.0
"""A light OpenAI-compatible endpoint for the rater's benchmarks: own process, own bill, faults on request.

The class that it "sees" in an image follows from the image's bytes, so that every rating can be checked. Each request
is one line in the log: what was done with it and what it is billed. Work is billed once it is done, whether or not
its answer arrives; an error status is not billed.

    python benchmarks/rater_endpoint.py --latency 1.0 --faults 0.3 --log bill.jsonl    (prints its port)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import re
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

NAMES = ["Bad", "Average", "Good"]
#: no answer arrives, the same question may be asked again
BROKEN = (
    "rate_limit", "retry_after", "retry_date", "http_500", "http_502_html", "hang", "drip", "cut", "truncated",
    "wrong_schema", "too_long", "wrong_encoding", "false_gzip",
)  # fmt: skip
#: an answer arrives, and is paid, but it is no rating
USELESS = ("refusal", "empty_choices", "out_of_class", "bad_rating_json")
UNBILLED = ("rate_limit", "retry_after", "retry_date", "http_500", "http_502_html")
_USD_IN, _USD_OUT = 1.0, 4.0  # for a million tokens
_LONG = 10 << 20  # bytes of an answer that is too long


def truth(jpeg_base64: str) -> int:
    """Class of an image."""
    return hashlib.sha256(jpeg_base64.encode()).digest()[0] % len(NAMES)


class Server:
    """Answers chat completions after ``latency_s``; a share ``faults`` of the requests meets a fault."""

    def __init__(self, latency_s: float, faults: float, seed: int, log: Path | None, hang_s: float, keys: bool) -> None:
        self.latency_s, self.faults, self.hang_s, self.keys = latency_s, faults, hang_s, keys
        self._random = random.Random(seed)
        self._log = log.open("a", encoding="utf-8") if log else None
        self._known: dict[str, bytes] = {}  # Idempotency-Key -> body, where keys are honoured

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        came = time.time()
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if lines[0].startswith("GET"):
            return await _send(writer, 200, json.dumps({"data": [{"id": "bench"}]}).encode())
        request, key = json.loads(body), headers.get("idempotency-key", "")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if key in self._known:
            return await _send(writer, 200, self._known[key])
        kind = "ok"
        if self._random.random() < self.faults:
            kind = self._random.choice(BROKEN + USELESS)
        text, usage = _answer(request)
        if kind == "too_long":
            usage["completion_tokens"] = int(request.get("max_tokens", 100))
        billed = kind not in UNBILLED
        tokens = sum(usage.values()) if billed else 0
        usd = (usage["prompt_tokens"] * _USD_IN + usage["completion_tokens"] * _USD_OUT) / 1e6 if billed else 0.0
        text, data = _body(request, kind, text, usage)
        if self.keys and (kind == "ok" or kind in USELESS):
            self._known[key] = data
        if self._log:
            entry = {"key": key, "kind": kind, "tokens": tokens, "usd": usd, "text": text, "came": came}
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()
        return await self._deliver(writer, kind, data)

    async def _deliver(self, writer: asyncio.StreamWriter, kind: str, data: bytes) -> bool:
        if kind in ("rate_limit", "retry_after", "retry_date"):
            after = {"retry_after": "0.3", "retry_date": formatdate(time.time() + 1.0, usegmt=True)}.get(kind)
            extra = f"Retry-After: {after}\r\nDate: {formatdate(usegmt=True)}\r\n" if after else ""
            return await _send(writer, 429, b'{"error": {"message": "slow down"}}', extra)
        if kind == "http_500":
            return await _send(writer, 500, b'{"error": {"message": "internal"}}')
        if kind == "http_502_html":
            return await _send(writer, 502, b"<html><body>Bad gateway</body></html>", kind="text/html")
        if kind == "hang":
            await asyncio.sleep(self.hang_s)
            return False
        if kind == "drip":
            writer.write(_head(200, len(data)).encode())
            until = time.monotonic() + self.hang_s
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.25)
                if time.monotonic() > until:
                    break
            return False
        if kind == "cut":
            writer.write(_head(200, len(data)).encode() + data[: len(data) // 2])
            await writer.drain()
            return False
        if kind == "false_gzip":
            return await _send(writer, 200, data, "Content-Encoding: gzip\r\n")
        return await _send(writer, 200, data)


def _answer(request: dict[str, Any]) -> tuple[str, dict[str, int]]:
    content = request["messages"][0]["content"]
    if isinstance(content, list):
        images = [p["image_url"]["url"].split(",", 1)[1] for p in content if p["type"] == "image_url"]
        text = f"The image shows state number {truth(images[-1])} of the task. " + "It is described at length. " * 5
        words = sum(len(p.get("text", "")) for p in content)
        usage = {"prompt_tokens": words // 4 + 258 * len(images), "completion_tokens": len(text) // 4}
        if "response_format" not in request:
            return text, usage
        return json.dumps({"rating": NAMES[truth(images[-1])]}), usage
    seen = re.search(r"state number (\d)", content)
    text = json.dumps({"rating": NAMES[int(seen.group(1))] if seen else "none"})
    return text, {"prompt_tokens": len(content) // 4, "completion_tokens": len(text) // 4}


def _body(request: dict[str, Any], kind: str, text: str, usage: dict[str, int]) -> tuple[str, bytes]:
    """(the answer's text as the ledger should hold it, the body)."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if kind == "refusal":
        text = "I cannot help with that."
        message = {"role": "assistant", "content": None, "refusal": text}
    elif kind in ("out_of_class", "bad_rating_json") and "response_format" in request:
        text = message["content"] = '{"rating": "Splendid"}' if kind == "out_of_class" else '{"rating": "Good'
    elif kind == "too_long":
        message["content"] = "x" * _LONG
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    if kind == "empty_choices":
        text, choices = "", []
    answer = {"id": "c", "object": "chat.completion", "model": "bench-1", "choices": choices, "usage": usage}
    if kind == "wrong_schema":
        answer = {"result": {"output": text}}
    data = json.dumps(answer, ensure_ascii=False).encode()
    if kind == "truncated":
        data = data[: len(data) * 2 // 3]
    elif kind == "wrong_encoding":
        data = data.replace(b"bench-1", "bänch-1".encode("latin-1"))
    return text, data


def _head(status: int, length: int, extra: str = "", kind: str = "application/json") -> str:
    return f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{extra}\r\n"


async def _send(
    writer: asyncio.StreamWriter, status: int, data: bytes, extra: str = "", kind: str = "application/json"
) -> bool:
    writer.write(_head(status, len(data), extra, kind).encode() + data)
    await writer.drain()
    return True


async def _run(arguments: argparse.Namespace) -> None:
    a = arguments
    owner = Server(a.latency, a.faults, a.seed, a.log, a.hang, a.honour_keys)
    server = await asyncio.start_server(owner.serve, "127.0.0.1", a.port, limit=1 << 24, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent process is gone


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="s before each answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that meet a fault")
    parser.add_argument("--hang", type=float, default=30.0, help="s that a hanging request is held")
    parser.add_argument("--honour-keys", action="store_true", help="bill the same Idempotency-Key once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
