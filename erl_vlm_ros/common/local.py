# SPDX-License-Identifier: Apache-2.0
"""What the processes of one machine agree on without ROS: a private folder, and names that only one may hold."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import IO

from erl_vlm_ros.common.errors import Code, ConfigError


def local_folder() -> Path:
    """This user's folder for sockets and locks, made if needed; no other user can write in it.

    Not XDG_RUNTIME_DIR: it is gone when the user logs out, and a run goes on.

    Raises:
        ConfigError: another user owns it, or it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"erl_vlm_ros.{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        text = f"cannot make {folder}: {error.strerror}; set TMPDIR to a folder of yours"
        raise ConfigError(text, code=Code.NOT_WRITTEN, parameter="TMPDIR", file=str(folder)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        text = f"{folder} must be a folder that only you can write to: remove it, or set TMPDIR"
        raise ConfigError(text, code=Code.NOT_WRITTEN, parameter="TMPDIR", file=str(folder))
    return folder


def local_name(kind: str, domain: int, node: str) -> Path:
    """Path in ``local_folder`` for something of ``kind`` that belongs to the fully qualified ``node`` of a domain."""
    return local_folder() / f"{kind}.{domain}.{re.sub(r'[^A-Za-z0-9_]', '.', node.strip('/'))}"


class OnlyOne:
    """A lock that one process of this machine holds until it closes it or ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock ``path``. Raises BlockingIOError with the holder's process id as text when it is taken."""
        self._file: IO | None = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(20).strip()
            self._file.close()
            self._file = None
            raise BlockingIOError(holder or "unknown") from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
