# SPDX-License-Identifier: Apache-2.0
"""The line between guard and watchdog: a Unix socket of whole messages. DDS has no part in it.

A process that dies closes its end at once, whatever killed it. Nothing here blocks.

guard -> watchdog: ``hello`` (version, process id, adapter, number of joints), ``beat`` (the takeover it knows of,
whether it sends), ``bye``. watchdog -> guard: ``state`` (takeovers so far, whether it sends, why, how many
subscribers its publisher is matched with), ``refused`` with a reason.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import socket
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError

VERSION = 1
_LONGEST = 4096  # bytes of a message
_LONGEST_PATH = 107  # bytes, of a Unix socket's address
_RETRY_S = 0.2  # s between attempts to connect
_AT_ONCE = 1000  # messages that are read in one go

HELLO, BEAT, BYE, STATE, REFUSED = "hello", "beat", "bye", "state", "refused"


class Line:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self.open = True

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message, or drop it when the other side does not read; a dead line is noticed by ``read``."""
        if self.open:
            with contextlib.suppress(OSError):
                self._socket.send(json.dumps({"kind": kind} | fields).encode())

    def read(self) -> list[dict[str, Any]]:
        """All messages that have come. ``open`` turns False when the other side is gone or talks nonsense."""
        found: list[dict[str, Any]] = []
        while self.open and len(found) < _AT_ONCE:
            try:
                data = self._socket.recv(_LONGEST)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionResetError:
                continue  # reported once: it closed without having read all; what it said before is still there
            except OSError:
                data = b""
            message = _decoded(data)
            if message is None:
                self.close()
            else:
                found.append(message)
        return found

    def close(self) -> None:
        """End the connection."""
        self.open = False
        self._socket.close()


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("kind"), str) else None


def number_of(message: dict[str, Any], key: str, default: int = 0) -> int:
    """A whole number of a message; ``default`` where there is none."""
    value = message.get(key)
    return value if type(value) is int else default


class Listener:
    """The watchdog's end: takes one connection at a time, refuses a second one with a reason."""

    def __init__(self, path: Path) -> None:
        """Listen at ``path``; what a dead process left there is replaced: hold a lock on the name.

        Raises:
            ConfigError: the path is too long, or cannot be made.
        """
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(check_path(path)))
            path.chmod(0o600)
            self._socket.listen(4)
        except OSError as error:
            self._socket.close()
            text = f"cannot listen at {path}: {error.strerror or error}; set parameter 'socket'"
            raise ConfigError(text, code=Code.NOT_WRITTEN, parameter="socket", file=str(path)) from error

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def accept(self) -> Line | None:
        """A new connection, or None."""
        try:
            return Line(self._socket.accept()[0])
        except OSError:
            return None

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


def check_path(path: Path) -> Path:
    """``path``, if a Unix socket may have it. ConfigError otherwise."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        text = f"the socket {path} has a name of more than {_LONGEST_PATH} bytes: set TMPDIR to a short one"
        raise ConfigError(text, parameter="TMPDIR", file=str(path))
    return path


def readable(ends: list[Any], wait_s: float) -> list[Any]:
    """Those of ``ends`` that have something to read, after at most ``wait_s``."""
    poll = select.poll()
    by_number = {end.fileno(): end for end in ends}
    for number in by_number:
        poll.register(number, select.POLLIN)
    found = poll.poll(None if wait_s == math.inf else max(0, math.ceil(1e3 * wait_s)))
    return [by_number[number] for number, _ in found]


class GuardEnd:
    """The guard's end: connects by itself, beats, and knows how the watchdog is.

    Args:
        path: of the watchdog's socket.
        hello: fields of the message that introduces the guard.
        silence_s: a watchdog that says nothing for so long is taken for hung.
    """

    def __init__(self, path: Path, hello: dict[str, Any], silence_s: float) -> None:
        self.path, self._hello, self._silence_s = check_path(path), hello, silence_s
        self._line: Line | None = None
        self._tried_at = self._heard_at = -math.inf
        self._known: int | None = None  # the takeover that this guard knows of; None: not heard of any yet
        self._refused = ""
        self.matched = 0  # subscribers that the watchdog's publisher reaches

    def read(self, now: float) -> str:
        """Take what the watchdog says; call it before anything is sent to the arm.

        Returns why the watchdog has taken over, once for each time; else an empty text.
        """
        if self._line is None:
            self._connect(now)
        line, taken = self._line, ""
        if line is None:
            return ""
        for message in line.read():
            self._heard_at = now
            if message["kind"] == REFUSED:
                self._refused = str(message.get("why", "no reason given"))
            elif message["kind"] == STATE:
                self._refused = ""
                self.matched = number_of(message, "matched")
                number = number_of(message, "number")
                if self._known is not None and number > self._known:
                    taken = str(message.get("why", "")) or "it gave no reason"
                self._known = number
        if not line.open:
            self._line, self._known, self.matched = None, None, 0
        return taken

    def beat(self, sends: bool) -> None:
        """A sign of life; ``sends``: the arm is being commanded."""
        if self._line is not None and self._known is not None:
            self._line.send(BEAT, number=self._known, sends=sends)

    def leave(self) -> None:
        """The arm was stopped and this guard ends."""
        if self._line is not None:
            self._line.send(BYE)
            self._line.close()
            self._line = None

    def abandon(self) -> None:
        """End the connection without a word, as death does, for good: the watchdog takes over."""
        if self._line is not None:
            self._line.close()
        self._line, self._known, self._tried_at = None, None, math.inf

    def problem(self, now: float) -> str:
        """Why the watchdog could not stop the arm now; empty: it could."""
        if self._line is None or self._known is None:
            return self._refused or "guard_watchdog is not connected"
        if now - self._heard_at > self._silence_s:
            return f"guard_watchdog says nothing for {self._silence_s:g} s"
        if self.matched < 1:
            return "guard_watchdog has not found the arm's driver yet"
        return ""

    def _connect(self, now: float) -> None:
        if now - self._tried_at < _RETRY_S:
            return
        self._tried_at = now
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.setblocking(False)
        try:
            end.connect(str(self.path))
        except OSError:
            end.close()
            return
        self._heard_at = now
        self._line = Line(end)
        self._line.send(HELLO, version=VERSION, pid=os.getpid(), **self._hello)
