# SPDX-License-Identifier: Apache-2.0
"""What an error is asked for in tests: its class and its fields, and the names that a user must find in its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        fields: a path is compared as text; a ``file`` with ``:LINE`` is asked for with its line.
    """
    with pytest.raises(kind) as caught:
        yield caught
    wanted = {name: value if isinstance(value, type(found)) else str(value)
              for name, value in fields.items() for found in [getattr(caught.value, name)]}  # fmt: skip
    assert {name: getattr(caught.value, name) for name in fields} == wanted, str(caught.value)
    for words in (shows,) if isinstance(shows, str) else shows:
        assert words in str(caught.value)
