# SPDX-License-Identifier: Apache-2.0
"""A folder that is filled as a whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError


def require_new(folder: str | Path, parameter: str) -> Path:
    """The path of a folder that is not there, or empty. ConfigError: it holds something; ``parameter`` named it."""
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        text = f"{path} is there already and not empty: name a new folder"
        raise ConfigError(text, code=Code.EXISTS, parameter=parameter, file=str(path))
    return path


@contextmanager
def new_folder(folder: str | Path, parameter: str) -> Iterator[Path]:
    """Make it, to be filled within the context; after an error nothing is left of it, so that the same line can be
    typed again. ConfigError as of require_new."""
    path = require_new(folder, parameter)
    was_there = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        if was_there:
            path.mkdir(parents=True, exist_ok=True)
        raise
