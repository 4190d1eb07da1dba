# SPDX-License-Identifier: Apache-2.0
"""The stand-in's HTTP side: OpenAI's chat completions over keep-alive connections, with faults on request."""

from __future__ import annotations

import json
import math
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.standin.answerer import MODEL, Answerer, BadRequest

_MAX_BODY = 32 << 20  # bytes


@dataclass(frozen=True)
class FaultConfig:
    """Which requests fail, and how. Raises ConfigError for a rate outside 0..1 or an unknown kind."""

    KINDS: ClassVar[tuple[str, ...]] = (
        "rate_limit",
        "retry_after",
        "server_error",
        "html_page",
        "hang",
        "cut",
        "truncated",
        "refusal",
        "empty",
        "wrong_class",
        "bad_json",
    )
    rate: float = 0.0
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    hang_s: float = 30.0  # how long a hanging request is held before its connection is closed

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ConfigError(f"fault rate must be from 0 to 1, got {self.rate}", parameter="rate")
        unknown = [kind for kind in self.kinds if kind not in self.KINDS]
        if unknown or not self.kinds:
            text = f"unknown fault {', '.join(unknown)}; known: {', '.join(self.KINDS)}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter="faults")


class StandinServer:
    """Serves an Answerer on ``host:port`` (0 chooses a port). As a context manager it serves from a thread.

    ``requests`` counts by path and by what was answered (``ok``, ``bad_request``, each fault).
    """

    def __init__(
        self,
        answerer: Answerer,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        faults: FaultConfig | None = None,
        structured: bool = True,
        api_key: str = "",
    ) -> None:
        self.answerer, self.latency_s, self.structured, self.api_key = answerer, latency_s, structured, api_key
        self.faults = faults or FaultConfig()
        self.requests: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.thinking = threading.Lock()  # one at a time: threads that compete for the interpreter take twice the CPU
        self.stopping = threading.Event()
        self._random = random.Random(self.faults.seed)
        self._http = _Http((host, port), _Handler)
        self._http.owner = self
        self.port = int(self._http.server_address[1])
        self.base_url = f"http://{host}:{self.port}/v1"
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Serve until ``end`` is called from another thread."""
        self._http.serve_forever(poll_interval=0.2)

    def end(self) -> None:
        """Have ``serve`` return, also when it has not begun yet."""
        threading.Thread(target=self._http.shutdown, daemon=True).start()

    def close(self) -> None:
        """Stop serving; requests in progress are cut. Safe to call twice."""
        self.stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> StandinServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def draw_fault(self) -> str:
        """The fault that the next request meets, or ''."""
        with self.lock:
            return self._random.choice(self.faults.kinds) if self._random.random() < self.faults.rate else ""

    def count(self, what: str) -> None:
        with self.lock:
            self.requests[what] += 1


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: StandinServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away is no news


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120.0  # s an idle connection is kept
    server: _Http

    def do_GET(self) -> None:  # noqa: N802
        if not self._allowed():
            return
        if self.path.rstrip("/").endswith("/models"):
            self._send(
                200,
                {
                    "object": "list",
                    "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "erl_vlm_ros"}],
                },
            )
        else:
            self._error(404, "no such path")

    def do_POST(self) -> None:  # noqa: N802
        owner = self.server.owner
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY:
            self.close_connection = True
            self._error(413, "request too large")
            return
        body = self.rfile.read(length)
        if not self._allowed():
            return
        if not self.path.rstrip("/").endswith("/chat/completions"):
            self._error(404, "no such path")
            return
        owner.count("chat")
        if owner.latency_s:
            owner.stopping.wait(owner.latency_s)
        fault = owner.draw_fault()
        owner.count(fault or "no_fault")
        if fault and self._fail_early(fault):
            return
        try:
            request = json.loads(body)
            if not isinstance(request, dict):
                raise BadRequest("the request must be a JSON object", field="body")
            if request.get("response_format") and not owner.structured:
                raise BadRequest("response_format is not supported", field="response_format")
            with owner.thinking:
                both = getattr(owner.answerer, "answer_with_beliefs", None)
                text, beliefs = both(request) if both else (owner.answerer.answer(request), {})
        except ValueError as error:
            owner.count("bad_request")
            self._error(400, str(error))
            return
        self._answer(request, text, fault, beliefs)

    def _answer(self, request: dict[str, Any], text: str, fault: str, beliefs: Mapping[str, float] = {}) -> None:  # noqa: B006
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if fault == "refusal":
            message.update(content=None, refusal="I cannot help with that.")
        elif fault == "wrong_class":
            message["content"] = '{"rating": "Splendid"}' if request.get("response_format") else "Splendid"
        elif fault == "bad_json":
            message["content"] = '{"rating": '
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        if request.get("logprobs"):
            choice["logprobs"] = {"content": _tokens(text, beliefs)}
        choices = [] if fault == "empty" else [choice]
        tokens_in = sum(
            len(str(m.get("content", ""))) // 4 for m in request["messages"] if isinstance(m.get("content"), str)
        )
        usage = {"prompt_tokens": tokens_in or 300, "completion_tokens": len(text) // 4 + 1}
        usage["total_tokens"] = sum(usage.values())
        self.server.owner.count("answered")
        self._send(
            200,
            {
                "id": "chatcmpl-standin",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": str(request.get("model") or MODEL),
                "choices": choices,
                "usage": usage,
            },
            cut={"truncated": "body", "cut": "connection"}.get(fault, ""),
        )

    def _fail_early(self, fault: str) -> bool:
        """Faults that happen before any answer is made."""
        if fault == "rate_limit":
            self._error(429, "slow down")
        elif fault == "retry_after":
            self._error(429, "slow down", "Retry-After: 0.2\r\n")
        elif fault == "server_error":
            self._error(500, "internal error")
        elif fault == "html_page":
            self._raw(502, b"<html><body>Bad gateway</body></html>", "text/html")
        elif fault == "hang":
            self.server.owner.stopping.wait(self.server.owner.faults.hang_s)
            self.close_connection = True
        else:
            return False
        return True

    def _allowed(self) -> bool:
        key = self.server.owner.api_key
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self._error(401, "wrong API key")
            return False
        return True

    def _error(self, status: int, message: str, header: str = "") -> None:
        self._raw(
            status,
            json.dumps({"error": {"message": message, "type": "stand-in", "code": status}}).encode(),
            header=header,
        )

    def _send(self, status: int, body: dict[str, Any], cut: str = "") -> None:
        data = json.dumps(body).encode()
        if cut == "body":
            data = data[: len(data) // 2]
        self._raw(status, data, cut=cut == "connection")

    def _raw(
        self, status: int, data: bytes, kind: str = "application/json", header: str = "", cut: bool = False
    ) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{header}\r\n"
        # one packet: two small ones would wait for each other's acknowledgement
        self.connection.sendall(head.encode() + (data[: len(data) // 2] if cut else data))
        if cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _tokens(text: str, beliefs: Mapping[str, float]) -> list[dict[str, Any]]:
    """The answer as tokens with their log-probabilities: a class's name is one token, all around it is certain."""
    parts = next(
        (text.partition(name) for name in sorted(beliefs, key=len, reverse=True) if name in text), (text, "", "")
    )
    out = []
    for i, part in enumerate(parts):
        odds = beliefs if i == 1 and part else {part: 1.0}
        top = [{"token": name, "logprob": math.log(max(p, 1e-9))} for name, p in odds.items()]
        if part:
            out.append({"token": part, "logprob": math.log(max(odds[part], 1e-9)), "top_logprobs": top})
    return out
