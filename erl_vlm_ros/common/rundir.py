# SPDX-License-Identifier: Apache-2.0
"""The run directory: who may write to it, what it holds, and the arguments a later command continues with."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, TextIO

from erl_vlm_ros.common.errors import Code, ConfigError

NEED_DISK_MB = 200
RUN_FILE = "config/run.json"
# Any of these means that a run was here; their loss would be a loss.
TRACES = ("checkpoint/*", "summary.json", "metrics.csv", "ledger.sqlite", RUN_FILE)


def atomic_write(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write ``path`` so that a reader, or a crash, sees the old content or the new, never a part.

    ``mode``: its permissions.
    """
    raw = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write does not say to which file
        raise


class RunDirectory:
    """A folder held by one running graph at a time. Use as a context manager; the lock goes with the process.

    Args:
        path: the folder; it is made.
        resume: continue what is there (needs a run), else the folder must hold no run.
    Raises:
        ConfigError: another process holds it, it holds a run or holds none, or the disk is full or read-only.
    """

    def __init__(self, path: str | Path, resume: bool = False):
        self.path = Path(path).expanduser().resolve()
        self._lock: TextIO | None = None
        if resume and not (self.path / RUN_FILE).is_file():
            text = f"--resume {self.path}: no run to continue there ({RUN_FILE} is missing)"
            raise ConfigError(text, code=Code.MISSING_FILE, parameter="resume", file=str(self.path / RUN_FILE))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            if not resume:
                self._refuse_used()
            for folder in ("config", "checkpoint", "logs"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self._check_disk()
        except OSError as error:
            text = f"--out {self.path}: cannot write there: {error.strerror or error}"
            raise ConfigError(text, code=Code.NOT_WRITTEN, parameter="out", file=str(self.path)) from error

    def _refuse_used(self) -> None:
        used = [name.removesuffix("/*") for name in TRACES if any(self.path.glob(name))]
        if used:
            self.close()
            text = (
                f"--out {self.path} already holds a run ({', '.join(used)}): "
                f"continue it with --resume {self.path}, or give another --out"
            )
            raise ConfigError(text, code=Code.EXISTS, parameter="out", file=str(self.path))

    def _take_lock(self) -> None:
        self._lock = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            text = f"{self.path} is in use by a run that is still going; stop it first"
            raise ConfigError(text, code=Code.IN_USE, file=str(self.path)) from error

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self.path).free / 1e6
        if free < NEED_DISK_MB:
            text = f"--out {self.path}: {free:.0f} MB free on that disk, {NEED_DISK_MB} MB are needed"
            raise ConfigError(text, code=Code.NOT_WRITTEN, parameter="out", file=str(self.path))

    def close(self) -> None:
        """Give up the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def save_run(path: Path, values: dict[str, Any]) -> None:
    """Keep the run's arguments for --resume and evaluate: for its owner only, an address may hold a password."""
    atomic_write(path / RUN_FILE, json.dumps(values, indent=2) + "\n", 0o600)


def load_run(path: str | Path) -> dict[str, Any]:
    """Arguments of the run in ``path``. Raises ConfigError when there is none or the file is damaged."""
    file = Path(path) / RUN_FILE
    return read_json(file, f"{path} holds no run ({RUN_FILE} is missing)")


def read_json(path: Path, missing: str = "") -> dict[str, Any]:
    """A JSON object from ``path``. Raises ConfigError; ``missing`` is its text when there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(missing or f"{path} does not exist", code=Code.MISSING_FILE, file=str(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code=Code.UNREADABLE, file=str(path)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object", code=Code.UNREADABLE, file=str(path))
    return value
