# SPDX-License-Identifier: Apache-2.0
"""The web page on which a person rates: a small server of the standard library, on this machine only by default.

Every address needs the token that was made at start; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource

_MAX_BODY = 4096  # bytes of a press


class PageTeacher(Protocol):
    """What the page asks of the teacher: HumanTeacher."""

    def state(self) -> dict[str, Any]: ...
    def frame(self, key: str, index: int) -> bytes | None: ...
    def rate(self, rating: int, key: str | None = None) -> bool: ...
    def skip(self, key: str | None = None) -> bool: ...
    def undo(self) -> bool: ...


class HumanPage:
    """Serves a teacher's page until ``close``. ConfigError when the port cannot be had.

    ``url`` holds the token: whoever has it may rate.
    """

    def __init__(self, teacher: PageTeacher, host: str, port: int) -> None:
        self._token = secrets.token_urlsafe(16)
        handler = type("Handler", (_Handler,), {"teacher": teacher, "token": self._token, "page": _page()})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            text = f"human.host {host}, human.port {port}: {error.strerror or error}; choose another port, or 0 for any"
            raise ConfigError(text, code=Code.IN_USE, parameter="vlm_rater.human.port") from error
        self.url = f"http://{host}:{self._server.server_address[1]}/?token={self._token}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="human-page", daemon=True)
        self._thread.start()

    def write_url(self, path: Path) -> None:
        """Leave the address in a file that only its owner may read."""
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.url + "\n")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""


def _page() -> bytes:
    return resource("config/human_page.html").read_bytes()


class _Handler(BaseHTTPRequestHandler):
    teacher: PageTeacher
    token: str
    page: bytes
    protocol_version = "HTTP/1.1"
    timeout = 60.0  # s, of an idle connection

    def do_GET(self) -> None:
        """/ (the page), /state (what to rate), /frame?key=&index= (a JPEG)."""
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if not self._allowed(query):
            return
        if address.path == "/":
            nonce = secrets.token_urlsafe(12)
            policy = f"default-src 'none'; img-src 'self'; connect-src 'self'; script-src 'nonce-{nonce}'; "
            policy += f"style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
            body = self.page.replace(b"NONCE", nonce.encode())
            self._send(200, body, "text/html; charset=utf-8", {"Content-Security-Policy": policy})
        elif address.path == "/state":
            self._json(self.teacher.state())
        elif address.path == "/frame":
            index = query.get("index", "")
            jpeg = self.teacher.frame(query.get("key", ""), int(index)) if index.isdecimal() else None
            if jpeg is None:
                self._send(404, b"no such image\n")
            else:
                self._send(200, jpeg, "image/jpeg", {"Cache-Control": "private, max-age=3600"})
        else:
            self._send(404, b"not found\n")

    def do_POST(self) -> None:
        """/press with {"action": "rate" | "skip" | "undo", "key": ..., "class": ...}; answers done and the state."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self.close_connection = True
            self._send(413, b"too long\n")
            return
        body = self.rfile.read(int(length))
        address = urlsplit(self.path)
        if not self._allowed({key: values[0] for key, values in parse_qs(address.query).items()}):
            return
        try:
            press = json.loads(body)
            action, key, rating = press["action"], press.get("key"), press.get("class", -1)
            known = isinstance(rating, int) and isinstance(key, (str, type(None)))
        except (ValueError, KeyError, TypeError, AttributeError):
            known = False
        if address.path != "/press" or not known or action not in ("rate", "skip", "undo"):
            self._send(400, b"not a press\n")
            return
        if action == "undo":
            done = self.teacher.undo()
        else:  # a press without a key could hit a segment that its sender has not seen
            done = key is not None and (self.teacher.skip(key) if action == "skip" else self.teacher.rate(rating, key))
        self._json({"done": done, **self.teacher.state()})

    def _allowed(self, query: dict[str, str]) -> bool:
        if hmac.compare_digest(query.get("token", "").encode(), self.token.encode()):
            return True
        self._send(403, b"This page needs the whole address, which is in human_page.url beside the ledger.\n")
        return False

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str = "text/plain", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        always = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
        for name, value in ({"Content-Type": kind} | always | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Addresses hold the token: they are not logged."""
