# SPDX-License-Identifier: Apache-2.0
"""What an error is asked for in tests: its class and its fields, and the names that a user must find in its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from erl_vlm_ros.common.errors import ConfigError


@contextmanager
def refused(
    kind: type[Exception] = ConfigError, *, shows: str | tuple[str, ...] = (), **fields: Any
) -> Iterator[pytest.ExceptionInfo]:
    """``pytest.raises(kind)`` whose error has exactly these fields: code, parameter, file, remedy, field ...

    Args:
        shows: what the text must hold, the user's own words: a name, a value, a path. Never our wording.
        fields: a path is compared as text.
    """
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    wanted = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    found = {name: str(value) if isinstance(value := getattr(error, name), Path) else value for name in fields}
    assert found == wanted, f"of: {error}"
    for words in (shows,) if isinstance(shows, str) else shows:
        assert words in str(error)
